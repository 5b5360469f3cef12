"""Metrics against values of the reference evaluation (golden data) and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark import metrics
from benchmark.metrics import Scores

CASES = (
    "unbalanced_multi_frame",
    "ties_one_decimal",
    "single_frame_videos",
    "weak_separation",
    "perfect_separation",
    "label_clash_same_name",
)


@pytest.fixture(scope="module")
def cases(golden):
    return {case["name"]: case for case in golden("metrics_dfd.json")}


def test_every_golden_case_is_tested(cases):
    assert sorted(cases) == sorted(CASES)


def check(result, level, labels, scores):
    """Their P(real) with label 1 = real, read as our P(fake) with label 1 = fake.

    Ranks take -s, because 1 - s rounds again and can break exact ties of video means.
    """
    fake, scores = 1 - np.asarray(labels), np.asarray(scores)
    data, ranks = Scores(fake, 1.0 - scores), Scores(fake, -scores)
    assert 100 * metrics.accuracy(data) == pytest.approx(result[f"{level}_acc"], abs=1e-9)
    assert 100 * metrics.balanced_accuracy(data) == pytest.approx(result[f"{level}_balanced_acc"], abs=1e-9)
    assert 100 * metrics.auc(ranks) == pytest.approx(result[f"{level}_auc"], abs=1e-9)
    assert metrics.eer(ranks) == pytest.approx(result[f"{level}_eer"], abs=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_frame_metrics_equal_the_reference(cases, name):
    case = cases[name]
    check(case["result"], "frame", case["labels"], case["scores"])


@pytest.mark.parametrize("name", CASES)
def test_video_metrics_equal_the_reference(cases, name):
    case = cases[name]
    check(case["result"], "video", case["video_labels"], case["video_scores"])


@pytest.mark.parametrize("name", [name for name in CASES if name != "label_clash_same_name"])
def test_video_scores_are_means_in_first_seen_order(cases, name):
    case = cases[name]
    video, names = metrics.to_videos(case["labels"], case["scores"], case["video_names"])
    assert names == case["video_order"]
    assert video.labels.tolist() == case["video_labels"]
    np.testing.assert_allclose(video.scores, case["video_scores"], rtol=0, atol=1e-12)
    check(case["result"], "video", video.labels, video.scores)


def test_a_video_of_both_labels_is_refused(cases):
    """The reference takes the first frame's label; here the ids must be unique per class."""
    case = cases["label_clash_same_name"]
    with pytest.raises(ValueError, match=r"Video '.*' has frames of both labels; video ids must be unique per class"):
        metrics.to_videos(case["labels"], case["scores"], case["video_names"])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("level", ["", "video_"])
def test_auc_and_eer_do_not_care_which_class_is_called_fake(cases, name, level):
    labels, scores = np.array(cases[name][f"{level}labels"]), np.array(cases[name][f"{level}scores"])
    one, other = Scores(labels, scores), Scores(1 - labels, -scores)
    assert metrics.auc(one) == pytest.approx(metrics.auc(other), abs=1e-12)
    assert metrics.eer(one) == pytest.approx(metrics.eer(other), abs=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_average_precision_takes_fake_as_the_positive_class(cases, name):
    case = cases[name]
    data = Scores(1 - np.array(case["labels"]), -np.array(case["scores"]))
    assert 100 * metrics.average_precision(data) == pytest.approx(
        case["result"]["extra_sklearn_frame_ap_pos0"], abs=1e-9
    )


def test_random_scores_agree_with_scikit_learn():
    from sklearn import metrics as reference

    rng = np.random.default_rng(5)
    labels, scores = rng.integers(0, 2, 500), rng.uniform(size=500)
    data = Scores(labels, scores)
    summary = metrics.summary(data)
    assert summary["auc"] == reference.roc_auc_score(labels, scores)
    assert summary["ap"] == reference.average_precision_score(labels, scores)
    assert summary["acc"] == reference.accuracy_score(labels, scores > 0.5)
    assert summary["balanced_acc"] == pytest.approx(reference.balanced_accuracy_score(labels, scores > 0.5))
    assert summary["loss"] == pytest.approx(reference.log_loss(labels, scores))
    false_positive, true_positive, _ = reference.roc_curve(labels, scores)
    nearest = np.argmin(np.abs(1 - true_positive - false_positive))
    assert summary["eer"] == pytest.approx(false_positive[nearest], abs=5e-3)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_rank_metrics_undefined_but_accuracy_defined(label):
    summary = metrics.summary(Scores(np.array([label] * 3), np.array([0.2, 0.9, 0.8])))
    assert summary["auc"] is summary["eer"] is summary["ap"] is None
    assert summary["acc"] == pytest.approx(2 / 3 if label else 1 / 3)
    assert summary["balanced_acc"] == summary["acc"]


def test_score_of_one_half_means_real():
    assert metrics.accuracy(Scores(np.array([0, 1]), np.array([0.5, 0.5]))) == 0.5
    assert metrics.accuracy(Scores(np.array([0, 1]), np.array([0.5, 0.5000001]))) == 1.0


def test_certain_but_wrong_scores_give_a_large_finite_loss():
    loss = metrics.log_loss(Scores(np.array([0, 1]), np.array([1.0, 0.0])))
    assert loss == pytest.approx(-np.log(1e-12))


def test_broken_input_is_refused():
    with pytest.raises(ValueError, match="3 labels but 2 scores"):
        Scores(np.array([0, 1, 1]), np.array([0.1, 0.2]))
    with pytest.raises(ValueError, match="2 of 3 scores are NaN or infinite"):
        Scores(np.array([0, 1, 1]), np.array([0.1, np.nan, np.inf]))


def test_grouping_of_ff_keeps_manipulations_of_one_pair_apart():
    """Four manipulations of three pairs and three reals are 15 videos, not the 6 of grouping by folder name."""
    pairs = ("000_003", "001_870", "002_006")
    ids = [f"FF-{m}/{pair}" for m in ("DF", "F2F", "FS", "NT") for pair in pairs for _ in range(2)]
    ids += [f"FF-real/{pair[:3]}" for pair in pairs for _ in range(2)]
    labels = [int(not name.startswith("FF-real")) for name in ids]
    video, names = metrics.to_videos(labels, np.linspace(0, 1, len(ids)), ids)
    assert len(names) == 15
    assert video.labels.sum() == 12


def test_ranks_at_few_false_positives_agree_with_scikit_learn():
    from sklearn import metrics as reference

    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, 900)
    data = Scores(labels, np.round(rng.normal(labels, 1.0), 1))
    false_positive, true_positive, _ = reference.roc_curve(labels, data.scores, drop_intermediate=False)
    assert metrics.tpr_at_fpr(data) == true_positive[false_positive <= 0.01].max()
    assert metrics.partial_auc(data) == reference.roc_auc_score(labels, data.scores, max_fpr=0.1)


