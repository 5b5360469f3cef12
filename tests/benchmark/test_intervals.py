"""Intervals and paired tests: against scikit-learn and textbook formulas, and their coverage in simulations."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark import metrics, metrics_fas
from benchmark.intervals import (
    MAX_BINS,
    bootstrap,
    bootstrap_values,
    delong,
    paired_bootstrap,
    paired_delong,
    proportion_interval,
    rank_metrics,
    video_weights,
)
from benchmark.metrics import Scores

RANKS = ("auc", "eer", "ap", "tpr@fpr1", "pauc@fpr10")


def draw(rng, reals=60, fakes=60, shift=1.0, frames=1, shared=0.0):
    """Scores with video numbers; the frames of a video share the part ``shared`` of their variance."""
    videos = np.repeat([0, 1], [reals, fakes])
    base = rng.normal(size=len(videos)) * np.sqrt(shared)
    labels, units = np.repeat(videos, frames), np.repeat(np.arange(len(videos)), frames)
    noise = rng.normal(size=len(labels)) * np.sqrt(1 - shared)
    return Scores(labels, 1 / (1 + np.exp(-(shift * labels + np.repeat(base, frames) + noise)))), units


def counts(data):
    """Bin counts (K, 1) of the classes over distinct scores."""
    codes = np.unique(data.scores, return_inverse=True)[1]
    return [np.bincount(codes[data.labels == label], minlength=codes.max() + 1)[:, None] for label in (0, 1)]


@pytest.mark.parametrize("decimals", [1, 2, 9])
@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_counts_equal_the_metrics_of_samples(decimals, seed):
    data = draw(np.random.default_rng(seed), 37, 50)[0]
    data = Scores(data.labels, np.round(data.scores, decimals))
    expected, found = metrics.summary(data), rank_metrics(*counts(data))
    for name in RANKS:
        assert found[name][0] == pytest.approx(expected[name], abs=1e-9), name


def test_metrics_of_counts_equal_the_reference(golden):
    for case in golden("metrics_dfd.json"):
        for level in ("", "video_"):
            data = Scores(1 - np.array(case[f"{level}labels"]), -np.array(case[f"{level}scores"]))
            found, name = rank_metrics(*counts(data)), level or "frame_"
            assert 100 * found["auc"][0] == pytest.approx(case["result"][f"{name}auc"], abs=1e-9)
            assert found["eer"][0] == pytest.approx(case["result"][f"{name}eer"], abs=1e-8)


def test_metrics_of_a_resample_equal_scikit_learn_on_that_resample():
    """A column of video weights is the sample with its videos repeated that often."""
    rng = np.random.default_rng(3)
    data, _ = draw(rng)
    weights = np.concatenate([video_weights(rng, 60, 1), video_weights(rng, 60, 1)])[:, 0].astype(int)
    repeated = Scores(np.repeat(data.labels, weights), np.repeat(data.scores, weights))
    order = np.argsort(data.scores)
    real, fake = (np.where(data.labels == label, weights, 0)[order][:, None] for label in (0, 1))
    found = rank_metrics(real, fake)
    for name in RANKS:
        assert found[name][0] == pytest.approx(metrics.summary(repeated)[name], abs=1e-9)


def test_resampling_keeps_the_class_sizes_and_draws_whole_videos():
    weights = video_weights(np.random.default_rng(0), 40, 500)
    assert (weights.sum(0) == 40).all()
    assert weights.mean(1) == pytest.approx(np.ones(40), abs=0.2)


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others():
    data, units = draw(np.random.default_rng(0), frames=3)
    assert bootstrap(data, units, 200, seed=1) == bootstrap(data, units, 200, seed=1)
    assert bootstrap(data, units, 200, seed=1) != bootstrap(data, units, 200, seed=2)


def test_binned_bootstrap_agrees_with_the_exact_one():
    """Over MAX_BINS distinct scores they are put into quantile bins: interval ends move by less than 0.003."""
    data, units = draw(np.random.default_rng(0), 150, 150, frames=20, shared=0.5)
    assert len(np.unique(data.scores)) > MAX_BINS
    binned = bootstrap(data, units, 1000)
    coarse = Scores(data.labels, np.round(data.scores, 3))
    exact = bootstrap(coarse, units, 1000)
    for name in (*RANKS, "acc", "balanced_acc", "loss"):
        assert binned[name] == pytest.approx(exact[name], abs=0.003 if name != "loss" else 0.01), name


def test_single_frame_videos_give_the_distribution_of_drawing_videos():
    """Drawing bins directly is drawing videos: same spread as the general path, within sampling error."""
    data, units = draw(np.random.default_rng(1))
    fast = bootstrap_values(data, None, 4000, 0)[0]["auc"]
    weights = np.zeros((120, 4000))
    rng = np.random.default_rng(9)
    weights[:60], weights[60:] = video_weights(rng, 60, 4000), video_weights(rng, 60, 4000)
    order = np.argsort(data.scores)
    is_fake = (data.labels[order] == 1)[:, None]
    slow = rank_metrics(np.where(is_fake, 0, weights[order]), np.where(is_fake, weights[order], 0))["auc"]
    assert fast.std() == pytest.approx(slow.std(), rel=0.06)
    assert fast.mean() == pytest.approx(slow.mean(), abs=0.004)
    assert bootstrap(data, None, 300, 5) == bootstrap(data, units, 300, 5)


# ------------------------------------------------------------------------------------------------------- DeLong


def delong_by_definition(data):
    """AUC and variance from all pairs (DeLong et al. 1988, eqs. 4-6)."""
    real, fake = data.scores[data.labels == 0], data.scores[data.labels == 1]
    wins = (fake[:, None] > real[None]) + 0.5 * (fake[:, None] == real[None])
    return wins.mean(), wins.mean(1).var(ddof=1) / len(fake) + wins.mean(0).var(ddof=1) / len(real)


@pytest.mark.parametrize("decimals", [1, 9])
def test_delong_equals_its_definition(decimals):
    data = draw(np.random.default_rng(4), 31, 44)[0]
    data = Scores(data.labels, np.round(data.scores, decimals))
    auc, variance = delong_by_definition(data)
    estimate = delong(data)
    assert estimate.auc == pytest.approx(auc, abs=1e-12)
    assert estimate.variance == pytest.approx(variance, rel=1e-9)
    assert estimate.auc == pytest.approx(metrics.auc(data), abs=1e-12)


def test_identical_frames_add_no_information():
    """Ten copies of every frame: the variance by video stays, the one that believes in independence falls tenfold."""
    data, _ = draw(np.random.default_rng(5))
    tenfold = Scores(np.repeat(data.labels, 10), np.repeat(data.scores, 10))
    units = np.repeat(np.arange(120), 10)
    assert delong(tenfold, units).variance == pytest.approx(delong(data).variance, rel=1e-9)
    assert delong(tenfold).variance < delong(data).variance / 9


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_perfect_or_constant_scores_still_have_an_interval(value):
    """The variance vanishes there; Newcombe's score interval does not."""
    labels = np.repeat([0, 1], 20)
    scores = {0.0: 1 - labels, 0.5: np.zeros(40), 1.0: labels}[value]
    estimate = delong(Scores(labels, scores.astype(float)))
    low, high = estimate.interval()
    assert estimate.auc == value
    assert low <= value <= high
    assert 0.05 < high - low < 0.5


