"""Metrics of face anti-spoofing (presentation attack detection) at video level.

Labels and scores are the project's own: label 1 = attack, score = P(attack). The published evaluation works with
p = P(live) = 1 - score: a sample is accepted as live when p >= threshold. FAR = share of attacks accepted, FRR = share
of bona fide rejected, HTER their mean. APCER and BPCER are ISO/IEC 30107-3's names for FAR per attack type and FRR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.metrics import Scores

# The published search grid: 0, 1e-4, ..., 1 and one value that rejects everything.
_GRID = np.append(np.arange(10001) / 10000, 1.1)


@dataclass(frozen=True)
class ErrorRates:
    """FAR and FRR at a threshold on P(live); fractions."""

    threshold: float
    far: float
    frr: float

    @property
    def hter(self) -> float:
        """Half total error rate."""
        return (self.far + self.frr) / 2


def error_rates(live: np.ndarray, is_live: np.ndarray, threshold: float) -> ErrorRates:
    """FAR and FRR when p >= threshold is accepted.

    Args:
        live: (N,) P(live).
        is_live: (N,) bool.
        threshold: on P(live).

    Returns:
        Rates; a missing class counts as all wrong (FAR 1 without attacks, FRR 1 without bona fide), as published.
    """
    accepted = live >= threshold
    far = float(accepted[~is_live].mean()) if (~is_live).any() else 1.0
    frr = float((~accepted[is_live]).mean()) if is_live.any() else 1.0
    return ErrorRates(float(threshold), far, frr)


def equal_error_point(live: np.ndarray, is_live: np.ndarray) -> ErrorRates:
    """The last threshold of the grid with the smallest |FRR - FAR| (the published rule).

    Args:
        live: (N,) P(live).
        is_live: (N,) bool.
    """
    attacks, genuine = np.sort(live[~is_live]), np.sort(live[is_live])
    far = 1.0 - np.searchsorted(attacks, _GRID, "left") / len(attacks) if len(attacks) else np.ones_like(_GRID)
    frr = np.searchsorted(genuine, _GRID, "left") / len(genuine) if len(genuine) else np.ones_like(_GRID)
    distance = np.abs(frr - far)
    last = len(_GRID) - 1 - int(np.argmin(distance[::-1]))
    return error_rates(live, is_live, float(_GRID[last]))


def live_accepted_at(live: np.ndarray, is_live: np.ndarray, far: float = 0.01) -> float | None:
    """TPR@FPR of FAS tables: share of live accepted at the last ROC point with FAR <= far; None with one class."""
    if is_live.all() or not is_live.any():
        return None
    from sklearn.metrics import roc_curve

    false_positive, true_positive, _ = roc_curve(is_live, live)
    allowed = np.flatnonzero(false_positive <= far)
    return float(true_positive[allowed[-1]]) if len(allowed) else 0.0


def attack_presentation_rates(data: Scores, attack_types: Sequence[str], threshold: float) -> dict[str, float]:
    """APCER per attack type, its maximum (ISO/IEC 30107-3), BPCER and ACER at a threshold on P(live).

    Args:
        data: video-level scores.
        attack_types: (N,) type per video; ignored for bona fide ones.
        threshold: on P(live).
    """
    accepted, is_live = 1.0 - data.scores >= threshold, data.labels == 0
    types = np.asarray(attack_types)
    rates = {f"apcer_{name}": float(accepted[(types == name) & ~is_live].mean()) for name in np.unique(types[~is_live])}
    worst = max(rates.values(), default=1.0)
    bpcer = float((~accepted[is_live]).mean()) if is_live.any() else 1.0
    return {**rates, "apcer": worst, "bpcer": bpcer, "acer": (worst + bpcer) / 2}


def summary(data: Scores, attack_types: Sequence[str], development_threshold: float | None) -> dict[str, float | None]:
    """The FAS block of a result file; fractions.

    Args:
        data: video-level scores.
        attack_types: (N,) type per video.
        development_threshold: threshold on P(live) from the development set's equal-error point, or None.

    Returns:
        ``hter@target_eer`` (threshold from the tested set itself: the convention of published MCIO tables),
        ``hter@dev`` and the APCER family (threshold from the development set), ``tpr@fpr1``.
    """
    live, is_live = 1.0 - data.scores, data.labels == 0
    own = equal_error_point(live, is_live)
    result: dict[str, float | None] = {
        "hter@target_eer": own.hter,
        "threshold@target_eer": own.threshold,
        "tpr@fpr1": live_accepted_at(live, is_live),
        "hter@dev": None,
        "threshold@dev": development_threshold,
    }
    if development_threshold is not None:
        result["hter@dev"] = error_rates(live, is_live, development_threshold).hter
        result.update(attack_presentation_rates(data, attack_types, development_threshold))
    return result
