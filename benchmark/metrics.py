"""Metrics, computed from labels and scores alone (label 1 = fake, score = P(fake))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    number, names = video_numbers(videos)
    counts = np.bincount(number)
    label_array = np.asarray(labels, dtype=np.int64)
    means = np.bincount(number, weights=np.asarray(scores, dtype=np.float64)) / counts
    label_sums = np.bincount(number, weights=label_array)
    mixed = np.flatnonzero((label_sums != 0) & (label_sums != counts))
    if len(mixed):
        name = min(names[index] for index in mixed)
        raise ValueError(f"Video '{name}' has frames of both labels; video ids must be unique per class.")
    return Scores((label_sums > 0).astype(np.int64), means), names


def video_numbers(videos: Sequence[str] | np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Video ids as numbers in first-seen order.

    Args:
        videos: (N,) ids.

    Returns:
        (N,) int64 numbers, and the id of every number.
    """
    known: dict[str, int] = {}
    number = np.fromiter((known.setdefault(name, len(known)) for name in videos), np.int64, len(videos))
    return number, [str(name) for name in known]


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


def tpr_at_fpr(data: Scores, false_positive_rate: float = 0.01) -> float | None:
    """Share of fakes found at the last ROC point that flags at most this share of reals; None with one class.

    The ROC is a staircase of reachable points: nothing is interpolated, and 0 means that no threshold qualifies.
    """
    if _one_class(data):
        return None
    from sklearn.metrics import roc_curve

    false_positive, true_positive, _ = roc_curve(data.labels, data.scores, drop_intermediate=False)
    return float(true_positive[np.flatnonzero(false_positive <= false_positive_rate)[-1]])


def partial_auc(data: Scores, max_fpr: float = 0.1) -> float | None:
    """AUC over FPR <= ``max_fpr``, rescaled so that chance is 0.5 and perfect is 1; None with one class.

    As in McClish (1989).
    """
    if _one_class(data):
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(data.labels, data.scores, max_fpr=max_fpr))


def calibration_error(data: Scores, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., ICML 2017, eq. 3) of P(fake) with equal-width bins.

    Mean over all samples of |share of fakes - mean score| of their bin; a score of exactly 1 falls into the last bin.
    """
    bin_of = np.minimum((data.scores * bins).astype(np.int64), bins - 1)
    gap = np.bincount(bin_of, weights=data.labels - data.scores, minlength=bins)
    return float(np.abs(gap).sum() / len(data.scores))


def roc_points(data: Scores, limit: int = 200) -> dict[str, list[float]] | None:
    """The ROC curve with at most ``limit`` points, spread evenly over its length; None with one class.

    Returns:
        ``fpr`` and ``tpr``, both rising from 0 to 1, rounded to five digits.
    """
    if _one_class(data):
        return None
    from sklearn.metrics import roc_curve

    false_positive, true_positive, _ = roc_curve(data.labels, data.scores)
    length = false_positive + true_positive
    wanted = np.searchsorted(length, np.linspace(0, 2, limit))
    keep = np.unique(np.append(np.minimum(wanted, len(length) - 1), [0, len(length) - 1]))
    return {"fpr": np.round(false_positive[keep], 5).tolist(), "tpr": np.round(true_positive[keep], 5).tolist()}


def cross_auc(sets: Mapping[str, Scores]) -> dict[str, Any] | None:
    """AUC of the reals of one set against the fakes of another, for every ordered pair (Cross-AUC, arXiv 2604.21478).

    A detector whose scores drift with the camera or codec of a data set has a high AUC within each set and a low one
    across them, because one threshold cannot serve both.

    Args:
        sets: scores of every data set by name, all of one level.

    Returns:
        ``pairs`` (``reals``, ``fakes``, ``auc``) without the pairs that lack a class, ``within`` (mean AUC inside the
        sets) and ``cross`` (mean over the pairs of different sets); None when no cross pair exists.
    """
    reals = {name: data.scores[data.labels == 0] for name, data in sets.items()}
    fakes = {name: data.scores[data.labels == 1] for name, data in sets.items()}
    values = {
        (one, other): auc(two_samples(reals[one], fakes[other])) or 0.0
        for one in sets
        for other in sets
        if len(reals[one]) and len(fakes[other])
    }
    cross = [value for (one, other), value in values.items() if one != other]
    within = [value for (one, other), value in values.items() if one == other]
    if not cross:
        return None
    pairs = [{"reals": one, "fakes": other, "auc": value} for (one, other), value in values.items()]
    return {"pairs": pairs, "within": float(np.mean(within)) if within else None, "cross": float(np.mean(cross))}


def two_samples(reals: np.ndarray, fakes: np.ndarray) -> Scores:
    """Scores (N,) of reals and (M,) of fakes as one labelled set, reals first."""
    return Scores(np.repeat([0, 1], [len(reals), len(fakes)]), np.concatenate([reals, fakes]))


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
        "tpr@fpr1": tpr_at_fpr(data),
        "pauc@fpr10": partial_auc(data),
        "ece": calibration_error(data),
        "loss": log_loss(data),
    }


def _one_class(data: Scores) -> bool:
    return len(np.unique(data.labels)) < 2
