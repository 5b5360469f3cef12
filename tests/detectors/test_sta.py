"""detectors/sta.py: golden detector, published keys and counts, what trains, clips, other backbones, short runs."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from benchmark import create_backbone, create_detector
from benchmark.errors import CheckpointError, ConfigError
from benchmark.schema import OptimizerConfig, load_run_config
from training.distributed import Processes
from training.inputs import autocast
from training.session import Session
from training.test import parse, run

CLIP = {"name": "clip_vit_b16", "img_size": 28, "patch_size": 7, "embed_dim": 32, "num_blocks": 3, "num_heads": 4}
PUBLISHED = {"sta_clip_l14": {"name": "clip_vit_l14", "num_blocks": 14}, "sta_clip_b16": {"name": "clip_vit_b16"}}


@pytest.fixture(scope="module")
def data(golden):
    return golden("sta_vit_w32_l3_t8.safetensors")


def published_state(data):
    return {key.removeprefix("state."): value for key, value in data.items() if key.startswith("state.")}


def loaded(data, **options):
    detector = create_detector("sta", CLIP, **options).eval()
    detector.load_state_dict(published_state(data), strict=True)
    return detector


def close(actual, expected, tolerance=1e-5):
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


# ------------------------------------------------------------------ golden values


def test_features_logits_and_scores_equal_the_reference(data):
    detector = loaded(data)
    with torch.no_grad():
        features = detector.features(data["clip"])
        close(features.transpose(1, 2)[..., None, None], data["feat_per_clip"])
        close(detector.logits(data["clip"]), data["logits_per_clip"])
        close(detector.predict({"clip": data["clip"]}), data["prob_per_clip"])


def test_tokens_after_every_stage_equal_the_reference(data):
    detector = loaded(data)
    backbone, seen = detector.backbone, {}
    backbone.ln_pre.register_forward_hook(lambda *args: seen.update(ln_pre=args[2]))
    for number, block in enumerate(backbone.block_list()):
        block.register_forward_hook(lambda *args, number=number: seen.update({f"block{number}": args[2]}))
    with torch.no_grad():
        detector.features(data["clip"][:1])
        seen["ln_post"] = backbone.extract(data["clip"][0]).tokens
    assert len(seen) == 5
    for name, tokens in seen.items():
        close(tokens, data[f"clip0.tokens_{name}"])


def test_faithful_mode_equals_the_reference_on_both_clips_at_once(data):
    detector = loaded(data, batch_mixing="faithful")
    with torch.no_grad():
        close(detector.features(data["clip"]).transpose(1, 2)[..., None, None], data["feat_batch_mixed"])
        close(detector.logits(data["clip"]), data["logits_batch_mixed"])
        close(detector.logits(data["clip"][:1]), data["logits_per_clip"][:1])


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_equal_the_reference(data, recompute):
    detector = loaded(data, train_backbone="all", recompute_convs=recompute)
    loss = detector.training_step({"clip": data["clip"][:1], "label": torch.tensor([1])})["loss"]
    loss.backward()
    close(loss.detach(), data["grad.loss"])
    expected = {key.removeprefix("grad."): value for key, value in data.items() if key.startswith("grad.")}
    del expected["loss"]
    assert len(expected) >= 15
    for name, value in expected.items():
        close(detector.get_parameter(name).grad, value, 2e-5)
    last = detector.backbone.block_list()[-1].Adapter
    assert all(parameter.grad.abs().max() == 0 for parameter in last.patch_path()), "only the class token is read"
    first = detector.backbone.block_list()[0].Adapter
    assert all(parameter.grad.abs().max() > 0 for name, parameter in first.named_parameters() if "weight" in name)


# ------------------------------------------------------------------ neighbours in the batch


def neighbours_matter(detector, clips):
    """Largest change of a clip's score when the clips beside it are permuted or replaced."""
    with torch.no_grad():
        before = detector.predict({"clip": clips})
        replaced = torch.cat([clips[:1], torch.randn_like(clips[1:])])
        moved = detector.predict({"clip": clips.flip(0)}).flip(0)
        return max(
            (detector.predict({"clip": replaced})[0] - before[0]).abs().item(), (moved - before).abs().max().item()
        )


def test_a_clips_score_does_not_depend_on_its_neighbours(data):
    clips = torch.cat([data["clip"], data["clip"].flip(1)])
    assert neighbours_matter(loaded(data), clips) < 1e-6
    assert neighbours_matter(loaded(data, batch_mixing="faithful"), clips) > 1e-4, "the published behaviour does"