def test_one_class_and_single_videos_have_no_interval():
    one_class = Scores(np.ones(5, int), np.linspace(0, 1, 5))
    assert delong(one_class) is None
    values = bootstrap(one_class, None, 100)
    assert values["auc"] is None
    assert values["acc"] is not None
    lone = Scores(np.array([0, 1, 1, 1]), np.array([0.1, 0.5, 0.7, 0.9]))
    assert delong(lone).interval() is None
    assert set(bootstrap(lone, None, 100).values()) == {None}
    frames_of_one_video = Scores(np.repeat([0, 1], [4, 6]), np.linspace(0, 1, 10))
    units = np.array([0] * 4 + [1, 1, 1, 2, 2, 2])
    assert delong(frames_of_one_video, units).interval() is None
    assert set(bootstrap(frames_of_one_video, units, 100).values()) == {None}


# ------------------------------------------------------------------------------------------------------ coverage


def truth(shift):
    from scipy.stats import norm

    return float(norm.cdf(shift / np.sqrt(2)))


def coverage(intervals, value):
    return float(np.mean([low <= value <= high for low, high in intervals]))


def test_coverage_of_video_intervals():
    """400 draws of 60 + 60 videos: 95 % intervals hold the true AUC 91 to 98 % of the time."""
    rng = np.random.default_rng(11)
    draws = [draw(rng)[0] for _ in range(400)]
    assert 0.91 <= coverage([delong(data).interval() for data in draws], truth(1.0)) <= 0.985
    boot = [bootstrap(data, None, 300, seed)["auc"] for seed, data in enumerate(draws)]
    assert 0.905 <= coverage(boot, truth(1.0)) <= 0.985


