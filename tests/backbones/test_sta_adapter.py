"""backbones/adapters/sta.py: golden values of the reference module, per-clip and batch-mixed; any backbone."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.nn import functional as F

from backbones.adapters.sta import (
    ClipShape,
    StAdapter,
    StASettings,
    attach_sta,
    attach_temporal_embedding,
    embedding_for,
    frozen_statistics,
)
from benchmark import create_backbone
from benchmark.errors import ConfigError

CASES = {"adapter_w32_t8": (32, 8, (4, 4), 3), "adapter_w48_t4": (48, 4, (3, 3), 2)}
CLIP = {"img_size": 28, "patch_size": 7, "embed_dim": 32, "num_blocks": 3, "num_heads": 4}


def part(data, prefix):
    return {key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}


def built(name, golden, **options):
    """The reference's adapter, its data with tokens as (images, tokens, width), and the number of clips."""
    width, frames, grid, clips = CASES[name]
    data = golden(f"{name}.safetensors")
    adapter = StAdapter(StASettings(width, grid, 1, width // 2, **options), ClipShape(frames)).eval()
    adapter.load_state_dict(part(data, "state."))
    return adapter, data, frames, clips


def batch_first(tokens):
    return tokens.transpose(0, 1)


@pytest.fixture(params=CASES)
def name(request):
    return request.param


def close(actual, expected, tolerance=1e-5):
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def test_every_clip_as_when_it_is_alone(name, golden):
    adapter, data, frames, clips = built(name, golden)
    with torch.no_grad():
        whole = adapter(batch_first(data["x"]))
        close(whole, batch_first(data["y_per_clip"]))
        for clip in range(clips):
            columns = slice(clip * frames, (clip + 1) * frames)
            close(adapter(batch_first(data["x"])[columns]), whole[columns], 1e-6)


def test_faithful_mixing_is_the_references(name, golden):
    adapter, data, frames, _ = built(name, golden, batch_mixing="faithful")
    with torch.no_grad():
        mixed = adapter(batch_first(data["x"]))
        close(mixed, batch_first(data["y_batch_mixed"]))
        assert (mixed - batch_first(data["y_per_clip"])).abs().max() > 1e-2
        alone = adapter(batch_first(data["x"])[:frames])
    close(alone, batch_first(data["y_per_clip"])[:frames])


def test_every_intermediate_tensor(name, golden):
    adapter, data, frames, _ = built(name, golden)
    tokens = batch_first(data["x"])[:frames]
    expected = part(data, "clip0.")
    grid = adapter.settings.grid

    def volume(clips):  # (1, T, R * C, c) to the reference's (1, c, T, R, C)
        return clips.permute(0, 3, 1, 2).unflatten(3, grid)

    with torch.no_grad():
        hidden = F.gelu(adapter.down(tokens))
        close(hidden, batch_first(expected["after_down_gelu"]))
        clips = hidden[:, 1:][None]
        images, times = clips[0].unflatten(1, grid).permute(0, 3, 1, 2), clips.permute(0, 3, 1, 2)
        for number in (1, 2, 3):
            space = getattr(adapter, f"s_conv{number}")(images).transpose(0, 1)[None]
            close(space, expected[f"s_conv{number}"])
            close(getattr(adapter, f"t_conv{number}")(times).unflatten(3, grid), expected[f"t_conv{number}"])
        spatial, temporal = adapter.streams(clips)
        close(volume(spatial), expected["spatial_fused"])
        close(volume(temporal), expected["temporal_fused"])
        to_temporal, to_spatial = adapter.cross_attention(spatial.flatten(1, 2), temporal.flatten(1, 2))
        close(volume(to_temporal.view(clips.shape)), expected["s2t"])
        close(volume(to_spatial.view(clips.shape)), expected["t2s"])


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients(name, golden, recompute):
    adapter, data, frames, _ = built(name, golden, recompute_convs=recompute)
    tokens = batch_first(data["x"])[:frames].clone().requires_grad_()
    (adapter(tokens) * batch_first(data["grad.w"])).sum().backward()
    close(tokens.grad, batch_first(data["grad.x"]), 2e-5)
    expected = {key: value for key, value in part(data, "grad.").items() if key not in {"w", "x"}}
    assert len(expected) >= 4
    for key, value in expected.items():
        close(adapter.get_parameter(key).grad, value, 2e-5)


@pytest.mark.parametrize("recompute", [False, True])
def test_training_output_and_batch_statistics(name, golden, recompute):
    """The running statistics move once a step, also when the convolutions run a second time in the backward pass."""
    adapter, data, frames, _ = built(name, golden, recompute_convs=recompute)
    output = adapter.train()(batch_first(data["x"])[:frames])
    output.sum().backward()
    close(output.detach(), batch_first(data["train.y_clip0"]))
    buffers = dict(adapter.named_buffers())
    expected = part(data, "train.after.")
    assert expected.keys() == buffers.keys()
    for key, value in expected.items():
        close(buffers[key].to(value.dtype), value)


def test_frozen_statistics_stay_and_come_back():
    norm = torch.nn.BatchNorm3d(2)
    values = torch.randn(4, 2, 1, 3, 3)
    with frozen_statistics(norm):
        inside = norm(values)
    assert norm.num_batches_tracked == 0
    assert norm.running_mean.abs().max() == 0
    torch.testing.assert_close(norm(values), inside)
    assert norm.num_batches_tracked == 1


def test_skipped_patches_leave_the_prefix_as_it_was(golden):
    adapter, data, _, _ = built("adapter_w32_t8", golden)
    skipping = StAdapter(StASettings(32, (4, 4), 1, 16, skip_patches=True), ClipShape(8)).eval()
    skipping.load_state_dict(adapter.state_dict())
    tokens = batch_first(data["x"])
    with torch.no_grad():
        close(skipping(tokens)[:, :1], adapter(tokens)[:, :1], 1e-6)
        assert torch.equal(skipping(tokens)[:, 1:], tokens[:, 1:])


def test_a_block_with_its_adapter(golden):
    data = golden("block_w32_t8.safetensors")
    state, shape = part(data, "state."), ClipShape(8)
    for mixing, key in (("correct", "y_per_clip"), ("faithful", "y_batch_mixed")):
        tower = create_backbone("clip_vit_b16", **{**CLIP, "num_blocks": 1})
        attach_sta(tower, shape, batch_mixing=mixing)
        tower.eval()
        block = tower.block_list()[0]
        block.load_state_dict(state, strict=True)
        seen = {}
        block.Adapter.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.update(mlp=inputs[0]))
        block.ln_2.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.update(attention=inputs[0]))
        with torch.no_grad():
            close(block(batch_first(data["x"])), batch_first(data[key]))
        close(seen["attention"][:8], batch_first(data["clip0.after_attn"]))
        close(seen["mlp"][:8], batch_first(data["clip0.after_mlp"]))


