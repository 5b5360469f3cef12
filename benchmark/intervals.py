"""95 % intervals and paired tests: video-level bootstrap and DeLong, all on arrays.

Frames of one video are not independent, so the video is the unit everywhere: the bootstrap draws videos (reals and
fakes separately, so the class sizes stay), and DeLong's variance is summed over videos.

The bootstrap is a matrix product. Scores are put into bins (one per distinct score up to ``MAX_BINS``, quantile bins
above), so that a replicate is two columns of counts, and all replicates go through the metrics together. With quantile
bins the interval is moved by the difference between the exact and the binned value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from benchmark.metrics import EPSILON, Scores

LEVEL = 0.95
REPLICATES = 1000
MAX_BINS = 4096
_CELLS = 2**22  # array elements held at once; bounds the memory of a chunk of replicates
_NORMAL = NormalDist()

Interval = tuple[float, float]


def bootstrap(
    data: Scores, units: np.ndarray | None = None, replicates: int = REPLICATES, seed: int = 0, level: float = LEVEL
) -> dict[str, Interval | None]:
    """Percentile intervals of the metrics of ``benchmark.metrics.summary`` (without ece), from one resampling.

    Args:
        data: (N,) labels and scores.
        units: (N,) video number of every sample; None when every sample is a video of its own.
        replicates: number of resamples.
        seed: of the random numbers; the same arguments give the same intervals.
        level: confidence.

    Returns:
        (low, high) by metric; None for every metric when a present class has fewer than two videos, and for rank
        metrics when a class is absent.
    """
    values, exact = bootstrap_values(data, units, replicates, seed)
    if not values:
        return dict.fromkeys(exact)
    result = {name: percentile_interval(drawn, level) for name, drawn in values.items()}
    return {name: _inside(result[name], name) if name in result else None for name in exact}


def percentile_interval(drawn: np.ndarray, level: float = LEVEL) -> Interval:
    """The central ``level`` share of bootstrap values (B,)."""
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high)


def _inside(interval: Interval, name: str) -> Interval:
    """Fractions stay in [0, 1] when the correction for binning moved them."""
    return max(0.0, interval[0]), interval[1] if name == "loss" else min(1.0, interval[1])


def bootstrap_values(
    data: Scores, units: np.ndarray | None, replicates: int, seed: int
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Metrics (replicates,) of every resample, and the names of all metrics.

    Returns:
        No values when a class that is present has fewer than two videos.
    """
    table = _Table(data)
    rng = np.random.default_rng(seed)
    real = _Resampler(table.codes, data.labels == 0, units, len(table.edges) + 1)
    fake = _Resampler(table.codes, data.labels == 1, units, len(table.edges) + 1)
    names = [*RANK_METRICS, "acc", "balanced_acc", "loss"]
    if not len(data.labels) or 1 in (real.videos, fake.videos):
        return {}, names
    chunks = [
        table.metrics(real.draw(rng, count), fake.draw(rng, count))
        for count in _chunks(replicates, max(len(table.edges) + 1, real.width, fake.width))
    ]
    drawn = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    if table.is_exact:
        return drawn, names
    binned = table.metrics(real.original(), fake.original())
    exact = _point_values(data)
    return {name: values + (exact[name] - binned[name][0]) for name, values in drawn.items()}, names


RANK_METRICS = ("auc", "eer", "ap", "tpr@fpr1", "pauc@fpr10")


def _point_values(data: Scores) -> dict[str, float]:
    from benchmark.metrics import summary

    return {name: value for name, value in summary(data).items() if value is not None}


