"""Predictions of a detector that never ran here: checked against a protocol's test sets, turned into result files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from benchmark import metrics_fas
from benchmark.data.cards import Word, parse_word
from benchmark.data.datasets import Video, origins, select_videos, videos_fingerprint
from benchmark.data.readers import has_index, load_parsed, load_words
from benchmark.data.store import atomic_write_text, file_hash
from benchmark.errors import BenchmarkError, ConfigError, DataError
from benchmark.evaluation import (
    cross_auc,
    cross_auc_line,
    summarise,
    video_classes,
    video_scores,
)
from benchmark.predictions import Predictions
from benchmark.protocols import Fold, Protocol, get_protocol, in_world
from benchmark.results import SCHEMA, now, provenance, result_path, result_table, write_result
from benchmark.schema import FrameCount, PathsConfig


@dataclass(frozen=True)
class Submission:
    """What a user says about a predictions file.

    Attributes:
        predictions: CSV.
        protocol: name or YAML file.
        fold: which of the protocol's runs, when it has several.
        world: world the protocol's words are moved into, or None.
        name: of the detector; None = the file's stem.
        trained_on: dataset words; None = the protocol's.
        selected_on: validation or test data; None = not stated.
        development: CSV of the development set, whose equal-error point is the threshold of FAS error rates.
        frames: frames scored per video; None = the protocol's, or 32.
        allow_missing: accept samples and whole test sets without a prediction; they are counted.
        output: folder of the result files.
    """

    predictions: Path
    protocol: str
    fold: str = ""
    world: str | None = None
    name: str | None = None
    trained_on: Sequence[str] | None = None
    selected_on: str | None = None
    development: Path | None = None
    frames: FrameCount | None = None
    allow_missing: bool = False
    output: Path = Path("results")

    @property
    def detector(self) -> str:
        """Name of the detector."""
        return self.name or self.predictions.stem


@dataclass(frozen=True)
class TestSet:
    """The samples a protocol asks for in one test set.

    Attributes:
        word: the dataset word.
        videos: with their selected frames; None when there is no index here to know them from.
        data: block of the result file.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    word: Word
    videos: list[Video] | None
    data: dict[str, Any]

    def labels(self, by_frame: bool) -> dict[tuple[str, str], int]:
        """Label of every (video, frame); frame is empty when predictions are one per video."""
        return {
            (video.record.video_id, Path(frame).stem if by_frame else ""): video.record.label
            for video in self.videos or ()
            for frame in (video.frames if by_frame else video.frames[:1])
        }


def submit(submission: Submission, paths: PathsConfig) -> int:
    """Check a predictions file against a protocol and write one result file per test set.

    Args:
        submission: what to evaluate.
        paths: where indexes are.

    Returns:
        Exit status.

    Raises:
        DataError: missing, unexpected or duplicate samples, a contradicting label, an unknown test set.
        ConfigError: unknown protocol or fold.
    """
    protocol = get_protocol(submission.protocol)
    fold = _fold(protocol, submission)
    predictions = Predictions.read(submission.predictions)
    frames = submission.frames or (protocol.frames.test if protocol.frames else 32)
    sets = [expected_samples(word, paths, frames, protocol.frame_select or "uniform") for word in fold.test]
    parts = _assign(predictions, sets, submission, paths)
    threshold = _development_threshold(submission)
    results = []
    for test in sets:
        name = test.word.label
        if name in parts:
            missing = check_samples(parts[name], test, submission)
            results.append(_result(parts[name], test, missing, submission, (protocol, fold, threshold)))
    for result in results:
        write_result(result_path(submission.output / submission.detector, result["dataset"]), result)
    sys.stdout.write(result_table(results))
    across = cross_auc(parts)
    if across:
        sys.stdout.write(cross_auc_line(across))
    logger.info(
        "Results: {}  Rank them: python -m benchmark leaderboard {} -o site",
        submission.output / submission.detector / "results", submission.output,
    )  # fmt: skip
    return 0


def _fold(protocol: Protocol, submission: Submission) -> Fold:
    runs = protocol.runs()
    if submission.fold not in runs:
        names = ", ".join(name for name in runs if name)
        hint = f"choose one with --fold: {names}" if names else "it has no folds; leave out --fold"
        raise ConfigError(f"Protocol {protocol.name}: {hint}.")
    fold = runs[submission.fold]
    return Fold(train=in_world(fold.train, submission.world), test=in_world(fold.test, submission.world))


def expected_samples(text: str, paths: PathsConfig, frames: FrameCount, rule: str) -> TestSet:
    """What the test split of a dataset word holds, from its index; nothing is built or read from stores."""
    word = parse_word(text, paths.indexes)
    about = {"frames": frames, "frame_select": rule}
    if not has_index(word, paths):
        logger.warning("{}: no index here, so its samples cannot be checked; the leaderboard will say so.", word.label)
        return TestSet(word, None, {**about, "fingerprint": None, "origin": {}, "checked": False})
    card = word.card.model_copy(update={"builder": None})  # only the index is read, so a demo world need not be built
    loaded = [load_parsed(replace(word, card=card), "test", paths, {})]
    videos = select_videos(loaded, frames, rule)
    facts = {"fingerprint": videos_fingerprint(videos), "origin": origins(loaded), "checked": True}
    return TestSet(word, videos, {**about, **facts})


