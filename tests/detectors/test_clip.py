"""detectors/clip.py and detectors/adapter.py, and linear probing on a CLIP tower."""

from __future__ import annotations

import pytest
import torch

from benchmark import create_detector
from benchmark.errors import CheckpointError

CLIP = {"name": "clip_vit_b16", "img_size": 28, "patch_size": 7, "embed_dim": 32, "num_blocks": 3, "num_heads": 4}


@pytest.fixture(scope="module")
def data(golden):
    return golden("clip_tower_w32_l3.safetensors")


def huggingface(data):
    """The inner tower as DeepfakeBench stores it, with the integer buffer of old transformers versions."""
    prefix = "hf.vision_model."
    tower = {key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}
    return {**tower, "embeddings.position_ids": torch.arange(17)[None]}


def deepfakebench(data):
    return {f"module.backbone.{key}": value for key, value in huggingface(data).items()}, "module.head"


def df40(data):
    return {f"base_model.{key}": value for key, value in huggingface(data).items()}, "classifier"


def with_prefix(data):
    return {f"backbone.vision_model.{key}": value for key, value in huggingface(data).items()}, "head"


@pytest.mark.parametrize("spelling", [deepfakebench, df40, with_prefix])
def test_published_baselines_load_strictly(data, tmp_path, spelling):
    state, head = spelling(data)
    weight, bias = torch.randn(2, 32), torch.randn(2)
    torch.save({**state, f"{head}.weight": weight, f"{head}.bias": bias}, tmp_path / "clip.pth")
    detector = create_detector("clip", CLIP).eval()
    detector.load_weights(str(tmp_path / "clip.pth"))
    with torch.no_grad():
        scores = detector.predict({"image": data["pixel_values"]})
    expected = (data["out.pooler_output"] @ weight.T + bias).softmax(-1)[:, 1]
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


def test_an_incomplete_baseline_is_refused(data, tmp_path):
    state, head = deepfakebench(data)
    del state["module.backbone.post_layernorm.bias"]
    torch.save({**state, f"{head}.weight": torch.zeros(2, 32), f"{head}.bias": torch.zeros(2)}, tmp_path / "clip.pth")
    with pytest.raises(CheckpointError, match=r"44 of 45 tensors fit; missing: backbone\.ln_post\.bias \(1\)"):
        create_detector("clip", CLIP).load_weights(str(tmp_path / "clip.pth"))


def step(detector):
    """Names of the parameters that one optimiser step moves."""
    before = {name: p.clone() for name, p in detector.named_parameters()}
    optimizer = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], lr=0.5)
    batch = {"image": torch.randn(4, 3, 28, 28), "label": torch.arange(4) % 2}
    detector.train().training_step(batch)["loss"].backward()
    optimizer.step()
    return {name for name, p in detector.named_parameters() if not torch.equal(p, before[name])}


def test_full_fine_tuning_moves_the_tower():
    torch.manual_seed(0)
    moved = step(create_detector("clip", CLIP))
    assert {"backbone.conv1.weight", "backbone.transformer.resblocks.2.mlp.c_fc.weight", "head.weight"} <= moved


def test_a_linear_probe_on_clip_moves_the_head_only():
    torch.manual_seed(0)
    assert step(create_detector("linear_probe", CLIP)) == {"head.1.weight", "head.1.bias"}


def test_adapter_tuning_starts_as_clip_and_moves_adapters_last_norm_and_head():
    torch.manual_seed(0)
    plain = create_detector("clip", CLIP).eval()
    detector = create_detector("adapter", CLIP, bottleneck=8).eval()
    missing = detector.load_state_dict(plain.state_dict(), strict=False)
    assert missing.unexpected_keys == []
    assert all(".adapter." in key for key in missing.missing_keys)
    batch = {"image": torch.randn(2, 3, 28, 28)}
    with torch.no_grad():
        assert torch.equal(detector.predict(batch), plain.predict(batch))
    moved = step(detector)
    assert all(".adapter." in name or name.startswith(("backbone.ln_post.", "head.")) for name in moved)
    assert "backbone.transformer.resblocks.0.adapter.up.weight" in moved
    counts = detector.parameter_counts()
    assert counts["head"] == (66, 66)
    assert counts["adapters"] == (3 * (2 * 32 * 8 + 8 + 32),) * 2
    assert counts["backbone"][1] == 64
