"""The classifier that most detectors are: targets, losses, parameter groups, class order of weights."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from backbones.weights import STATISTICS_FILE, write_statistics
from benchmark import create_detector
from benchmark.errors import CheckpointError, ConfigError, TrainingError
from benchmark.schema import OptimizerConfig
from detectors.base import Detector, DetectorConfig, group_parameters

TINY = {"name": "fsfm_vit_tiny_patch16", "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}


def make(name="fsfm", **options):
    return create_detector(name, TINY, **options)


# ------------------------------------------------------------------ mixed targets and losses


def test_mixed_targets_and_losses_equal_the_reference(golden, monkeypatch):
    """lambda 0.3 and smoothing 0.1 through our own mixing path; images stand for themselves."""
    from timm.data.mixup import Mixup

    data = golden("mixup_targets.safetensors")
    lam = data["lam"].item()
    monkeypatch.setattr(Mixup, "_params_per_batch", lambda self: (lam, False))
    detector = make(mixup=0.8, cutmix=1.0, label_smoothing=0.1).train()
    images = torch.arange(6.0)[:, None, None, None].expand(6, 3, 32, 32).contiguous()
    mixed, targets = detector.mix(images, data["targets"])
    torch.testing.assert_close(targets, data["mixed_targets"], atol=1e-6, rtol=0)
    torch.testing.assert_close(mixed[:, 0, 0, 0], lam * torch.arange(6.0) + (1 - lam) * torch.arange(5.0, -1, -1))
    loss = detector.classification_loss(data["logits"], targets)
    torch.testing.assert_close(loss[None], data["soft_target_ce"], atol=1e-6, rtol=0)
    plain = detector.classification_loss(data["logits"], data["targets"])
    torch.testing.assert_close(plain[None], data["label_smoothing_ce_0.1"], atol=1e-6, rtol=0)


def test_cutmix_corrects_lambda_to_the_true_area():
    import numpy as np

    detector = make(mixup=0.0, cutmix=1.0, label_smoothing=0.0).train()
    images = torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)])
    for seed in range(8):
        np.random.seed(seed)
        mixed, targets = detector.mix(images, torch.tensor([0, 1]))
        share = mixed[0].mean().item()
        assert targets[0, 1].item() == pytest.approx(share, abs=1e-6)
        assert targets[1, 0].item() == pytest.approx(1 - mixed[1].mean().item(), abs=1e-6)


def test_mixing_leaves_the_batch_and_evaluation_alone():
    detector = make(mixup=0.8, cutmix=1.0).train()
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 0, 1])
    before = images.clone()
    detector.mix(images, labels)
    assert torch.equal(images, before)
    same, targets = detector.eval().mix(images, labels)
    assert same is images
    assert targets is labels
    same, targets = make(mixup=0, cutmix=0).train().mix(images, labels)
    assert same is images


def test_an_odd_share_of_a_batch_cannot_be_mixed():
    with pytest.raises(TrainingError, match=r"this share of it has 3\. Choose trainer\.batch_size so that"):
        make(mixup=0.8).train().mix(torch.zeros(3, 3, 32, 32), torch.zeros(3, dtype=torch.long))


# ------------------------------------------------------------------ parameter groups


DECAY = [
    ("fsfm_vit_base_patch16", "layer_decay_vit_base_patch16_ld0.65_wd0.05_gap.json"),
    ("fsfm_vit_small_patch16", "layer_decay_vit_small_patch16_ld0.65_wd0.03_gap.json"),
]


@pytest.mark.parametrize(("backbone", "file"), DECAY)
def test_layer_decay_equals_the_reference(golden, backbone, file):
    expected = golden(file)
    with torch.device("meta"):
        detector = create_detector("fsfm", backbone)
    settings = OptimizerConfig(lr=1, layer_decay=expected["layer_decay"], weight_decay=expected["weight_decay"])
    groups = detector.parameter_groups(settings)
    ours = {
        name.removeprefix("backbone."): (group["lr_scale"], group["weight_decay"])
        for group in groups
        for name in group["names"]
    }
    assert set(ours) == set(expected["params"])
    for name, value in expected["params"].items():
        assert ours[name] == (pytest.approx(value["lr_scale"], abs=1e-15), value["weight_decay"]), name
    assert len(groups) == expected["num_groups"] == 28
    # The reference registers fc_norm after the head, we before it: the two groups at the top change places.
    order = expected["groups_in_creation_order"]
    for group, reference in zip(groups, [*order[:-2], order[-1], order[-2]], strict=True):
        assert group["lr_scale"] == pytest.approx(reference["lr_scale"], abs=1e-15)
        assert group["weight_decay"] == reference["weight_decay"]
        assert len(group["params"]) == reference["num_params"]


def test_without_layer_decay_there_are_two_groups():
    groups = make().parameter_groups(OptimizerConfig(lr=1, weight_decay=0.1))
    assert [(group["lr_scale"], group["weight_decay"]) for group in groups] == [(1.0, 0.0), (1.0, 0.1)]
    assert {"backbone.pos_embed", "backbone.cls_token", "head.bias"} <= set(groups[0]["names"])
    assert "head.weight" in groups[1]["names"]


def test_frozen_parameters_are_left_out_and_all_others_are_in_once():
    detector = make()
    detector.backbone.blocks[0].requires_grad_(False)
    groups = detector.parameter_groups(OptimizerConfig(lr=1, layer_decay=0.5))
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, p in detector.named_parameters() if p.requires_grad)
    assert not any(name.startswith("backbone.blocks.0.") for name in names)
    assert [id(p) for g in groups for p in g["params"]] == [id(detector.get_parameter(name)) for name in names]


def test_layer_decay_of_zero_trains_the_top_only():
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    groups = group_parameters(
        {"low": weight, "high": weight, "head": weight},
        {"low": 0, "high": 3},
        set(),
        OptimizerConfig(lr=1, layer_decay=0),
    )
    assert [(group["names"], group["lr_scale"]) for group in groups] == [(["low"], 0.0), (["high", "head"], 1.0)]


# ------------------------------------------------------------------ scores


def test_score_is_the_probability_of_fake_in_float32():
    detector = make().eval()
    with torch.no_grad():
        detector.head.weight.zero_()
        detector.head.bias.copy_(torch.tensor([math.log(0.25), math.log(0.75)]))
        scores = detector.predict({"image": torch.randn(3, 3, 32, 32)})
    assert scores.dtype == torch.float32
    assert scores.tolist() == pytest.approx([0.75] * 3)


def test_several_fake_classes_add_up_to_at_most_one():
    classes = ["real", "a", "b", "c", "d", "e", "f", "g"]
    detector = make("timm", classes=classes).eval()
    logits = torch.randn(2000, 8, generator=torch.Generator().manual_seed(1)) * 3
    logits[:, 0] -= 60
    detector.logits = lambda images: logits
    scores = detector.predict({"image": None})
    assert scores.max() <= 1.0
    assert scores.min() > 0.999


def test_fsfm_training_starts_at_log_two():
    detector = create_detector("fsfm", TINY, mixup=0, cutmix=0, label_smoothing=0).train()
    assert detector.head.weight.std().item() == pytest.approx(2e-5, rel=0.3)
    assert detector.head.bias.abs().max() == 0
    loss = detector.training_step({"image": torch.randn(8, 3, 32, 32), "label": torch.arange(8) % 2})["loss"]
    assert loss.item() == pytest.approx(math.log(2), abs=1e-3)


def test_a_pretraining_stage_makes_no_predictions():
    class Stage(Detector):
        """No predict."""

    assert not Stage().can_predict
    assert make().can_predict
    with pytest.raises(NotImplementedError, match="Stage makes no predictions; it is a pre-training stage"):
        Stage().predict({})
    assert DetectorConfig().model_dump() == {}


# ------------------------------------------------------------------ weights and class order


@pytest.fixture(params=["gap", "cls"])
def published(request, golden, tmp_path):
    """A fine-tuned file in the published flat layout, output 0 = fake, 1 = real, with its statistics."""
    data = golden(f"vit_tiny_{request.param}.safetensors")
    state = {key.removeprefix("weight."): value for key, value in data.items() if key.startswith("weight.")}
    folder = tmp_path / "published"
    folder.mkdir()
    torch.save({"model": state, "epoch": 9}, folder / "checkpoint-min_val_loss.pth")
    write_statistics(folder / STATISTICS_FILE, (0.54, 0.42, 0.36), (0.27, 0.24, 0.23))
    pooling = {"gap": "avg", "cls": "token"}[request.param]
    return folder / "checkpoint-min_val_loss.pth", {**TINY, "global_pool": pooling}, data


def test_published_weights_score_the_probability_of_fake(published):
    path, backbone, data = published
    detector = create_detector("fsfm", backbone, weights_classes=["fake", "real"]).eval()
    assert detector.load_weights(str(path)) == path
    with torch.no_grad():
        scores = detector.predict({"image": data["input"]})
        features = detector.backbone.extract(data["input"]).pooled
    torch.testing.assert_close(scores, data["logits"].softmax(-1)[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(features, data["features"], atol=1e-5, rtol=0)
    torch.testing.assert_close(detector.logits(data["input"]), data["logits"].flip(1), atol=1e-5, rtol=0)


def test_published_gradients_through_the_detector(published, golden):
    path, backbone, data = published
    expected = golden(f"vit_tiny_{'gap' if backbone['global_pool'] == 'avg' else 'cls'}_grads.safetensors")
    detector = create_detector("fsfm", backbone, weights_classes=["fake", "real"], label_smoothing=0).eval()
    detector.load_weights(str(path))
    loss = detector.training_step({"image": data["input"], "label": 1 - expected["targets"]})["loss"]
    loss.backward()
    torch.testing.assert_close(loss.detach()[None], expected["loss"], atol=1e-5, rtol=0)
    for name in ("pos_embed", "cls_token"):
        torch.testing.assert_close(
            detector.backbone.get_parameter(name).grad, expected[f"grad.{name}"], atol=1e-5, rtol=0
        )
    torch.testing.assert_close(detector.head.weight.grad, expected["grad.head.weight"].flip(0), atol=1e-5, rtol=0)


def test_weights_bring_the_normalisation_they_were_trained_with(published):
    path, backbone, _ = published
    detector = create_detector("fsfm", backbone, weights_classes=["fake", "real"])
    detector.load_weights(str(path))
    assert detector.normalization == ((0.54, 0.42, 0.36), (0.27, 0.24, 0.23))
    path.with_name(STATISTICS_FILE).unlink()
    detector.load_weights(str(path))
    assert detector.normalization is None, "not known is not ImageNet"


def test_a_file_that_does_not_say_its_class_order_is_refused(published):
    path, backbone, _ = published
    with pytest.raises(CheckpointError, match=r"does not say which output is real .*weights_classes='\[fake, real\]'"):
        create_detector("fsfm", backbone).load_weights(str(path))


def test_other_classes_are_refused(published):
    path, backbone, _ = published
    detector = create_detector("fsfm", backbone, weights_classes=["live", "spoof"])
    with pytest.raises(CheckpointError, match=r"for classes \['live', 'spoof'\], the detector has \['real', 'fake'\]"):
        detector.load_weights(str(path))
    with pytest.raises(ConfigError, match=r"detector\.weights_classes names a class twice"):
        create_detector("fsfm", backbone, weights_classes=["fake", "fake"])


def test_own_weights_carry_class_order_and_input(tmp_path):
    torch.manual_seed(0)
    source = make().eval()
    path = tmp_path / "model.safetensors"
    input_facts = json.dumps({"size": 32, "mean": [0.1] * 3, "std": [0.9] * 3})
    save_file(source.state_dict(), path, metadata={**source.metadata(), "input": input_facts})
    same, swapped = make().eval(), make(classes=["fake", "real"]).eval()
    images = torch.randn(2, 3, 32, 32)
    for detector in (same, swapped):
        detector.load_weights(str(path))
        assert detector.normalization == ((0.1,) * 3, (0.9,) * 3)
    with torch.no_grad():
        assert torch.equal(same.logits(images), source.logits(images))
        torch.testing.assert_close(swapped.logits(images), source.logits(images).flip(1))


def test_another_architecture_is_refused_with_counts(published):
    path, backbone, _ = published
    detector = create_detector("fsfm", {**backbone, "depth": 2}, weights_classes=["fake", "real"])
    with pytest.raises(CheckpointError) as error:
        detector.load_weights(str(path))
    assert str(error.value).startswith(f"{path}: 32 of 32 tensors fit; without a place: backbone.blocks.2.")
    assert "(12). It belongs to another architecture or setting." in str(error.value)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    with pytest.raises(CheckpointError):
        detector.load_weights(str(path))
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items()), "half loaded"