# ------------------------------------------------------------------ published layout


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_shapes_and_counts_are_the_published_ones(golden, name):
    expected = golden(f"{name}_state_dict.json")
    with torch.device("meta"):
        detector = create_detector("sta", PUBLISHED[name])
    own = {key: list(value.shape) for key, value in detector.state_dict().items()}
    listed = {entry["key"]: entry["shape"] for entry in expected["state_dict"]}
    if name == "sta_clip_b16":  # only block 0 is listed
        block = "backbone.transformer.resblocks.0."
        inside = {key.removeprefix(block): shape for key, shape in listed.items() if key.startswith(block)}
        for number in range(12):
            listed |= {f"{block.replace('0', str(number))}{key}": shape for key, shape in inside.items()}
    assert own == listed
    assert len(own) == expected["n_keys"]
    counts, parts = expected["param_counts"], detector.parameter_counts()
    assert parts["adapters"] == (counts["adapter"], counts["adapter"])
    assert parts["temporal embedding"] == (counts["temporal_embedding"], counts["temporal_embedding"])
    assert parts["head"] == (counts["head"], counts["head"])
    assert parts["backbone"] == (counts["clip"], counts["ln_post"])
    assert sum(count for count, _ in parts.values()) == counts["total"]
    trained = counts["plug_and_play_trainable(adapters+temporal_embedding+ln_post+head)"]
    assert sum(part for _, part in parts.values()) == trained
    assert sum(p.numel() for p in detector.parameters() if p.requires_grad) == trained


WRAPPERS = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "DataParallel": lambda state: {f"module.{key}": value for key, value in state.items()},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_published_checkpoint_loads_strictly(data, tmp_path, wrapper):
    torch.save(WRAPPERS[wrapper](published_state(data)), tmp_path / "sta_best.pth")
    detector = create_detector("sta", CLIP).eval()
    detector.load_weights(str(tmp_path / "sta_best.pth"))
    with torch.no_grad():
        close(detector.predict({"clip": data["clip"]}), data["prob_per_clip"])


def test_other_layouts_are_refused(data, tmp_path):
    path = str(tmp_path / "sta_best.pth")
    torch.save(published_state(data), path)
    for change in ({"num_blocks": 4}, {"num_blocks": 2}):
        with pytest.raises(CheckpointError, match="It belongs to another architecture or setting"):
            create_detector("sta", {**CLIP, **change}).load_weights(path)
    with pytest.raises(CheckpointError, match=r"temporal_embedding \(1, 8, 32\) instead of \(1, 16, 32\)"):
        create_detector("sta", CLIP, frames=16).load_weights(path)
    with pytest.raises(CheckpointError, match=r"Adapter\.down\.weight \(16, 32\) instead of \(8, 32\)"):
        create_detector("sta", CLIP, bottleneck_ratio=0.25).load_weights(path)


# ------------------------------------------------------------------ what trains


def test_the_start_is_plain_clip(data, golden):
    """With CLIP's weights in the tower and fresh adapters, the pooled feature is CLIP's, bit for bit."""
    tower = golden("clip_tower_w32_l3.safetensors")
    detector = create_detector("sta", CLIP).eval()
    plain = create_backbone(**CLIP).eval()
    plain.load_encoder({k.removeprefix("openai."): v for k, v in tower.items() if k.startswith("openai.")})
    detector.backbone.load_state_dict(plain.state_dict(), strict=False)
    images = tower["pixel_values"]
    with torch.no_grad():
        features = detector.features(images[None])
        assert torch.equal(features[0], plain.extract(images).pooled)
        close(features[0], tower["out.sta_identity_cls"])


def test_a_frozen_backbone_stays_as_it_is_and_the_adapters_move():
    torch.manual_seed(0)
    backbone = {"name": "fsfm_vit_tiny_patch16", "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2,
                "num_heads": 4, "drop_path_rate": 0.5}  # fmt: skip
    detector = create_detector("sta", backbone).train()
    adapter = detector.backbone.blocks[0].Adapter
    assert not detector.backbone.blocks[1].training, "no stochastic depth in a frozen backbone"
    assert adapter.s_conv1.bn1.training
    before = {name: p.clone() for name, p in detector.named_parameters()}
    optimizer = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        detector.training_step({"clip": torch.randn(2, 8, 3, 32, 32), "label": torch.tensor([0, 1])})["loss"].backward()
        optimizer.step()
    moved = {name for name, p in detector.named_parameters() if not torch.equal(p, before[name])}
    assert all(any(part in name for part in ("Adapter", "temporal", "fc_norm", "head")) for name in moved)
    for name in ("up.weight", "down.weight", "s_conv1.conv1.weight", "t_conv3.conv1.weight"):
        assert f"backbone.blocks.0.Adapter.{name}" in moved
    assert {"backbone.temporal_embedding", "backbone.fc_norm.bias", "head.fc_cls.weight"} <= moved
    assert adapter.s_conv1.bn1.num_batches_tracked == 2
    assert not detector.eval().backbone.blocks[0].Adapter.training