def _chunks(replicates: int, width: int) -> Iterator[int]:
    size = max(1, min(replicates, _CELLS // max(1, width)))
    for start in range(0, replicates, size):
        yield min(size, replicates - start)


class _Table:
    """Scores in bins, and the metrics of columns of bin counts.

    Attributes:
        edges: rising upper ends of the bins but the last; 0.5 is always one, so that accuracy is exact.
        codes: (N,) bin of every sample.
        is_exact: one bin per distinct score.
    """

    def __init__(self, data: Scores) -> None:
        distinct = np.unique(data.scores)
        self.is_exact = len(distinct) <= MAX_BINS
        if not self.is_exact:
            distinct = np.quantile(data.scores, np.linspace(0, 1, MAX_BINS)[1:-1])
        self.edges = np.unique(np.append(distinct, 0.5))
        self.codes = np.searchsorted(self.edges, data.scores)
        self._half = int(np.searchsorted(self.edges, 0.5))
        self._loss = [self._bin_loss(data, label) for label in (0, 1)]

    def _bin_loss(self, data: Scores, label: int) -> np.ndarray:
        """Mean cross entropy of a class in every bin (K,)."""
        own = data.labels == label
        right = data.scores[own] if label else 1.0 - data.scores[own]
        losses = -np.log(np.clip(right, EPSILON, 1.0))
        counts = np.bincount(self.codes[own], minlength=len(self.edges) + 1)
        sums = np.bincount(self.codes[own], weights=losses, minlength=len(self.edges) + 1)
        return sums / np.maximum(counts, 1)

    def metrics(self, real: np.ndarray, fake: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics (B,) of B columns of counts.

        Args:
            real, fake: (K, B) counts by bin, rising scores.
        """
        reals, fakes = real.sum(0), fake.sum(0)
        accepted, found = real[: self._half + 1].sum(0), fake[self._half + 1 :].sum(0)
        total = reals + fakes
        shares = [hits / size for hits, size in ((accepted, reals), (found, fakes)) if size[0]]
        values = {
            "acc": (accepted + found) / total,
            "balanced_acc": np.mean(shares, axis=0),
            "loss": (self._loss[0] @ real + self._loss[1] @ fake) / total,
        }
        return {**rank_metrics(real, fake), **values} if reals[0] and fakes[0] else values


def rank_metrics(real: np.ndarray, fake: np.ndarray) -> dict[str, np.ndarray]:
    """AUC, EER, AP, TPR at FPR 1 % and partial AUC to FPR 10 % of B score distributions at once.

    Args:
        real, fake: (K, B) counts by bin of rising scores; every column has both classes.

    Returns:
        (B,) each, equal to ``benchmark.metrics`` on samples with these counts.
    """
    start = np.zeros((1, real.shape[1]))
    false_positive = np.vstack([start, np.cumsum(real[::-1], axis=0, dtype=np.float64)])
    true_positive = np.vstack([start, np.cumsum(fake[::-1], axis=0, dtype=np.float64)])
    flagged = true_positive[1:] + false_positive[1:]
    precision = np.divide(true_positive[1:], flagged, out=np.zeros_like(flagged), where=flagged > 0)
    average_precision = (precision * fake[::-1]).sum(0) / true_positive[-1]
    false_positive /= false_positive[-1].copy()
    true_positive /= true_positive[-1].copy()
    height = (true_positive[1:] + true_positive[:-1]) / 2
    return {
        "auc": (np.diff(false_positive, axis=0) * height).sum(0),
        "eer": _equal_error(false_positive, true_positive),
        "ap": average_precision,
        "tpr@fpr1": np.where(false_positive <= 0.01, true_positive, 0.0).max(0),
        "pauc@fpr10": _partial_area(false_positive, true_positive, 0.1),
    }


def _equal_error(false_positive: np.ndarray, true_positive: np.ndarray) -> np.ndarray:
    """FPR (B,) where the ROC polylines (K + 1, B) meet TPR = 1 - FPR."""
    balance = false_positive + true_positive - 1.0
    after = np.argmax(balance >= 0, axis=0)  # at least 1: every curve starts at -1
    columns = np.arange(balance.shape[1])
    low, high = balance[after - 1, columns], balance[after, columns]
    step = -low / (high - low)
    before = false_positive[after - 1, columns]
    return before + step * (false_positive[after, columns] - before)


def _partial_area(false_positive: np.ndarray, true_positive: np.ndarray, limit: float) -> np.ndarray:
    """McClish's rescaled area (B,) under ROC polylines (K + 1, B) up to FPR = ``limit``."""
    width = np.diff(np.minimum(false_positive, limit), axis=0)
    run, rise = np.diff(false_positive, axis=0), np.diff(true_positive, axis=0)
    slope = np.divide(rise, run, out=np.zeros_like(run), where=run > 0)
    area = (width * (true_positive[:-1] + slope * width / 2)).sum(0)
    chance = limit**2 / 2
    return 0.5 * (1 + (area - chance) / (limit - chance))


class _Resampler:
    """Draws the videos of one class with replacement and counts their samples by bin.

    Attributes:
        videos: number of videos of the class.
        width: elements per replicate beside the bins (memory planning).
    """

    def __init__(self, codes: np.ndarray, own: np.ndarray, units: np.ndarray | None, bins: int) -> None:
        self._codes, self._bins = codes[own], bins
        self._counts = np.bincount(self._codes, minlength=bins)
        members = None if units is None else np.unique(units[own], return_inverse=True)[1]
        self.videos = len(self._codes) if members is None else int(members.max(initial=-1)) + 1
        self._members = None if members is None or self.videos == len(self._codes) else members
        self.width = 0 if self._members is None else self.videos

    def original(self) -> np.ndarray:
        """Counts (K, 1) of the sample itself."""
        return self._counts[:, None]

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Counts (K, count) of resamples."""
        if not self.videos:
            return np.zeros((self._bins, count))
        if self._members is None:  # one sample a video: drawing bins is drawing videos
            return rng.multinomial(self.videos, self._counts / self.videos, size=count).T
        return self._by_video() @ video_weights(rng, self.videos, count)

    def _by_video(self) -> np.ndarray:
        from scipy.sparse import csr_matrix

        ones = np.ones(len(self._codes))
        matrix: np.ndarray = csr_matrix((ones, (self._codes, self._members)), shape=(self._bins, self.videos))
        return matrix


def video_weights(rng: np.random.Generator, videos: int, count: int) -> np.ndarray:
    """How often each video is in each of ``count`` resamples: (videos, count) float64, every column sums to videos."""
    weights = np.empty((videos, count))
    for column in range(count):
        weights[:, column] = np.bincount(rng.integers(0, videos, videos, dtype=np.int32), minlength=videos)
    return weights


# ------------------------------------------------------------------------------------------------------- DeLong


@dataclass(frozen=True)
class AucEstimate:
    """AUC with its sampling variance.

    Attributes:
        auc: the estimate.
        variance: DeLong's; summed over videos when samples belong to videos.
        reals, fakes: independent units (videos) of each class.
    """

    auc: float
    variance: float
    reals: int
    fakes: int

    def interval(self, level: float = LEVEL) -> Interval | None:
        """Interval on the logit scale; a score interval when the AUC is 0 or 1, where the variance vanishes.

        None when a class has fewer than two videos.
        """
        if min(self.reals, self.fakes) < 2:
            return None
        z = _NORMAL.inv_cdf((1 + level) / 2)
        if self.variance <= 0 or not EPSILON < self.auc < 1 - EPSILON:
            return _extreme_interval(self.auc, self.reals, self.fakes, z)
        logit = np.log(self.auc / (1 - self.auc))
        half = z * np.sqrt(self.variance) / (self.auc * (1 - self.auc))
        return float(1 / (1 + np.exp(half - logit))), float(1 / (1 + np.exp(-half - logit)))


def _extreme_interval(auc: float, reals: int, fakes: int, z: float) -> Interval:
    """Newcombe's score interval (Stat. Med. 2006, method 5): all values whose own variance would allow this AUC."""
    from scipy.optimize import brentq

    extra = (reals + fakes) / 2 - 1

    def excess(theta: float) -> float:
        spread = 1 + extra * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return float(abs(auc - theta) - z * np.sqrt(theta * (1 - theta) * spread / (reals * fakes)))

    low = brentq(excess, EPSILON, min(auc, 1 - EPSILON)) if auc > EPSILON else 0.0
    high = brentq(excess, max(auc, EPSILON), 1 - EPSILON) if auc < 1 - EPSILON else 1.0
    return float(low), float(high)


def delong(data: Scores, units: np.ndarray | None = None) -> AucEstimate | None:
    """AUC and its variance (DeLong et al. 1988; by video as in Obuchowski 1997); None with one class.

    Args:
        data: (N,) labels and scores.
        units: (N,) video number of every sample, or None.
    """
    if len(np.unique(data.labels)) < 2:
        return None
    parts = _components(data, units)
    return AucEstimate(parts.auc, parts.covariance(parts), parts.real.size, parts.fake.size)


@dataclass(frozen=True)
class _Components:
    """What every video contributes to an AUC.

    Attributes:
        auc: the estimate.
        real, fake: (videos,) sum of placement values minus AUC, divided by the class's samples.
    """

    auc: float
    real: np.ndarray
    fake: np.ndarray

    def covariance(self, other: _Components) -> float:
        """Covariance of two AUCs of the same samples; with itself the variance."""
        total = 0.0
        for one, two in ((self.real, other.real), (self.fake, other.fake)):
            total += float(one @ two) * one.size / max(1, one.size - 1)
        return total


def _components(data: Scores, units: np.ndarray | None) -> _Components:
    is_fake = data.labels == 1
    real, fake = data.scores[~is_fake], data.scores[is_fake]
    above = 1.0 - _placement(np.sort(fake), real)
    below = _placement(np.sort(real), fake)
    auc = float(below.mean())
    return _Components(
        auc,
        _by_unit((above - auc) / len(real), None if units is None else units[~is_fake]),
        _by_unit((below - auc) / len(fake), None if units is None else units[is_fake]),
    )


def _placement(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Share of the sorted array below each value, ties counted half."""
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2 * len(ordered))


def _by_unit(values: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    if units is None:
        return values
    return np.bincount(np.unique(units, return_inverse=True)[1], weights=values)


# ------------------------------------------------------------------------------------------- two detectors


@dataclass(frozen=True)
class PairedTest:
    """Comparison of two detectors on the same videos.

    Attributes:
        difference: second minus first.
        interval: of the difference.
        p_value: two-sided, of no difference.
        videos: videos compared.
    """

    difference: float
    interval: Interval
    p_value: float
    videos: int


def paired_delong(
    first: Scores, second: Scores, units: np.ndarray | None = None, level: float = LEVEL
) -> PairedTest | None:
    """Difference of two AUCs on the same samples (DeLong et al. 1988); None with one class or one video of a class.

    Args:
        first, second: scores of the two detectors; the same samples in the same order.
        units: (N,) video number of every sample, or None.

    Raises:
        ValueError: the labels differ, so these are not the same samples.
    """
    _check_pair(first, second)
    if len(np.unique(first.labels)) < 2:
        return None
    one, two = _components(first, units), _components(second, units)
    if min(one.real.size, one.fake.size) < 2:
        return None
    variance = one.covariance(one) + two.covariance(two) - 2 * one.covariance(two)
    spread = float(np.sqrt(max(variance, 0.0)))
    difference = two.auc - one.auc
    half = _NORMAL.inv_cdf((1 + level) / 2) * spread
    if spread <= EPSILON:
        p_value = 1.0 if abs(difference) <= EPSILON else 0.0
    else:
        p_value = 2 * (1 - _NORMAL.cdf(abs(difference) / spread))
    return PairedTest(difference, (difference - half, difference + half), p_value, one.real.size + one.fake.size)


def paired_bootstrap(
    first: Scores, second: Scores, replicates: int = REPLICATES, seed: int = 0, level: float = LEVEL
) -> dict[str, PairedTest]:
    """Differences of the rank metrics between two detectors, both computed on the same resampled videos.

    Args:
        first, second: video-level scores of the two detectors; the same videos in the same order.

    Returns:
        By metric (auc, eer, ap, tpr@fpr1, pauc@fpr10); empty with one class or one video of a class. The p-value is
        twice the smaller share of resamples on one side of zero, at least 2 / (replicates + 1).

    Raises:
        ValueError: the labels differ, so these are not the same videos.
    """
    _check_pair(first, second)
    sizes = np.bincount(first.labels, minlength=2)
    if sizes.min() < 2:
        return {}
    tables = [_ExactTable(data) for data in (first, second)]
    rng = np.random.default_rng(seed)
    parts = []
    for count in _chunks(replicates, 2 * len(first.labels)):
        weights = np.empty((len(first.labels), count))
        for label in (0, 1):
            weights[first.labels == label] = video_weights(rng, int(sizes[label]), count)
        one, two = (table.metrics(weights) for table in tables)
        parts.append({name: two[name] - one[name] for name in one})
    everything = np.ones((len(first.labels), 1))
    one, two = (table.metrics(everything) for table in tables)
    point = {name: float(two[name][0] - one[name][0]) for name in one}
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in point}
    return {name: _bootstrap_test(point[name], drawn[name], len(first.labels), level) for name in point}


def _bootstrap_test(point: float, drawn: np.ndarray, videos: int, level: float) -> PairedTest:
    side = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p_value = min(1.0, 2 * (side + 1) / (len(drawn) + 1))
    return PairedTest(point, percentile_interval(drawn, level), p_value, videos)


class _ExactTable:
    """Rank metrics of weighted videos: one bin per distinct score."""

    def __init__(self, data: Scores) -> None:
        self._order = np.argsort(data.scores, kind="stable")
        ordered = data.scores[self._order]
        self._starts = np.flatnonzero(np.append(True, np.diff(ordered) > 0))
        self._fake = (data.labels[self._order] == 1)[:, None]

    def metrics(self, weights: np.ndarray) -> Mapping[str, np.ndarray]:
        """Metrics (B,) of weights (N, B)."""
        ordered = weights[self._order]
        real = np.add.reduceat(np.where(self._fake, 0.0, ordered), self._starts, axis=0)
        fake = np.add.reduceat(np.where(self._fake, ordered, 0.0), self._starts, axis=0)
        return rank_metrics(real, fake)


def _check_pair(first: Scores, second: Scores) -> None:
    if not np.array_equal(first.labels, second.labels):
        raise ValueError("The two detectors were not scored on the same samples: their labels differ.")


# --------------------------------------------------------------------------------------------------- proportions


def proportion_interval(hits: int, total: int, level: float = LEVEL) -> Interval | None:
    """Wilson's interval of a share (error rates at a fixed threshold); None without samples."""
    if not total:
        return None
    z2 = _NORMAL.inv_cdf((1 + level) / 2) ** 2
    centre = (hits + z2 / 2) / (total + z2)
    half = float(np.sqrt(z2 * (hits * (total - hits) / total + z2 / 4))) / (total + z2)
    return max(0.0, centre - half), min(1.0, centre + half)