# ------------------------------------------------------------------ any backbone


BACKBONES = {
    "CLIP": ("clip_vit_b16", CLIP),
    "FSFM, patches pooled": (
        "fsfm_vit_tiny_patch16",
        {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4},
    ),
    "one class token": ("timm", {"model": "vit_tiny_patch16_224", "img_size": 32}),
    "registers": ("timm", {"model": "vit_wee_patch16_reg1_gap_256", "img_size": 48}),
    "class token and registers": ("timm", {"model": "vit_small_patch14_reg4_dinov2", "img_size": 28}),
    "no prefix": ("timm", {"model": "vit_relpos_small_patch16_224", "img_size": 32}),
    "rotary positions": ("timm", {"model": "eva02_tiny_patch14_224", "img_size": 28}),
}


@pytest.fixture(params=BACKBONES)
def backbone(request):
    torch.manual_seed(0)
    name, options = BACKBONES[request.param]
    return create_backbone(name, **options).eval()


def clips_for(backbone, count=2, frames=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count * frames, 3, backbone.input_size, backbone.input_size, generator=generator)


def test_the_start_is_the_plain_backbone_exactly(backbone):
    images = clips_for(backbone)
    with torch.no_grad():
        plain = backbone.extract(images)
        shape = ClipShape(3)
        embedding = attach_temporal_embedding(backbone, 3, shape)
        adapters = attach_sta(backbone, shape)
        assert len(adapters) == len(backbone.block_list())
        for adapter in adapters:
            adapter.eval().start_as_identity()
        adapted = backbone.extract(images)
        assert torch.equal(adapted.pooled, plain.pooled)
        assert torch.equal(adapted.tokens, plain.tokens)
        embedding[:, 1] = torch.linspace(-1, 1, backbone.embed_dim)  # a constant would vanish in the norm
        moved = backbone.extract(images).pooled
    changed = (moved - plain.pooled).abs().amax(1) > 1e-4
    assert changed.tolist() == [False, True, False] * 2, "a frame's vector reaches its frame only, until adapters act"