def test_the_whole_backbone_on_request():
    detector = create_detector("sta", CLIP, train_backbone="all")
    assert all(p.requires_grad for p in detector.parameters())
    assert detector.train().backbone.block_list()[0].training


def test_skipping_the_unread_patch_path_changes_no_score(data):
    detector = loaded(data, skip_last_patch_path=True)
    with torch.no_grad():
        close(detector.predict({"clip": data["clip"]}), data["prob_per_clip"])
    last = detector.backbone.block_list()[-1].Adapter
    assert not any(p.requires_grad for p in last.patch_path())
    assert last.down.weight.requires_grad
    reading = create_detector(
        "sta", {"name": "fsfm_vit_tiny_patch16", "img_size": 32, "depth": 2}, skip_last_patch_path=True
    )
    assert all(p.requires_grad for p in reading.backbone.blocks[-1].Adapter.parameters()), "patches are pooled here"


def test_layer_decay_reaches_adapters_in_their_block():
    detector = create_detector("sta", CLIP)
    scales = {
        name: group["lr_scale"]
        for group in detector.parameter_groups(OptimizerConfig(lr=1, layer_decay=0.5))
        for name in group["names"]
    }
    assert scales["backbone.transformer.resblocks.0.Adapter.down.weight"] == 0.125
    assert scales["backbone.ln_post.weight"] == scales["head.fc_cls.weight"] == 1.0


def test_sites_choose_blocks():
    detector = create_detector("sta", CLIP, sites=[-1], temporal_embedding=False)
    assert [hasattr(block, "Adapter") for block in detector.backbone.block_list()] == [False, False, True]
    assert not hasattr(detector.backbone, "temporal_embedding")
    with pytest.raises(ConfigError, match=r"sites \[5\]: the backbone has blocks 0 to 2"):
        create_detector("sta", CLIP, sites=[5])


def test_clips_of_another_length_than_the_temporal_embedding(data):
    detector = loaded(data)
    with torch.no_grad():
        for frames in (4, 12, 16):
            clips = data["clip"].repeat(1, 2, 1, 1, 1)[:, :frames]
            assert detector.predict({"clip": clips}).shape == (2,)


def test_mixing_clips_mixes_all_frames_alike():
    detector = create_detector("sta", CLIP, cutmix=1.0).train()
    clips = torch.stack([torch.zeros(8, 3, 28, 28), torch.ones(8, 3, 28, 28)])
    mixed, targets = detector.mix(clips, torch.tensor([0, 1]))
    assert mixed.shape == clips.shape
    assert torch.equal(mixed, mixed[:, :1, :1].expand_as(mixed)), "one box for all frames and channels"
    assert targets[0, 1].item() == pytest.approx(mixed[0].mean().item(), abs=1e-6)


def test_mixed_precision(data):
    detector = loaded(data)
    clips = data["clip"]
    with autocast("bf16", torch.device("cpu")):
        scores = detector.predict({"clip": clips})
        loss = detector.train().training_step({"clip": clips, "label": torch.tensor([0, 1])})["loss"]
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.detach(), data["prob_per_clip"], atol=0.03, rtol=0)
    loss.backward()
    gradients = [p.grad for p in detector.parameters() if p.requires_grad]
    assert all(torch.isfinite(gradient).all() and gradient.dtype == torch.float32 for gradient in gradients)


def test_copies_are_independent(data):
    detector = loaded(data)
    twin = copy.deepcopy(detector)
    with torch.no_grad():
        twin.backbone.temporal_embedding.zero_()
        close(detector.predict({"clip": data["clip"]}), data["prob_per_clip"])
        assert (twin.predict({"clip": data["clip"]}) - data["prob_per_clip"]).abs().max() > 1e-4


# ------------------------------------------------------------------ commands

