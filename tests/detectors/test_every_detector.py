"""What every registered detector must do, whatever its method."""

from __future__ import annotations

import inspect

import pytest
import torch

from benchmark import create_detector
from benchmark.registry import DETECTORS
from benchmark.schema import OptimizerConfig
from detectors.base import Detector, DetectorConfig

BUILT_IN = [entry.name for entry in DETECTORS.entries() if entry.module.startswith("detectors.")]
TINY = {"name": "fsfm_vit_tiny_patch16", "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}


def build(name):
    torch.manual_seed(0)
    takes_backbone = "backbone" in inspect.signature(DETECTORS.get(name)).parameters
    return create_detector(name, TINY if takes_backbone else None)


def batch_for(detector, count=4):
    generator = torch.Generator().manual_seed(1)
    side = detector.input_size
    batch = {
        "label": torch.arange(count) % 2,
        "video": list("abcd"),
        "frame": ["0"] * count,
        "index": torch.arange(count),
        "seed": torch.arange(count) + 7,
    }
    shape = (count, 8, 3, side, side) if detector.uses_clips else (count, 3, side, side)
    batch["clip" if detector.uses_clips else "image"] = torch.randn(shape, generator=generator)
    if "parsing" in detector.needs:
        batch["parsing"] = torch.randint(0, 11, (count, side, side), generator=generator, dtype=torch.uint8)
    return batch


@pytest.fixture(params=BUILT_IN)
def detector(request):
    return build(request.param)


def test_contract(detector):
    assert isinstance(detector, Detector)
    assert issubclass(detector.Config, DetectorConfig)
    assert detector.needs <= {"parsing", "mask", "landmarks", "audio"}
    assert (type(detector).__doc__ or "").strip()


def test_training_step_gives_a_finite_loss_that_reaches_every_trained_parameter(detector):
    losses = detector.train().training_step(batch_for(detector))
    assert losses["loss"].ndim == 0
    assert all(torch.isfinite(value).all() for value in losses.values())
    losses["loss"].backward()
    trained = {name: p for name, p in detector.named_parameters() if p.requires_grad}
    assert trained
    without = [name for name, p in trained.items() if p.grad is None]
    assert without == [] or detector.has_unused_parameters


def test_prediction_is_a_probability_per_sample(detector):
    if not detector.can_predict:
        pytest.skip("a pre-training stage")
    batch = batch_for(detector)
    with torch.inference_mode():
        scores = detector.eval().predict(batch)
        again = detector.predict(batch)
    assert scores.shape == (4,)
    assert scores.dtype == torch.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    assert torch.equal(scores, again)


def test_one_sample_is_scored_as_in_a_batch(detector):
    """A score that depends on its neighbours in the batch would change with batch size and process count."""
    if not detector.can_predict:
        pytest.skip("a pre-training stage")
    batch = batch_for(detector)
    with torch.inference_mode():
        whole = detector.eval().predict(batch)
        alone = torch.cat([detector.predict({key: value[i : i + 1] for key, value in batch.items()}) for i in range(4)])
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=1e-4)


def test_groups_hold_every_trained_parameter_once(detector):
    groups = detector.parameter_groups(OptimizerConfig(lr=1e-3, layer_decay=0.7))
    found = [id(p) for group in groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in detector.parameters() if p.requires_grad)
    assert all({"lr_scale", "weight_decay", "names"} <= set(group) for group in groups)


def test_weights_survive_the_round_trip(detector, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    with torch.no_grad():
        for p in detector.parameters():
            p.add_(torch.randn_like(p) * 0.01)
    save_file({k: v.contiguous() for k, v in detector.state_dict().items()}, path, metadata=detector.metadata())
    other = create_detector(*name_and_backbone(detector))
    other.load_weights(str(path))
    for key, value in detector.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def name_and_backbone(detector):
    name = next(name for name in BUILT_IN if DETECTORS.get(name) is type(detector))
    return name, TINY if "backbone" in inspect.signature(type(detector)).parameters else None


def test_settings_have_sentences(detector):
    for name, info in type(detector).Config.model_fields.items():
        assert info.description or any(
            base.model_fields.get(name) and base.model_fields[name].description
            for base in type(detector).Config.__mro__
            if hasattr(base, "model_fields")
        ), name
