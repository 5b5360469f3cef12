"""Rows of the leaderboard: one per result file or published table entry, and level."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from loguru import logger

from benchmark.data.cards import parse_word
from benchmark.errors import BenchmarkError, DataError
from benchmark.leaderboard.published import Figure, Source, published_figures, published_sources
from benchmark.results import read_result

MEASURED, PUBLISHED = "measured", "published"
DETECTION_METRICS = ("auc", "eer", "ap", "acc", "balanced_acc", "tpr@fpr1", "pauc@fpr10", "ece", "loss")
# Names in a result's FAS block to names here; the block's TPR is that of live samples, so it gets another name.
FAS_METRICS = {
    "hter@target_eer": "hter@target_eer", "hter@dev": "hter@dev", "tpr@fpr1": "live_tpr@fpr1",
    "apcer": "apcer@dev", "bpcer": "bpcer@dev", "acer": "acer@dev",
}  # fmt: skip


class Value(NamedTuple):
    """A number with its interval (measured) or its deviation over seeds (published); fractions, loss in nats."""

    value: float
    low: float | None = None
    high: float | None = None
    spread: float | None = None


class Mark(NamedTuple):
    """Why a row is not comparable with the others: a word (with ``?`` when the row does not say) and a sentence."""

    what: str
    why: str

    @property
    def differs(self) -> bool:
        """Whether it says that the row was made under other conditions than the rest."""
        return self.what in {"crop", "frames", "samples", "selection", "protocol"}

    @property
    def text(self) -> str:
        """What the chip says."""
        return f"≠ {self.what}" if self.differs else self.what.replace("?", " ?")


@dataclass(frozen=True)
class Conditions:
    """What a number depends on beside detector and data set; None = not stated.

    Attributes:
        crop: face crop settings.
        frames: frames per video.
        samples: fingerprint of what was scored (measured rows).
        selection: how the checkpoint was chosen.
        on_test: whether test data was looked at for that.
    """

    crop: str | None = None
    frames: str | None = None
    samples: str | None = None
    selection: str | None = None
    on_test: bool | None = None


@dataclass
class Row:
    """One line of the leaderboard.

    Attributes:
        kind: measured or published; their numbers never share a column.
        detector: run name, or the method as its source calls it.
        about: detector and backbone of a run, title of a source.
        train, test: dataset words.
        level: frame or video.
        protocol, fold: or empty.
        values: by metric.
        conditions: what it depends on.
        version: of the protocol (measured rows).
        own_marks: reasons that need no other row.
        marks: all reasons not to compare it; filled by ``marks.mark_rows``.
        parameters: of the detector.
        speed: samples per second.
        detail: key into the details of the page.
    """

    kind: str
    detector: str
    about: str
    train: str
    test: str
    level: str
    protocol: str
    fold: str
    values: dict[str, Value]
    conditions: Conditions
    version: int | None = None
    own_marks: list[Mark] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    parameters: int | None = None
    speed: float | None = None
    detail: str = ""


def find_results(places: Iterable[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """Result files in folders (searched at any depth) or named directly, sorted by path.

    JSON files that are something else are passed over; a file that looks like a result but cannot be used is warned
    about.

    Raises:
        DataError: a place does not exist, or a file named directly is no result.
    """
    found = []
    for place in places:
        if place.is_file():
            found.append((place, read_result(place)))
            continue
        if not place.is_dir():
            raise DataError(f"No results at {place}: neither a folder nor a file.")
        found += [(path, result) for path in sorted(place.rglob("*.json")) if (result := _result_or_none(path))]
    return found


def _result_or_none(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        logger.warning("{} is not readable JSON and was left out.", path)
        return None
    if not isinstance(content, dict) or not {"schema", "dataset", "metrics"} <= content.keys():
        return None
    try:
        return read_result(path)
    except DataError as error:
        logger.warning("Left out: {}", error)
        return None


def measured_rows(path: Path, result: Mapping[str, Any]) -> list[Row]:
    """Rows of a result file, one per level.

    Raises:
        DataError: the file lacks something a result has; names it.
    """
    try:
        return [_measured_row(path, result, level) for level in ("frame", "video") if _has_numbers(result, level)]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path}: not a complete result file ({type(error).__name__}: {error}).") from error


def _has_numbers(result: Mapping[str, Any], level: str) -> bool:
    return any(value is not None for value in result["metrics"][level].values())


def _measured_row(path: Path, result: Mapping[str, Any], level: str) -> Row:
    protocol, config = result.get("protocol") or {}, result.get("config") or {}
    world = protocol.get("world")
    parts = [config.get("detector", {}).get("name"), (config.get("backbone") or {}).get("model")]
    backbone = (config.get("backbone") or {}).get("name")
    about = " / ".join(str(part) for part in (parts[0], parts[1] or backbone) if part) or "imported predictions"
    if (result.get("selection") or {}).get("rule") == "published" and result["selection"].get("checkpoint") == "last":
        about += ", last weights"
    return Row(
        kind=MEASURED,
        detector=str(config.get("name") or result["detector"]).split("/")[0],
        about=about,
        train=train_words(result),
        test=str(result["dataset"]),
        level=level,
        protocol=f"{protocol.get('name', '')}{f' ({world})' if world else ''}",
        fold=str(protocol.get("fold") or ""),
        values=_values(result, level),
        conditions=_conditions(result),
        version=None if protocol.get("version") is None else int(protocol["version"]),
        own_marks=_own_marks(result),
        parameters=None if result.get("parameters") is None else int(result["parameters"]),
        speed=None if result.get("samples_per_second") is None else finite(result["samples_per_second"]),
        detail=path.as_posix(),
    )


def train_words(result: Mapping[str, Any]) -> str:
    """Training sets of a result in canonical spelling, joined by ``+``; ``not stated`` when it does not say."""
    words = result.get("trained_on")
    if words is None and result.get("schema") == 1:
        words = ((result.get("config") or {}).get("data") or {}).get("train")
    return " + ".join(_canonical(str(word)) for word in words) if words else "not stated"


def _canonical(word: str) -> str:
    try:
        return parse_word(word, Path("datasets_json")).label
    except BenchmarkError:
        return word


def _values(result: Mapping[str, Any], level: str) -> dict[str, Value]:
    intervals = result.get("intervals") or {}
    metrics = result["metrics"][level]
    values = _with_intervals({name: metrics.get(name) for name in DETECTION_METRICS}, intervals.get(level))
    fas = (result.get("operating_point") or {}).get("fas")
    if level == "video" and fas:
        named = _with_intervals({name: fas.get(name) for name in FAS_METRICS}, intervals.get("fas"))
        values |= {FAS_METRICS[name]: value for name, value in named.items()}
    return values


def _with_intervals(numbers: Mapping[str, Any], intervals: Mapping[str, Any] | None) -> dict[str, Value]:
    known = intervals or {}
    values = {}
    for name, number in numbers.items():
        if number is not None:
            low, high = map(finite, known[name]) if known.get(name) else (None, None)
            values[name] = Value(finite(number), low, high)
    return values


def finite(number: Any) -> float:
    """A number of a result file as a float.

    Raises:
        ValueError: it is no finite number.
    """
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is not a finite number")
    return value


def _conditions(result: Mapping[str, Any]) -> Conditions:
    data = result.get("data") or {}
    config = (result.get("config") or {}).get("data") or {}
    frames = (config.get("frames") or {}).get("test") or data.get("frames")
    rule = config.get("frame_select") or data.get("frame_select")
    clip = config.get("clip")
    text = frames_text(frames, rule) + (f", clips of {clip['length']}" if clip else "") if frames else None
    selection = result.get("selection") or {}
    chosen = selection_text(selection) if selection.get("rule") else None
    on_test = selection.get("rule") == "published" and selection.get("checkpoint") != "last" if chosen else None
    return Conditions(_crop(data.get("origin") or {}), text, data.get("fingerprint"), chosen, on_test)


def frames_text(frames: int | str, rule: str | None) -> str:
    """``first 32 of each video``, ``8 spread over the video``, ``all of each video``."""
    if frames == "all":
        return "all of each video"
    return f"first {frames} of each video" if rule == "first" else f"{frames} spread over the video"


def selection_text(selection: Mapping[str, Any]) -> str:
    """The checkpoint rule of a result in words."""
    if selection["rule"] == "published" and selection.get("checkpoint") != "last":
        return "best on the test set"
    metric, level = selection.get("metric"), selection.get("level")
    if metric == "last" or selection.get("checkpoint") == "last":
        return "last weights"
    return f"{level} {metric} on validation data" if metric else "on validation data"


def _crop(origin: Mapping[str, Any]) -> str | None:
    """Preprocessing settings of the indexes read, as text."""
    texts = []
    for facts in origin.values():
        settings = (facts.get("preprocessing") or {}).get("settings")
        if not settings:
            return None
        texts.append(", ".join(f"{key} {value}" for key, value in sorted(settings.items()) if key != "world"))
    return "; ".join(sorted(set(texts))) or None


def _own_marks(result: Mapping[str, Any]) -> list[Mark]:
    marks = []
    missing = (result.get("counts") or {}).get("missing")
    if missing:
        marks.append(Mark("missing", f"{missing} samples of the test set were not scored."))
    if (result.get("data") or {}).get("checked") is False:
        marks.append(Mark("unchecked", "No index of this data set was there to check the scored samples against."))
    if (result.get("code") or {}).get("dirty"):
        marks.append(Mark("code", "Made with uncommitted changes to the source code."))
    return marks


def published_rows(figures: Sequence[Figure] | None = None) -> list[Row]:
    """Published figures as rows: the metrics of one source, detector, training set, test set and level together."""
    sources = published_sources()
    rows: dict[tuple[str, ...], Row] = {}
    for figure in published_figures() if figures is None else figures:
        key = (figure.source, figure.detector, figure.train, figure.test, figure.level, figure.fold)
        row = rows.get(key)
        if row is None:
            row = rows[key] = _published_row(figure, sources[figure.source])
        row.values[figure.metric] = Value(figure.value, spread=figure.spread)
        if figure.note and Mark("note", figure.note) not in row.own_marks:
            row.own_marks.append(Mark("note", figure.note))
    return list(rows.values())


def _published_row(figure: Figure, source: Source) -> Row:
    marks = [] if source.verified else [Mark("unverified", f"{source.evidence}.")]
    return Row(
        kind=PUBLISHED,
        detector=figure.detector,
        about=source.title,
        train=figure.train,
        test=figure.test,
        level=figure.level,
        protocol=figure.protocol,
        fold=figure.fold,
        values={},
        conditions=Conditions(source.crop, source.frames, None, source.selection, source.on_test),
        own_marks=marks,
        detail=f"published:{figure.source}",
    )