TEST = """\
detector: {name: sta}
backbone: {name: clip_vit_b16, weights: openai, img_size: 28, patch_size: 7, embed_dim: 32, num_blocks: 3, num_heads: 4}
data: {test: [Toy], resize: cv2_cubic, normalize: clip, frames: {test: 32}, frame_select: first, workers: 0}
trainer: {precision: fp32, device: cpu}
evaluation: {batch_size: 3}
paths: {data: %s, indexes: %s, runs: %s}
"""


def test_the_published_checkpoint_through_the_test_command(data, make_world, tmp_path):
    """A pickle with keys as released, videos of unequal length; no weights are fetched for the backbone."""
    world = make_world(tmp_path, {"test": (2, 2)}, frames=17)  # the last video has 16: all have two clips
    short = make_world(tmp_path / "short", {"test": (1, 1)}, name="Short", frames=8)  # one clip, and a video left out
    torch.save({f"module.{key}": value for key, value in published_state(data).items()}, tmp_path / "sta_best.pth")
    for name, paths, samples, videos in (("Toy", world, 8, 4), ("Short", short, 1, 1)):
        config = tmp_path / f"{name}.yaml"
        config.write_text((TEST % (paths.data, paths.indexes, tmp_path / "runs")).replace("Toy", name))
        weights = ["--weights", str(tmp_path / "sta_best.pth"), "--test", name]
        assert run(*parse(["--detector", str(config), *weights])) == 0
        folder = tmp_path / "runs" / f"{name}_test"
        result = json.loads((folder / "results" / f"{name}.json").read_text())
        assert (result["counts"]["samples"], result["counts"]["videos"]) == (samples, videos)
        assert result["counts"]["short_videos_left_out"] == (1 if name == "Short" else 0)
        assert result["input"]["mean"] == pytest.approx([0.48145466, 0.4578275, 0.40821073])


RUN = """\
detector: {name: sta, frames: 4, head_dropout: 0.1}
backbone: %s
data:
  image_size: 32
  train: [Toy]
  test: [Toy]
  normalize: half
  frames: {train: 10, val: 10, test: 10}
  clip: {length: 4}
  workers: 0
optimizer: {name: adam, lr: 2e-3, weight_decay: 5e-4, decay_vectors: true}
schedule: {name: constant, steps: 3}
trainer: {batch_size: 4, precision: fp32, device: cpu, log_every_steps: 1}
evaluation: {batch_size: 3}
paths: {data: %s, indexes: %s, runs: %s}
"""
BACKBONES = {
    "FSFM": "{name: fsfm_vit_tiny_patch16, patch_size: 8, embed_dim: 48, depth: 2, num_heads: 4}",
    "timm": "{name: timm, model: test_vit}",
    "CLIP": "{name: clip_vit_b16, patch_size: 8, embed_dim: 48, num_blocks: 2, num_heads: 4}",
}


@pytest.fixture(scope="module")
def clip_world(make_world, tmp_path_factory):
    """Videos of 10 frames (two clips of 4 each); the last test video has 9."""
    return make_world(tmp_path_factory.mktemp("clips"), {"train": (2, 2), "val": (1, 1), "test": (2, 2)}, frames=10)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_run_on_clips_trains_and_scores_every_video(clip_world, tmp_path, backbone):
    path = tmp_path / "sta.yaml"
    path.write_text(RUN % (BACKBONES[backbone], clip_world.data, clip_world.indexes, tmp_path / "runs"))
    session = Session(*load_run_config(path), Processes(0, 1, torch.device("cpu")))
    before = {name: p.clone() for name, p in session.detector.named_parameters()}
    assert session.train_and_test(resume=False) == 0
    changed = {name for name, p in session.detector.named_parameters() if not torch.equal(p, before[name])}
    assert any("Adapter.up" in name for name in changed)
    assert "backbone.temporal_embedding" in changed
    assert all(
        any(part in name for part in ("Adapter", "temporal_embedding", "norm", "ln_post", "head")) for name in changed
    )
    rows = (tmp_path / "runs" / "sta" / "predictions" / "Toy.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 * 2, "two clips a video"
    result = json.loads((tmp_path / "runs" / "sta" / "results" / "Toy.json").read_text())
    assert (result["counts"]["samples"], result["counts"]["videos"]) == (8, 4)
    assert result["counts"]["short_videos_left_out"] == 0
    assert 0 <= result["metrics"]["video"]["auc"] <= 1
