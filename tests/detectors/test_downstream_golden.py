"""FS-Adapter, anti-spoofing heads and linear probing against the reference; what is trained; published files."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from benchmark import create_detector
from benchmark.data.cards import builtin_cards
from benchmark.errors import CheckpointError
from benchmark.schema import OptimizerConfig
from detectors.fas import FASHead
from detectors.losses import real_anchor_loss

TINY = {"name": "fsfm_vit_tiny_patch16", "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}
POOLING = {"gap": "avg", "cls": "token"}
CLOSE = {"atol": 1e-5, "rtol": 0}


def published_weights(data):
    return {key.removeprefix("weight."): value for key, value in data.items() if key.startswith("weight.")}


def on_meta(name, backbone, **options):
    with torch.device("meta"):
        return create_detector(name, backbone, **options)


def trained_names(detector):
    groups = detector.parameter_groups(OptimizerConfig(lr=1, weight_decay=0.0, layer_decay=0.0))
    return {name: group for group in groups for name in group["names"]}


def size(detector, *, trained=False):
    return sum(p.numel() for p in detector.parameters() if p.requires_grad or not trained)


# ------------------------------------------------------------------ FS-Adapter


@pytest.mark.parametrize("pooling", POOLING)
def test_fs_adapter_equals_the_reference_and_scores_the_probability_of_fake(golden, tmp_path, pooling):
    data = golden(f"fsadapter_tiny_{pooling}.safetensors")
    path = tmp_path / "checkpoint-min_val_loss.pth"
    torch.save({"model": published_weights(data), "epoch": 3}, path)
    backbone = {**TINY, "global_pool": POOLING[pooling]}
    detector = create_detector("fs_adapter", backbone, weights_classes=["fake", "real"]).eval()
    detector.load_weights(str(path))
    with torch.no_grad():
        pooled = detector.backbone.extract(data["input"]).pooled
        bottleneck, adapted = detector.adapter(pooled)
        feature, projected = detector.adapted(data["input"])
        logits, scores = detector.logits(data["input"]), detector.predict({"image": data["input"]})
    torch.testing.assert_close(pooled, data["features"], **CLOSE)
    torch.testing.assert_close(bottleneck, data["adapter_bottleneck"], **CLOSE)
    torch.testing.assert_close(adapted, data["adapter_out"], **CLOSE)
    torch.testing.assert_close(feature, torch.cat([data["features"], data["adapter_out"]], 1), **CLOSE)
    torch.testing.assert_close(projected, data["proj_normalized"], **CLOSE)
    torch.testing.assert_close(logits, data["logits"].flip(1), **CLOSE)
    torch.testing.assert_close(scores, data["logits"].softmax(1)[:, 0], **CLOSE)
    loss = real_anchor_loss(projected, data["labels"] == data["real_index"], 0.07)
    torch.testing.assert_close(loss[None], data["real_anchor_loss_T0.07"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", ["small", "base", "large"])
def test_fs_adapter_has_the_published_parameters_and_trains_the_published_ones(golden, variant):
    expected = golden("state_dict_shapes.json")[f"vit_{variant}_patch16|fs_adapter_global_pool_r4"]
    detector = on_meta("fs_adapter", f"fsfm_vit_{variant}_patch16")
    ours = {key.removeprefix("backbone."): list(value.shape) for key, value in detector.state_dict().items()}
    assert ours == expected["keys"]
    assert (size(detector), size(detector, trained=True)) == (expected["n_params"], expected["n_trainable"])
    assert set(trained_names(detector)) == set(expected["trainable"])
    everything = on_meta("fs_adapter", f"fsfm_vit_{variant}_patch16", trainable="all")
    assert size(everything, trained=True) == expected["n_params"]


def test_groups_of_the_frozen_adapter_equal_the_reference(golden):
    expected = golden("layer_decay_fsadapter_vit_base_patch16_ld0.0_wd0.0_gap_frozen.json")
    groups = trained_names(on_meta("fs_adapter", "fsfm_vit_base_patch16"))
    ours = {name: {key: group[key] for key in ("lr_scale", "weight_decay")} for name, group in groups.items()}
    assert ours == expected["params"]


# ------------------------------------------------------------------ face anti-spoofing


def test_what_the_anti_spoofing_head_reads_equals_the_reference(golden):
    data = golden("fas_backbone_tiny.safetensors")
    detector = create_detector("fas", TINY).eval()
    detector.backbone.load_state_dict(published_weights(data))
    with torch.no_grad():
        torch.testing.assert_close(detector.sequence(data["input"]), data["tokens"], **CLOSE)


def check_head(data, axis):
    head = FASHead(data["input"].shape[-1], 2).eval()
    state = {key.partition(".")[2]: value for key, value in data.items() if key.startswith("embedder.")}
    state |= {key.partition(".")[2]: value for key, value in data.items() if key.startswith("classifier_before.")}
    head.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(head.embed(data["input"], axis), data["embedded_normed"], **CLOSE)
        logits = head(data["input"], axis)
        torch.testing.assert_close(logits, data["logits"], **CLOSE)
        after = data["classifier_after.classifier_layer.weight"]
        torch.testing.assert_close(head.classifier_layer.weight, after, atol=1e-6, rtol=0)
        torch.testing.assert_close(after.norm(dim=0), torch.ones(512), atol=1e-6, rtol=0)
        assert torch.equal(head(data["input"], axis), logits), "a second forward pass moves nothing"
    return logits


def test_head_over_tokens(golden):
    """The norm runs over the tokens: the logits of the first one depend on all."""
    data = golden("fas_head_tokens.safetensors")
    logits = check_head(data, axis=1)
    torch.testing.assert_close(logits[:, 0], data["video_logits_token0"], **CLOSE)


def test_head_over_channels(shared):
    """1.6 MB, so the file is not in the repository."""
    check_head(load_file(shared / "golden/fsfm_downstream/fas_head_adapter.safetensors"), axis=1)


def test_the_axis_is_a_setting():
    images = torch.randn(2, 3, 32, 32)
    torch.manual_seed(0)
    tokens = create_detector("fas", TINY).eval()
    channels = create_detector("fas", TINY, norm_axis="channels").eval()
    channels.load_state_dict(tokens.state_dict())
    with torch.no_grad():
        assert not torch.allclose(tokens.logits(images), channels.logits(images))
        alone = channels.head(channels.backbone.extract(images).pooled)
        torch.testing.assert_close(channels.logits(images), alone, **CLOSE)


def test_anti_spoofing_models_have_the_published_parameters(golden):
    shapes = golden("state_dict_shapes.json")
    full, expected = on_meta("fas", "fsfm_vit_base_patch16"), shapes["fas_full_vit_base_patch16"]
    assert size(full) == size(full, trained=True) == expected["n_params"] == 86_193_410
    adapter, expected = on_meta("fas_adapter", "fsfm_vit_base_patch16"), shapes["fas_fs_adapter_vit_base_patch16"]
    assert size(adapter, trained=True) == expected["n_trainable"] == 1_119_938
    unused = sum(torch.Size(expected["keys"][f"backbone.vit.head.{name}"]).numel() for name in ("weight", "bias"))
    assert size(adapter) == expected["n_params"] - unused
    names = {name.removeprefix("backbone.vit.") for name in expected["trainable"]}
    names = {name.replace("embedder.", "head.").replace("classifier.", "head.") for name in names}
    assert set(trained_names(adapter)) == names


def published_fas_file(golden, path, detector, inner=()):
    """A file as the official code saves it: everything twice that is registered twice, an unused head, live = 1."""
    encoder = published_weights(golden("fas_backbone_tiny.safetensors"))
    state = {f"backbone.vit.{key}": value for key, value in encoder.items()}
    own = detector.state_dict()
    state |= {f"backbone.vit.{key}": own[key] + 0.01 for key in own if key.startswith(tuple(inner))}
    state |= {"backbone.vit.head.weight": torch.zeros(2, 48), "backbone.vit.head.bias": torch.zeros(2)}
    for kind in ("weight", "bias"):
        state[f"embedder.bottleneck_layer_fc.{kind}"] = own[f"head.bottleneck_layer_fc.{kind}"] * 3
        state[f"embedder.bottleneck_layer.0.{kind}"] = state[f"embedder.bottleneck_layer_fc.{kind}"]
    state["classifier.classifier_layer.weight"] = torch.nn.functional.normalize(torch.randn(2, 512), dim=0)
    state["classifier.classifier_layer.bias"] = torch.tensor([0.3, -0.2])
    torch.save({"epoch": 4, "state_dict": state, "best_model_EER": 0.05, "threshold": 0.4}, path)
    return state


def test_published_anti_spoofing_files_score_the_probability_of_attack(golden, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "msu_vit_0_shot_checkpoint_run_0.pth.tar"
    detector = create_detector("fas", TINY, weights_classes=["spoof", "live"]).eval()
    state = published_fas_file(golden, path, detector)
    detector.load_weights(str(path))
    data = golden("fas_backbone_tiny.safetensors")
    embedded = torch.relu(
        data["tokens"] @ state["embedder.bottleneck_layer_fc.weight"].T + state["embedder.bottleneck_layer_fc.bias"]
    )
    embedded = embedded / embedded.norm(dim=1, keepdim=True).sqrt() / 2**0.5
    logits = embedded[:, 0] @ state["classifier.classifier_layer.weight"].T + state["classifier.classifier_layer.bias"]
    with torch.no_grad():
        scores = detector.predict({"image": data["input"]})
    torch.testing.assert_close(scores, logits.softmax(1)[:, 0], **CLOSE)


def test_published_adapter_files_load_too(golden, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "run_0.pth.tar"
    detector = create_detector("fas_adapter", TINY, weights_classes=["spoof", "live"]).eval()
    state = published_fas_file(golden, path, detector, inner=("adapter.", "projector."))
    detector.load_weights(str(path))
    assert torch.equal(detector.adapter.linear1.weight, state["backbone.vit.adapter.linear1.weight"])
    assert torch.equal(detector.projector.bias, state["backbone.vit.projector.bias"])
    assert torch.equal(detector.head.classifier_layer.bias, state["classifier.classifier_layer.bias"].flip(0))
    with pytest.raises(CheckpointError, match=r"for classes \['fake', 'real'\], the detector has \['live', 'spoof'\]"):
        create_detector("fas_adapter", TINY, weights_classes=["fake", "real"]).load_weights(str(path))


# ------------------------------------------------------------------ linear probing


def test_linear_probe_head_equals_the_reference(golden):
    data = golden("linprobe_head.safetensors")
    detector = create_detector("linear_probe", {**TINY, "embed_dim": 16})
    head = detector.head
    head[1].load_state_dict({"weight": data["weight"], "bias": data["bias"]})
    with torch.no_grad():
        torch.testing.assert_close(head.train()(data["input"]), data["train_output"], **CLOSE)
        torch.testing.assert_close(head.eval()(data["input"]), data["eval_output"], **CLOSE)
    torch.testing.assert_close(head[0].running_mean, data["running_mean"], atol=1e-6, rtol=0)
    torch.testing.assert_close(head[0].running_var, data["running_var"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_linear_probing_trains_the_linear_layer_only(batch_norm):
    detector = on_meta("linear_probe", "fsfm_vit_base_patch16", batch_norm=batch_norm)
    assert size(detector, trained=True) == 2 * 768 + 2
    prefix = "head.1" if batch_norm else "head"
    assert set(trained_names(detector)) == {f"{prefix}.weight", f"{prefix}.bias"}


# ------------------------------------------------------------------ lists


def test_list_sizes_of_the_cards_are_the_counted_ones(golden):
    cards, checked = builtin_cards(), 0
    for key, facts in golden("fas_list_facts.json").items():
        domain, _, kind = key.partition("_")
        name = next(name for name in (f"MCIO/{domain}", f"WCS/{domain}") if name in cards)
        official = cards[name].official
        assert official[f"train_{kind}"] == facts["train_count"], key
        if facts.get("test_count"):
            assert official[f"test_{kind}"] == facts["test_count"], key
        checked += 1
    assert checked == 16