def test_coverage_of_frame_intervals_needs_videos():
    """Frames of a video share 70 % of their variance: by video the intervals cover, by frame they are far too short."""
    rng = np.random.default_rng(12)
    draws = [draw(rng, frames=8, shared=0.7) for _ in range(300)]
    value = truth(1.0)
    assert 0.91 <= coverage([delong(data, units).interval() for data, units in draws], value) <= 0.985
    assert 0.9 <= coverage([bootstrap(d, u, 200, i)["auc"] for i, (d, u) in enumerate(draws)], value) <= 0.985
    assert coverage([delong(data).interval() for data, _ in draws], value) < 0.75


def test_coverage_near_one():
    rng = np.random.default_rng(13)
    intervals = [delong(draw(rng, 40, 40, shift=3.0)[0]).interval() for _ in range(400)]
    assert 0.92 <= coverage(intervals, truth(3.0)) <= 1.0


# --------------------------------------------------------------------------------------------------- paired tests


def pair(rng, gap, videos=80):
    """Two detectors that share half of their noise."""
    labels = np.repeat([0, 1], videos // 2)
    shared = rng.normal(size=videos)
    first = labels + shared + rng.normal(size=videos)
    second = (1 + gap) * labels + shared + rng.normal(size=videos)
    return Scores(labels, first), Scores(labels, second)


def test_a_detector_does_not_differ_from_itself():
    first, _ = pair(np.random.default_rng(0), 0.0)
    test = paired_delong(first, first)
    assert (test.difference, test.p_value, test.interval) == (0.0, 1.0, (0.0, 0.0))
    assert paired_bootstrap(first, first, 100)["auc"].p_value == 1.0


def test_paired_delong_uses_the_correlation():
    """Its variance is that of the difference of placement values, which is below the sum for correlated detectors."""
    first, second = pair(np.random.default_rng(1), 0.3)
    test = paired_delong(first, second)
    half = (test.interval[1] - test.interval[0]) / 2
    separate = 1.96 * np.sqrt(delong(first).variance + delong(second).variance)
    assert half < separate
    assert test.difference == pytest.approx(metrics.auc(second) - metrics.auc(first), abs=1e-12)


def test_paired_tests_keep_their_level_and_find_differences():
    rng = np.random.default_rng(2)
    null = [paired_delong(*pair(rng, 0.0)).p_value for _ in range(400)]
    assert 0.025 <= np.mean(np.array(null) < 0.05) <= 0.085
    found = [paired_delong(*pair(rng, 1.2)).p_value for _ in range(100)]
    assert np.mean(np.array(found) < 0.05) > 0.75
    boot = [paired_bootstrap(*pair(rng, 0.0), 200, seed)["auc"].p_value for seed in range(150)]
    assert 0.01 <= np.mean(np.array(boot) < 0.05) <= 0.11


def test_other_samples_cannot_be_paired():
    first, _ = pair(np.random.default_rng(0), 0.0)
    with pytest.raises(ValueError, match="not scored on the same samples: their labels differ"):
        paired_delong(first, Scores(1 - first.labels, first.scores))
    one_class = Scores(np.zeros(4, int), np.arange(4.0))
    assert paired_delong(one_class, one_class) is None
    assert paired_bootstrap(one_class, one_class) == {}


# ------------------------------------------------------------------------------------------------ proportions, FAS


def test_wilson_interval():
    """Value of the R function binom.confint(8, 10, method = "wilson")."""
    assert proportion_interval(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert proportion_interval(0, 10)[0] == 0.0
    assert proportion_interval(0, 0) is None


def test_fas_intervals_hold_their_values_and_cover():
    rng = np.random.default_rng(3)
    inside = []
    for seed in range(150):
        data = draw(rng, 100, 100, shift=2.0)[0]
        types = np.where(data.labels == 1, np.where(np.arange(200) % 2, "print", "replay"), "live")
        block = metrics_fas.intervals(data, types, 0.3, replicates=200, seed=seed)
        values = metrics_fas.summary(data, types, 0.3)
        assert block.keys() <= values.keys()
        for name in ("hter@target_eer", "hter@dev", "tpr@fpr1", "bpcer"):
            assert block[name][0] - 0.02 <= values[name] <= block[name][1] + 0.02
        inside.append(block["hter@dev"])
    true_scores = draw(np.random.default_rng(99), 200_000, 200_000, shift=2.0)[0]
    value = metrics_fas.error_rates(1 - true_scores.scores, true_scores.labels == 0, 0.3).hter
    assert 0.9 <= coverage(inside, value) <= 0.99


def test_fas_intervals_of_one_class_are_none():
    data = Scores(np.ones(5, int), np.linspace(0, 1, 5))
    assert metrics_fas.intervals(data, ["print"] * 5, None) == {"hter@target_eer": None, "tpr@fpr1": None}
