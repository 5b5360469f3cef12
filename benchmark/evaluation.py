"""From predictions to everything a result says about them, without the detector that made them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import metrics
from benchmark.data.store import atomic_write_text
from benchmark.errors import DataError
from benchmark.intervals import LEVEL, REPLICATES, Interval, bootstrap, delong
from benchmark.metrics import Scores
from benchmark.metrics_classes import class_summary
from benchmark.predictions import Predictions
from benchmark.results import confusion_table, result_table

LEVELS = ("frame", "video")


def video_scores(predictions: Predictions) -> Scores:
    """Mean score per video, videos in first-seen order.

    Raises:
        DataError: a video has frames of both labels.
    """
    return _videos(predictions)[0]


def video_classes(predictions: Predictions) -> list[str]:
    """Class string of every video (the part of its id before the slash), in the order of ``video_scores``."""
    return [
        video.split("/", 1)[0] for video in dict(zip(video_ids(predictions), predictions.video, strict=True)).values()
    ]


def video_ids(predictions: Predictions) -> list[str]:
    """``DATASET:VIDEO`` of every row: unique over data sets."""
    return [f"{dataset}:{video}" for dataset, video in zip(predictions.dataset, predictions.video, strict=True)]


def metrics_of(predictions: Predictions) -> dict[str, dict[str, float | None]]:
    """Frame-level and video-level metrics (see ``benchmark.metrics.summary``).

    Raises:
        DataError: a video has frames of both labels.
    """
    return {level: metrics.summary(data) for level, (data, _) in scores_by_level(predictions).items()}


def scores_by_level(predictions: Predictions) -> dict[str, tuple[Scores, np.ndarray | None]]:
    """Scores of both levels, each with the video number of its samples (None = every sample is its own video)."""
    video, number = _videos(predictions)
    return {"frame": (Scores(predictions.label, predictions.score), number), "video": (video, None)}


def summarise(predictions: Predictions, replicates: int = REPLICATES, seed: int = 0) -> dict[str, Any]:
    """The part of a result file that follows from the predictions alone.

    Args:
        predictions: of one data set.
        replicates, seed: of the bootstrap.

    Returns:
        ``metrics``, ``intervals``, ``roc`` (each by level) and ``manipulations`` (see ``by_manipulation``).

    Raises:
        DataError: a video has frames of both labels.
    """
    levels = scores_by_level(predictions)
    about = {"level": LEVEL, "unit": "video", "auc": "DeLong", "others": "bootstrap"}
    return {
        "metrics": {level: metrics.summary(data) for level, (data, _) in levels.items()},
        "intervals": {
            **{level: interval_block(data, units, replicates, seed) for level, (data, units) in levels.items()},
            "method": {**about, "replicates": replicates, "seed": seed},
        },
        "roc": {level: metrics.roc_points(data) for level, (data, _) in levels.items()},
        "manipulations": by_manipulation(*levels["video"][:1], video_classes(predictions)),
    }


def interval_block(
    data: Scores, units: np.ndarray | None, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, Interval | None]:
    """Intervals by metric: DeLong's for the AUC, bootstrap for the rest, none for ece (its bootstrap is biased)."""
    estimate = delong(data, units)
    result = bootstrap(data, units, replicates, seed)
    return {**result, "auc": estimate.interval() if estimate else None}


def by_manipulation(video: Scores, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Video-level AUC of every class of fakes against all reals, when there is more than one.

    Args:
        video: video-level scores.
        classes: (N,) class string per video.

    Returns:
        By class: ``auc``, ``interval``, ``videos``.
    """
    reals = video.scores[video.labels == 0]
    names = np.asarray(classes, dtype=object)
    fakes = [str(name) for name in dict.fromkeys(names[video.labels == 1])]
    if not len(reals) or len(fakes) < 2:
        return {}
    result = {}
    for name in fakes:
        scores = video.scores[(video.labels == 1) & (names == name)]
        estimate = delong(metrics.two_samples(reals, scores))
        assert estimate is not None
        result[name] = {"auc": estimate.auc, "interval": estimate.interval(), "videos": len(scores)}
    return result


def flat_metrics(levels: dict[str, dict[str, float | None]]) -> dict[str, float | None]:
    """``{"loss": .., "frame_auc": .., "video_auc": ..}`` for checkpoint selection and logs."""
    flat = {f"{level}_{name}": value for level, values in levels.items() for name, value in values.items()}
    return {"loss": levels["frame"]["loss"], **flat}


def _videos(predictions: Predictions) -> tuple[Scores, np.ndarray]:
    ids = video_ids(predictions)
    try:
        return metrics.to_videos(predictions.label, predictions.score, ids)[0], metrics.video_numbers(ids)[0]
    except ValueError as error:
        raise DataError(str(error)) from None


def cross_auc(parts: Mapping[str, Predictions]) -> dict[str, Any] | None:
    """Video-level Cross-AUC over data sets (see ``benchmark.metrics.cross_auc``)."""
    return metrics.cross_auc({name: video_scores(part) for name, part in parts.items()})


def evaluate_files(paths: Sequence[Path], output: Path | None = None) -> int:
    """Print the metrics of predictions files, one row per dataset in each file, and Cross-AUC between its datasets.

    Args:
        paths: CSV files.
        output: also write them here as JSON, with intervals.
    """
    rows: list[dict[str, Any]] = []
    for path in paths:
        parts = Predictions.read(path).by_dataset()
        if not parts:
            raise DataError(f"{path} holds no predictions.")
        for dataset, part in parts.items():
            counts = {"samples": len(part), "videos": len(set(part.video)), "missing": 0}
            rows.append({"dataset": dataset, "file": str(path), "counts": counts, **summarise(part)})
            if part.classes:
                rows[-1]["classes"] = class_summary(part)
        rows[-1]["cross_auc"] = cross_auc(parts)
    sys.stdout.write(result_table(rows))
    for row in rows:
        if "classes" in row:
            sys.stdout.write(confusion_table(row))
        if row.get("cross_auc"):
            sys.stdout.write(cross_auc_line(row["cross_auc"]))
    if output:
        atomic_write_text(output, json.dumps(rows, indent=1, sort_keys=True) + "\n")
    return 0


def cross_auc_line(values: Mapping[str, Any]) -> str:
    """Cross-AUC as one line for the console."""
    within = "undefined" if values["within"] is None else f"{100 * values['within']:.2f}"
    pairs = sum(pair["reals"] != pair["fakes"] for pair in values["pairs"])
    return f"Cross-AUC (video, {pairs} pairs of different sets): {100 * values['cross']:.2f}; within sets: {within}\n"
