"""From predictions files to metrics, without the detector that made them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import metrics
from benchmark.data.store import atomic_write_text
from benchmark.errors import DataError
from benchmark.metrics_classes import class_summary
from benchmark.predictions import Predictions
from benchmark.results import confusion_table, result_table


def video_scores(predictions: Predictions) -> metrics.Scores:
    """Mean score per video, videos in first-seen order.

    Raises:
        DataError: a video has frames of both labels.
    """
    try:
        return metrics.to_videos(predictions.label, predictions.score, _video_ids(predictions))[0]
    except ValueError as error:
        raise DataError(str(error)) from None


def video_classes(predictions: Predictions) -> list[str]:
    """Class string of every video (the part of its id before the slash), in the order of ``video_scores``."""
    return [
        video.split("/", 1)[0] for video in dict(zip(_video_ids(predictions), predictions.video, strict=True)).values()
    ]


def metrics_of(predictions: Predictions) -> dict[str, dict[str, float | None]]:
    """Frame-level and video-level metrics (see ``benchmark.metrics.summary``).

    Raises:
        DataError: a video has frames of both labels.
    """
    frame = metrics.Scores(predictions.label, predictions.score)
    return {"frame": metrics.summary(frame), "video": metrics.summary(video_scores(predictions))}


def _video_ids(predictions: Predictions) -> list[str]:
    return [f"{dataset}:{video}" for dataset, video in zip(predictions.dataset, predictions.video, strict=True)]


def flat_metrics(levels: dict[str, dict[str, float | None]]) -> dict[str, float | None]:
    """``{"loss": .., "frame_auc": .., "video_auc": ..}`` for checkpoint selection and logs."""
    flat = {f"{level}_{name}": value for level, values in levels.items() for name, value in values.items()}
    return {"loss": levels["frame"]["loss"], **flat}


def evaluate_files(paths: Sequence[Path], output: Path | None = None) -> int:
    """Print the metrics of predictions files, one row per dataset in each file.

    Args:
        paths: CSV files.
        output: also write them here as JSON.
    """
    rows: list[dict[str, Any]] = []
    for path in paths:
        predictions = Predictions.read(path)
        if not len(predictions):
            raise DataError(f"{path} holds no predictions.")
        for dataset in dict.fromkeys(predictions.dataset):
            part = predictions.only(np.flatnonzero(predictions.dataset == dataset))
            counts = {"samples": len(part), "videos": len(set(part.video)), "missing": 0}
            rows.append({"dataset": dataset, "file": str(path), "metrics": metrics_of(part), "counts": counts})
            if part.classes:
                rows[-1]["classes"] = class_summary(part)
    sys.stdout.write(result_table(rows))
    for row in rows:
        if "classes" in row:
            sys.stdout.write(confusion_table(row))
    if output:
        atomic_write_text(output, json.dumps(rows, indent=1, sort_keys=True) + "\n")
    return 0