def test_no_threshold_may_qualify():
    """Half of the reals score highest: flagging anything flags too many of them."""
    assert metrics.tpr_at_fpr(Scores(np.array([0, 0, 1, 1]), np.array([0.9, 0.1, 0.5, 0.4]))) == 0.0


def test_calibration_error():
    calibrated = Scores(np.array([0] * 3 + [1] + [0] + [1] * 3), np.array([0.25] * 4 + [0.75] * 4))
    assert metrics.calibration_error(calibrated) == pytest.approx(0.0)
    sure = Scores(np.array([0, 1, 0, 1]), np.array([1.0, 1.0, 0.0, 0.0]))
    assert metrics.calibration_error(sure) == 0.5
    far = Scores(np.array([0, 1, 1]), np.array([0.3, 0.9, 0.9]))
    assert metrics.calibration_error(far) == pytest.approx((0.3 + 0.1 + 0.1) / 3)


def test_roc_points_are_a_short_form_of_the_curve():
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 2, 5000)
    data = Scores(labels, rng.normal(labels, 1.0))
    points = metrics.roc_points(data)
    assert len(points["fpr"]) <= 202
    assert (points["fpr"][0], points["tpr"][0], points["fpr"][-1], points["tpr"][-1]) == (0, 0, 1, 1)
    assert np.trapezoid(points["tpr"], points["fpr"]) == pytest.approx(metrics.auc(data), abs=2e-3)
    assert metrics.roc_points(Scores(np.zeros(3, int), np.zeros(3))) is None


def test_cross_auc_finds_a_drift_between_sets():
    """Within each set the ranking is perfect; the scores of B are shifted, so reals of B pass fakes of A."""
    a = Scores(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4]))
    b = Scores(np.array([0, 0, 1, 1]), np.array([0.5, 0.6, 0.7, 0.8]))
    result = metrics.cross_auc({"A": a, "B": b})
    assert result["within"] == 1.0
    assert {(pair["reals"], pair["fakes"]): pair["auc"] for pair in result["pairs"]} == {
        ("A", "A"): 1.0, ("A", "B"): 1.0, ("B", "A"): 0.0, ("B", "B"): 1.0,
    }  # fmt: skip
    assert result["cross"] == 0.5
    only_fakes = Scores(np.ones(2, int), np.array([0.3, 0.4]))
    assert metrics.cross_auc({"A": a}) is None
    assert metrics.cross_auc({"A": a, "C": only_fakes})["cross"] == 1.0


def test_single_frame_videos_make_the_levels_agree(cases):
    case = cases["single_frame_videos"]
    data = Scores(1 - np.array(case["labels"]), 1 - np.array(case["scores"]))
    video, _ = metrics.to_videos(data.labels, data.scores, case["video_names"])
    assert metrics.summary(video) == metrics.summary(data)