def test_adapters_mix_within_a_clip_and_never_between_clips(backbone):
    shape = ClipShape(3)
    for adapter in attach_sta(backbone, shape, sites=[0, -1]):
        adapter.eval()
    images = clips_for(backbone)
    other = images.clone()
    other[4] += 1.0
    with torch.no_grad():
        one, two = backbone.extract(images).tokens, backbone.extract(other).tokens
    torch.testing.assert_close(one[:3], two[:3], atol=1e-6, rtol=0)
    assert ((one[3:] - two[3:]).abs().amax((1, 2)) > 1e-4).all(), "all frames of the changed clip"


def test_copies_and_pickles_keep_the_hooks_together(backbone):
    shape = ClipShape(3)
    attach_temporal_embedding(backbone, 3, shape)
    attach_sta(backbone, shape, sites=[0])[0].eval()
    images = clips_for(backbone)
    with torch.no_grad():
        getattr(backbone, "temporal_embedding").normal_()  # noqa: B009 - a parameter that was added from outside
        expected = backbone.extract(images).pooled
        for twin in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
            torch.testing.assert_close(twin.extract(images).pooled, expected)
            twin.temporal_embedding.zero_()
            assert not torch.allclose(twin.extract(images).pooled, expected), "the copy reads its own embedding"
        torch.testing.assert_close(backbone.extract(images).pooled, expected)


def test_what_does_not_fit_is_refused():
    tower = create_backbone("clip_vit_b16", **CLIP)
    with pytest.raises(ValueError, match=r"sites \[0, 3\]: the backbone has blocks 0 to 2"):
        attach_sta(tower, ClipShape(), sites=[0, 3])
    with pytest.raises(ValueError, match=r"kernels must be odd .* found \[3, 4\]"):
        attach_sta(tower, ClipShape(), kernels=[3, 4])
    with pytest.raises(ValueError, match="bottleneck 16 must be a positive multiple of its 3 heads"):
        attach_sta(tower, ClipShape(), heads=3)
    with pytest.raises(ConfigError, match="TimmBackbone has no transformer blocks"):
        attach_sta(create_backbone("timm", model="resnet18"), ClipShape())
    with pytest.raises(ValueError, match="needs a backbone with a grid of patch tokens"):
        attach_sta(create_backbone("timm", model="efficientnet_b0"), ClipShape())
    with pytest.raises(ConfigError, match="TimmBackbone has no"):
        attach_temporal_embedding(create_backbone("timm", model="resnet18"), 4, ClipShape())
    adapter = attach_sta(tower, ClipShape(3), sites=[1])[0]
    with pytest.raises(ValueError, match=r"built for 17 tokens an image \(1 \+ 4 x 4\), .*\(3, 16, 32\)"):
        adapter(torch.zeros(3, 16, 32))
    with pytest.raises(ValueError, match="4 images do not divide into clips of 3 frames"):
        adapter(torch.zeros(4, 17, 32))


def test_temporal_embedding_for_another_length():
    embedding = torch.arange(4.0)[None, :, None].expand(1, 4, 2)
    assert embedding_for(embedding, 4) is embedding
    assert embedding_for(embedding, 7)[0, :, 0].tolist() == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 3])
    assert embedding_for(embedding, 2)[0, :, 1].tolist() == pytest.approx([0, 3])