def _assign(
    predictions: Predictions, sets: Sequence[TestSet], submission: Submission, paths: PathsConfig
) -> dict[str, Predictions]:
    """Predictions by canonical dataset word; every test set must have some."""
    if not len(predictions):
        raise DataError(f"{submission.predictions} holds no predictions.")
    wanted = [test.word.label for test in sets]
    parts: dict[str, Predictions] = {}
    for name, part in predictions.by_dataset().items():
        label = _label(name, paths)
        if label not in wanted:
            raise DataError(
                f"{submission.predictions}: data set '{name}' is not a test set of protocol {submission.protocol}, "
                f"which tests {', '.join(wanted)}."
            )
        if label in parts:
            raise DataError(f"{submission.predictions}: data set {label} appears under two spellings.")
        parts[label] = replace(part, dataset=np.full(len(part), label, object))
    absent = [label for label in wanted if label not in parts]
    if absent and not submission.allow_missing:
        raise DataError(
            f"{submission.predictions} has no predictions for {', '.join(absent)}. Evaluate the others all the same: "
            "--allow-missing"
        )
    return parts


def _label(name: str, paths: PathsConfig) -> str:
    try:
        return parse_word(name, paths.indexes).label
    except BenchmarkError:
        return name


def check_samples(part: Predictions, test: TestSet, submission: Submission) -> list[str]:
    """Compare the samples of a predictions file with those of the test set.

    Returns:
        ``video/frame`` of the samples without a prediction.

    Raises:
        DataError: samples that are not in the test set, labels that contradict it, or missing samples without
            ``allow_missing``; says how many and names the first.
    """
    if test.videos is None:
        return []
    by_frame = bool((part.frame != "").any())
    expected = test.labels(by_frame)
    given = dict(zip(zip(part.video, part.frame, strict=True), part.label.tolist(), strict=True))
    where = f"{submission.predictions}, {test.word.label}"
    extra = [key for key in given if key not in expected]
    missing = [key for key in expected if key not in given]
    if extra:
        raise DataError(
            f"{where}: {len(extra)} of {len(given)} predictions are for samples that are not in the test set (first: "
            f"{_name(extra[0])}); the test set has for example {_name(next(iter(expected)))}. The exact list: "
            f"python -m benchmark samples {test.word.label} --frames {test.data['frames']} -o samples.csv"
        )
    wrong = [key for key, label in given.items() if label != expected[key]]
    if wrong:
        says = f"{given[wrong[0]]}, the index says {expected[wrong[0]]}"
        raise DataError(f"{where}: {len(wrong)} labels contradict the index (first: {_name(wrong[0])} is {says}).")
    if missing and not submission.allow_missing:
        raise DataError(
            f"{where}: {len(missing)} of {len(expected)} samples have no prediction (first: {_name(missing[0])}). "
            "Another number of frames per video? --frames N. Evaluate all the same: --allow-missing"
        )
    return [_name(key) for key in missing]


def _name(key: tuple[str, str]) -> str:
    return "/".join(part for part in key if part)


def _development_threshold(submission: Submission) -> float | None:
    """Threshold on P(live) at the equal-error point of the development predictions."""
    if submission.development is None:
        return None
    video = video_scores(Predictions.read(submission.development))
    return metrics_fas.equal_error_point(1.0 - video.scores, video.labels == 0).threshold


def _result(
    part: Predictions,
    test: TestSet,
    missing: Collection[str],
    submission: Submission,
    plan: tuple[Protocol, Fold, float | None],
) -> dict[str, Any]:
    protocol, fold, threshold = plan
    facts = summarise(part)
    if not (part.frame != "").any():  # one score per video: there is no frame level
        facts["metrics"]["frame"] = dict.fromkeys(facts["metrics"]["frame"])
        facts["intervals"]["frame"] = facts["roc"]["frame"] = None
    point = None
    if protocol.metrics == "fas":
        video, types = video_scores(part), video_classes(part)
        point = {"fas": metrics_fas.summary(video, types, threshold)}
        facts["intervals"]["fas"] = metrics_fas.intervals(video, types, threshold)
    rules = {"validation": "validation", "test": "published"}
    return {
        "schema": SCHEMA,
        "dataset": test.word.label,
        "detector": submission.detector,
        "protocol": {
            "name": protocol.name, "version": protocol.version, "fold": submission.fold, "world": submission.world,
        },
        **facts,
        "counts": {"samples": len(part), "videos": len(set(part.video)), "missing": len(missing)},
        "missing": list(missing)[:100],
        "data": test.data,
        "selection": {"rule": rules[submission.selected_on]} if submission.selected_on else None,
        "trained_on": list(submission.trained_on or fold.train),
        "operating_point": point,
        "predictions": {"file": str(submission.predictions), "sha256": file_hash(submission.predictions)},
        "weights": None,
        "parameters": None,
        "samples_per_second": None,
        "config": None,
        "seed": None,
        "time": now(),
        **{key: value for key, value in provenance().items() if key != "hardware"},
    }  # fmt: skip


def write_samples(words: Sequence[str], frames: FrameCount, rule: str, paths: PathsConfig, output: Path) -> int:
    """Write the list of samples to score: ``dataset,video,frame,label,key``; add a column ``score`` and evaluate it.

    ``key`` is where the frame is: the key in the LMDB store, and the path below the data folder for plain files.
    """
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["dataset", "video", "frame", "label", "key"])
    count = 0
    for video in select_videos(load_words(words, "test", paths), frames, rule):
        for key in video.frames:
            writer.writerow([video.dataset, video.record.video_id, Path(key).stem, video.record.label, key])
            count += 1
    atomic_write_text(output, buffer.getvalue())
    logger.info("{} samples: {}", count, output)
    return 0
