"""Metrics of face anti-spoofing (presentation attack detection) at video level.

Labels and scores are the project's own: label 1 = attack, score = P(attack). The published evaluation works with
p = P(live) = 1 - score: a sample is accepted as live when p >= threshold. FAR = share of attacks accepted, FRR = share
of bona fide rejected, HTER their mean. APCER and BPCER are ISO/IEC 30107-3's names for FAR per attack type and FRR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.intervals import REPLICATES, Interval, percentile_interval, proportion_interval
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


def intervals(
    data: Scores,
    attack_types: Sequence[str],
    development_threshold: float | None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """95 % intervals of ``summary``: bootstrap over videos, live and attacks drawn separately; Wilson for single rates.

    ``hter@target_eer`` finds its threshold anew in every resample; the development threshold stays fixed, and ``apcer``
    takes the worst attack type anew. None where a class has fewer than two videos.

    Args:
        data: video-level scores.
        attack_types: (N,) type per video.
        development_threshold: as in ``summary``.
        replicates, seed: of the bootstrap.
    """
    live, is_live = 1.0 - data.scores, data.labels == 0
    names = ["hter@target_eer", "tpr@fpr1", *(["hter@dev"] if development_threshold is not None else [])]
    if min(int(is_live.sum()), int((~is_live).sum())) < 2:
        return dict.fromkeys(names)
    rng = np.random.default_rng(seed)
    result: dict[str, Interval | None] = dict(_target_intervals(live, is_live, replicates, rng))
    if development_threshold is not None:
        accepted = live >= development_threshold
        result |= _fixed_threshold_intervals(accepted, is_live, np.asarray(attack_types), replicates, rng)
    return result


def _target_intervals(
    live: np.ndarray, is_live: np.ndarray, replicates: int, rng: np.random.Generator
) -> dict[str, Interval]:
    occupied, code = np.unique(np.searchsorted(_GRID, live, "right") - 1, return_inverse=True)
    rejected = []  # (K + 1, B) share rejected when the lowest 0, 1, .. K occupied cells of the grid are rejected
    for own in (~is_live, is_live):
        counts = np.bincount(code[own], minlength=len(occupied))
        drawn = rng.multinomial(own.sum(), counts / own.sum(), size=replicates).T
        rejected.append(np.vstack([np.zeros((1, replicates)), np.cumsum(drawn, axis=0)]) / own.sum())
    far, frr = 1.0 - rejected[0], rejected[1]
    # rounded: equal distances must tie exactly, as they do in whole counts
    last = len(far) - 1 - np.argmin(np.round(np.abs(frr - far), 12)[::-1], axis=0)
    columns = np.arange(replicates)
    hter = (far[last, columns] + frr[last, columns]) / 2
    found = np.where(far <= 0.01, 1.0 - frr, 0.0).max(0)
    return {"hter@target_eer": percentile_interval(hter), "tpr@fpr1": percentile_interval(found)}


def _fixed_threshold_intervals(
    accepted: np.ndarray, is_live: np.ndarray, types: np.ndarray, replicates: int, rng: np.random.Generator
) -> dict[str, Interval | None]:
    def rates(own: np.ndarray, wrong: np.ndarray) -> np.ndarray:
        share = wrong[own].mean()
        drawn: np.ndarray = rng.binomial(own.sum(), share, replicates) / own.sum()
        return drawn

    frr = rates(is_live, ~accepted)
    far = rates(~is_live, accepted)
    result: dict[str, Interval | None] = {"hter@dev": percentile_interval((far + frr) / 2)}
    worst = np.zeros(replicates)
    for name in np.unique(types[~is_live]):
        own = (types == name) & ~is_live
        worst = np.maximum(worst, rates(own, accepted))
        result[f"apcer_{name}"] = proportion_interval(int(accepted[own].sum()), int(own.sum()))
    rejected_live = int((~accepted[is_live]).sum())
    result["apcer"] = percentile_interval(worst)
    result["bpcer"] = proportion_interval(rejected_live, int(is_live.sum()))
    result["acer"] = percentile_interval((worst + frr) / 2)
    return result
