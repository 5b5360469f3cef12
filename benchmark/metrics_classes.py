"""Metrics of detectors that tell several kinds of fakes apart: confusion matrix, recall, precision and F1 per class."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from benchmark.data.cards import REAL_KIND
from benchmark.predictions import Predictions


def class_summary(predictions: Predictions) -> dict[str, Any]:
    """The class block of a result file, at frame and video level.

    Args:
        predictions: with ``classes``; the first class stands for the kind ``real``.

    Returns:
        ``classes`` and per level ``confusion`` (rows: true class, columns: the class of the largest probability),
        ``accuracy``, ``macro_recall`` (mean over the classes present), ``per_class`` (``recall``, ``precision``,
        ``f1``, ``support``; null if undefined) and ``other_kinds``: samples of no class, left out.
    """
    videos = [f"{dataset}:{video}" for dataset, video in zip(predictions.dataset, predictions.video, strict=True)]
    _, first, inverse = np.unique(np.array(videos, dtype=str), return_index=True, return_inverse=True)
    means = np.stack([np.bincount(inverse, weights=column) for column in predictions.probabilities.T], axis=1)
    return {
        "classes": list(predictions.classes),
        "frame": _level(predictions.kind, predictions.probabilities, predictions.classes),
        "video": _level(predictions.kind[first], means, predictions.classes),
    }


def _level(kinds: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    places = {name: place for place, name in enumerate((REAL_KIND, *classes[1:]))}
    truth = np.array([places.get(kind, -1) for kind in kinds], dtype=np.int64)
    known = truth >= 0
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (truth[known], probabilities[known].argmax(1)), 1)
    per_class = {name: _of_class(confusion, place) for place, name in enumerate(classes)}
    recalls = [values["recall"] for values in per_class.values() if values["recall"] is not None]
    return {
        "confusion": confusion.tolist(),
        "accuracy": _ratio(int(np.trace(confusion)), int(confusion.sum())),
        "macro_recall": float(np.mean(recalls)) if recalls else None,
        "per_class": per_class,
        "other_kinds": dict(sorted(Counter(map(str, kinds[~known])).items())),
    }


def _of_class(confusion: np.ndarray, place: int) -> dict[str, Any]:
    hits, support, called = int(confusion[place, place]), int(confusion[place].sum()), int(confusion[:, place].sum())
    return {
        "recall": _ratio(hits, support),
        "precision": _ratio(hits, called),
        "f1": _ratio(2 * hits, support + called) if support else None,
        "support": support,
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
