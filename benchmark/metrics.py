"""Metrics, computed from labels and scores alone (label 1 = fake, score = P(fake))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EPSILON = 1e-12


@dataclass(frozen=True)
class Scores:
    """Labels and scores at one level.

    Attributes:
        labels: (N,) 0 real, 1 fake.
        scores: (N,) P(fake).
    """

    labels: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.scores):
            raise ValueError(f"{len(self.labels)} labels but {len(self.scores)} scores.")
        if len(self.scores) and not np.isfinite(self.scores).all():
            raise ValueError(
                f"{int((~np.isfinite(self.scores)).sum())} of {len(self.scores)} scores are NaN or infinite."
            )


def to_videos(
    labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray, videos: Sequence[str]
) -> tuple[Scores, list[str]]:
    """Mean score per video, in first-seen order.

    Args:
        labels: (N,) per frame.
        scores: (N,) per frame.
        videos: (N,) video ids; unique per class, so that frames of a real and a fake never merge.

    Returns:
        Video-level scores and the video ids in the same order.

    Raises:
        ValueError: one video id carries both labels.
    """
    names, first, inverse = np.unique(
        np.asarray(videos, dtype=object).astype(str), return_index=True, return_inverse=True
    )
    order = np.argsort(first)
    counts = np.bincount(inverse)
    label_array = np.asarray(labels, dtype=np.int64)
    means = np.bincount(inverse, weights=np.asarray(scores, dtype=np.float64)) / counts
    label_sums = np.bincount(inverse, weights=label_array)
    mixed = np.flatnonzero((label_sums != 0) & (label_sums != counts))
    if len(mixed):
        raise ValueError(f"Video '{names[mixed[0]]}' has frames of both labels; video ids must be unique per class.")
    return Scores(label_array[first][order], means[order]), [str(name) for name in names[order]]


def auc(data: Scores) -> float | None:
    """Area under the ROC curve; None when one class is absent (it is undefined then)."""
    if _one_class(data):
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(data.labels, data.scores))


def eer(data: Scores) -> float | None:
    """Equal error rate, a fraction: where the interpolated ROC polyline meets FPR = 1 - TPR; None with one class.

    As in the FSFM evaluation (Brent's method on the linear interpolation).
    """
    if _one_class(data):
        return None
    from scipy.interpolate import interp1d
    from scipy.optimize import brentq
    from sklearn.metrics import roc_curve

    false_positive, true_positive, _ = roc_curve(data.labels, data.scores)
    curve = interp1d(false_positive, true_positive)
    return float(brentq(lambda x: 1.0 - x - curve(x), 0.0, 1.0))


def average_precision(data: Scores) -> float | None:
    """Step-wise average precision with fake as the positive class; None with one class."""
    if _one_class(data):
        return None
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(data.labels, data.scores))


def accuracy(data: Scores, threshold: float = 0.5) -> float:
    """Share of samples on the right side of the threshold; a score above it means fake."""
    return float(np.mean((data.scores > threshold) == (data.labels == 1)))


def balanced_accuracy(data: Scores, threshold: float = 0.5) -> float:
    """Mean of the accuracies of the classes present."""
    hits = (data.scores > threshold) == (data.labels == 1)
    return float(np.mean([hits[data.labels == label].mean() for label in np.unique(data.labels)]))


def log_loss(data: Scores) -> float:
    """Mean cross entropy of P(fake) in nats, sample-weighted over the whole set."""
    probability = np.where(data.labels == 1, data.scores, 1.0 - data.scores)
    return float(-np.log(np.clip(probability, EPSILON, 1.0)).mean())


def summary(data: Scores) -> dict[str, float | None]:
    """The metrics of the result file; fractions between 0 and 1."""
    return {
        "auc": auc(data),
        "eer": eer(data),
        "ap": average_precision(data),
        "acc": accuracy(data),
        "balanced_acc": balanced_accuracy(data),
        "loss": log_loss(data),
    }


def _one_class(data: Scores) -> bool:
    return len(np.unique(data.labels)) < 2
