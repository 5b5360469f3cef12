"""Golden values of the adapter's loss, LARS, the FAS metrics and the FAS colour path."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file

from benchmark.data.augmentation_fas import scale_saturation
from benchmark.metrics import Scores, auc, to_videos
from benchmark.metrics_fas import equal_error_point, error_rates, live_accepted_at
from detectors.losses import real_anchor_loss
from training.lars import LARS

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@pytest.mark.parametrize("case", ["balanced", "one_real", "no_real", "all_real", "temp_0p2_real0"])
def test_real_anchor_loss_and_its_gradient(case: str):
    data = load_file(GOLDEN / "real_anchor_loss.safetensors")
    features = data[f"{case}.features"].clone().requires_grad_()
    is_real = data[f"{case}.labels"] == data[f"{case}.real_index"]
    loss = real_anchor_loss(features, is_real, data[f"{case}.temperature"].item())
    torch.testing.assert_close(loss, data[f"{case}.loss"].squeeze(), rtol=1e-5, atol=1e-6)
    if f"{case}.grad_features" in data:
        loss.backward()
        torch.testing.assert_close(features.grad, data[f"{case}.grad_features"], rtol=1e-5, atol=1e-5)


def test_three_lars_steps():
    data = load_file(GOLDEN / "lars_steps.safetensors")
    matrix, vector = (torch.nn.Parameter(data[name].clone()) for name in ("w0", "b0"))
    optimizer = LARS([matrix, vector], lr=0.1)
    for step in range(3):
        matrix.grad, vector.grad = data[f"gw{step}"], data[f"gb{step}"]
        optimizer.step()
        torch.testing.assert_close(matrix.data, data[f"w{step + 1}"], rtol=0, atol=1e-6)
        torch.testing.assert_close(vector.data, data[f"b{step + 1}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", json.loads((GOLDEN / "metrics_fas.json").read_text()), ids=lambda case: case["name"])
def test_fas_metrics(case: dict):
    live, is_live = np.array(case["video_probs"]), np.array(case["video_labels"]) == 1
    point, result = equal_error_point(live, is_live), case["result"]
    assert point.hter == pytest.approx(result["hter"], abs=1e-9)
    assert point.threshold == result["threshold"]
    assert live_accepted_at(live, is_live) == pytest.approx(result["tpr_at_fpr_1pct"], abs=1e-9)
    half = error_rates(live, is_live, 0.5)
    assert half.far == pytest.approx(case["counts"]["apcer_0p5"], abs=1e-9)
    assert half.frr == pytest.approx(case["counts"]["npcer_0p5"], abs=1e-9)


@pytest.mark.parametrize("case", json.loads((GOLDEN / "metrics_fas.json").read_text()), ids=lambda case: case["name"])
def test_fas_videos_from_frames(case: dict):
    """Our labels and scores are those of attacks: means per video, AUC and accuracy must come out the same."""
    score = torch.tensor(case["logits"], dtype=torch.float64).softmax(1)[:, 0].numpy()
    data, names = to_videos(1 - np.array(case["labels"]), score, [str(video) for video in case["video_ids"]])
    assert names == [str(video) for video in case["videos_in_first_seen_order"]]
    np.testing.assert_allclose(1 - data.scores, case["video_probs"], atol=1e-6)
    np.testing.assert_array_equal(1 - data.labels, case["video_labels"])
    exact = Scores(data.labels, 1 - np.array(case["video_probs"]))
    if len(set(data.labels)) == 2:
        assert auc(exact) == pytest.approx(case["result"]["auc"], abs=1e-9)
    live = np.array(case["video_probs"]) >= case["result"]["threshold"]
    assert 100 * np.mean(live == (data.labels == 0)) == pytest.approx(case["result"]["acc_at_threshold_pct"], abs=1e-9)


def test_saturation_path():
    data = load_arrays(GOLDEN / "fas_hsv_pixels.safetensors")
    image = np.ascontiguousarray(data["bgr_uint8"][..., ::-1])
    for factor in (0.8, 1.0):
        np.testing.assert_array_equal(scale_saturation(image, factor), data[f"rgb_uint8_sat_{factor}"])
    np.testing.assert_array_equal(scale_saturation(image, 1.2), data["rgb_uint8_clipped_sat_1.2"])
    np.testing.assert_array_equal(scale_saturation(image, 1.2, "wrap"), data["rgb_uint8_wrapped_sat_1.2"])
