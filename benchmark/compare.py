"""``python -m benchmark compare A.json B.json``: what differs between two results, and whether it matters."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.store import atomic_write_text, file_hash
from benchmark.errors import DataError
from benchmark.evaluation import video_scores
from benchmark.intervals import PairedTest, paired_bootstrap, paired_delong
from benchmark.metrics import Scores, video_numbers
from benchmark.predictions import Predictions
from benchmark.results import read_result

Difference = tuple[str, Any, Any]
_SECTIONS = ("config", "input", "selection", "trained_on", "seed", "weights", "data", "code", "versions", "hardware")
_ABSENT = "(absent)"


def compare(first: Path, second: Path, output: Path | None = None) -> int:
    """Print what differs between two result files and test the difference of their AUCs.

    Args:
        first, second: result files of the same test set.
        output: also write everything here as JSON.

    Returns:
        Exit status.

    Raises:
        DataError: a file is no result, or they are of different test sets.
    """
    one, two = read_result(first), read_result(second)
    if one["dataset"] != two["dataset"]:
        raise DataError(
            f"{first} is about {one['dataset']}, {second} about {two['dataset']}; compare the same test set."
        )
    report = {
        "dataset": one["dataset"],
        "differences": differences(one, two),
        "metrics": metric_differences(one, two),
        "tests": significance(one, two, first, second),
    }
    sys.stdout.write(_text(report, first, second))
    if output:
        atomic_write_text(output, json.dumps(report, indent=1, sort_keys=True, default=str) + "\n")
    return 0


def differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[Difference]:
    """(dotted key, first value, second value) of every setting or fact that differs, metrics aside."""
    flat_one, flat_two = (
        {key: value for name in _SECTIONS for key, value in _flatten(name, result.get(name))} for result in (one, two)
    )
    keys = [*flat_one, *(key for key in flat_two if key not in flat_one)]
    pairs = [(key, flat_one.get(key, _ABSENT), flat_two.get(key, _ABSENT)) for key in keys]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flatten(f"{prefix}.{key}", item)
    else:
        yield prefix, value


def metric_differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every metric that both results have, with the second minus the first."""
    rows = []
    for level in ("frame", "video"):
        for name, value in one["metrics"][level].items():
            other = two["metrics"][level].get(name)
            if value is not None and other is not None:
                rows.append(
                    {"level": level, "metric": name, "first": value, "second": other, "difference": other - value}
                )
    return rows


def significance(one: Mapping[str, Any], two: Mapping[str, Any], first: Path, second: Path) -> dict[str, Any]:
    """Paired tests on the videos (and frames) that both scored.

    Returns:
        ``videos`` (common ones), ``only_first``, ``only_second``, and by ``LEVEL_METRIC``, for example ``video_auc``
        (DeLong) or ``video_eer`` (bootstrap), the test; or ``reason`` when no test is possible.
    """
    try:
        predictions = [_predictions(result, path) for result, path in ((one, first), (two, second))]
        pair = _common(*(_by_video(part) for part in predictions))
    except DataError as error:
        return {"reason": str(error)}
    tests: dict[str, PairedTest | None] = {"video_auc (DeLong)": paired_delong(pair[0], pair[1])}
    tests |= {f"video_{name} (bootstrap)": test for name, test in paired_bootstrap(pair[0], pair[1]).items()}
    frames = _common_frames(*predictions)
    if frames is not None:
        tests["frame_auc (DeLong by video)"] = paired_delong(*frames)
    counts = {"videos": len(pair[0].labels), "only_first": pair[2], "only_second": pair[3]}
    return {**counts, "tests": {name: asdict(test) for name, test in tests.items() if test is not None}}


def _predictions(result: Mapping[str, Any], path: Path) -> Predictions:
    """The predictions a result was computed from: where it says, or in its own run folder; the hash must agree."""
    facts = result.get("predictions") or {}
    if not facts.get("file"):
        raise DataError(f"{path} does not name its predictions file.")
    stated = Path(facts["file"])
    places = [stated, path.parent.parent / "predictions" / stated.name, path.parent / stated.name]
    for place in places:
        if place.is_file() and file_hash(place) == facts.get("sha256"):
            return Predictions.read(place)
    tried = ", ".join(str(place) for place in places)
    raise DataError(f"{path}: its predictions are not there any more, or have changed (tried {tried}).")


def _by_video(predictions: Predictions) -> dict[str, tuple[int, float]]:
    scores = video_scores(predictions)
    names = video_numbers(predictions.video)[1]
    return {name: (int(y), float(s)) for name, y, s in zip(names, scores.labels, scores.scores, strict=True)}


def _common(
    one: Mapping[str, tuple[int, float]], two: Mapping[str, tuple[int, float]]
) -> tuple[Scores, Scores, int, int]:
    shared = [name for name in one if name in two]
    if not shared:
        raise DataError("The two results have no video in common, so no paired test is possible.")
    wrong = [name for name in shared if one[name][0] != two[name][0]]
    if wrong:
        raise DataError(f"Video {wrong[0]} has another label in the second result; no paired test is possible.")
    labels = np.array([one[name][0] for name in shared])
    scores = [Scores(labels, np.array([side[name][1] for name in shared])) for side in (one, two)]
    return scores[0], scores[1], len(one) - len(shared), len(two) - len(shared)


def _common_frames(one: Predictions, two: Predictions) -> tuple[Scores, Scores, np.ndarray] | None:
    """Frame scores in one order, with video numbers; None when the frames are not the same."""
    keys = [list(zip(part.video, part.frame, strict=True)) for part in (one, two)]
    place = {key: number for number, key in enumerate(keys[1])}
    if len(keys[0]) != len(keys[1]) or any(key not in place for key in keys[0]):
        return None
    order = np.array([place[key] for key in keys[0]])
    number = video_numbers(one.video)[0]
    return Scores(one.label, one.score), Scores(two.label[order], two.score[order]), number


def _text(report: Mapping[str, Any], first: Path, second: Path) -> str:
    lines = [f"{report['dataset']}", f"  A  {first}", f"  B  {second}", "", "What differs (A -> B)"]
    lines += [f"  {key}: {_short(a)} -> {_short(b)}" for key, a, b in report["differences"]] or ["  nothing"]
    same = not any(key == "data.fingerprint" for key, _, _ in report["differences"])
    lines += [f"  Scored samples: {'the same' if same else 'NOT the same (data.fingerprint)'}", "", "Metrics, %"]
    for row in report["metrics"]:
        values = (100 * row["first"], 100 * row["second"], 100 * row["difference"])
        lines.append(
            f"  {row['level']:<5} {row['metric']:<13} {values[0]:7.2f} -> {values[1]:7.2f}  ({values[2]:+.2f})"
        )
    return "\n".join([*lines, "", *_verdict(report["tests"])]) + "\n"


def _verdict(tests: Mapping[str, Any]) -> list[str]:
    if "reason" in tests:
        return [f"No significance test: {tests['reason']}"]
    if not tests["tests"]:
        return ["No significance test: it needs two videos of each class."]
    lines = [f"Paired tests on {tests['videos']} common videos (B - A, 95 % interval, two-sided p)"]
    if tests["only_first"] or tests["only_second"]:
        lines.append(f"  Not compared: {tests['only_first']} videos only in A, {tests['only_second']} only in B.")
    for name, test in tests["tests"].items():
        low, high = test["interval"]
        numbers = f"{100 * test['difference']:+7.2f}  [{100 * low:+.2f}, {100 * high:+.2f}]  p = {test['p_value']:.4f}"
        lines.append(f"  {name:<29} {numbers}{'  *' if test['p_value'] < 0.05 else ''}")
    main = tests["tests"].get("video_auc (DeLong)")
    if main:
        is_clear = main["p_value"] < 0.05
        lines.append(f"The difference in video AUC is {'' if is_clear else 'not '}significant at the 5 % level.")
    return lines


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 90 else f"{text[:87]}..."
