"""CLIP towers: golden values, the three spellings of the weights, activation, loading rules."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from backbones.base import CLIP
from backbones.clip_keys import from_openai, style_of, to_openai, tower_of
from backbones.clip_vit import published_weights
from benchmark import create_backbone
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError

TINY = {"img_size": 28, "patch_size": 7, "embed_dim": 32, "num_blocks": 3, "num_heads": 4}
PREFIXES = {"hf.": "huggingface", "openai.": "openai", "timm.": "timm"}


def tiny(**options):
    return create_backbone("clip_vit_b16", **{**TINY, **options})


@pytest.fixture
def data(golden):
    return golden("clip_tower_w32_l3.safetensors")


def stored(data, prefix):
    return {key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}


@pytest.fixture(params=PREFIXES)
def prefix(request):
    return request.param


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


# ------------------------------------------------------------------ what it computes


def test_tower_from_any_spelling_equals_the_reference(data, prefix):
    state = stored(data, prefix)
    tower = tiny().eval()
    tower.load_encoder(state)
    seen = []
    tower.ln_pre.register_forward_hook(lambda *args: seen.append(args[2]))
    for block in tower.block_list():
        block.register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        features = tower.extract(data["pixel_values"])
    close(features.pooled, data["out.pooler_output"])
    close(features.tokens, data["out.tokens_ln_post"])
    for number, tokens in enumerate(seen):
        close(tokens, data[f"out.hidden_states.{number}"])
    close(seen[-1], data["out.last_hidden_state"])
    projection = to_openai(tower_of(state)).get("proj")
    assert projection is not None
    close(features.pooled @ projection, data["out.image_embeds"])


def test_without_quick_gelu_the_same_weights_compute_something_else(data):
    tower = tiny(quick_gelu=False).eval()
    tower.load_encoder(stored(data, "openai."))
    with torch.no_grad():
        difference = (tower.extract(data["pixel_values"]).pooled - data["out.pooler_output"]).abs().max()
    assert difference > 1e-3


def test_timm_builds_the_same_tower(data):
    import timm

    own = timm.create_model(
        "vit_base_patch16_clip_quickgelu_224", img_size=28, patch_size=7, embed_dim=32, depth=3, num_heads=4,
        num_classes=0,
    ).eval()  # fmt: skip
    state = {key: value for key, value in stored(data, "timm.").items() if not key.startswith("head.")}
    own.load_state_dict(state)
    with torch.no_grad():
        close(own.forward_features(data["pixel_values"]), data["out.tokens_ln_post"])


# ------------------------------------------------------------------ spellings


def test_spelling_is_recognised_and_translated_without_loss(data, prefix):
    state = tower_of(stored(data, prefix))
    assert style_of(state) == PREFIXES[prefix]
    own = to_openai(state)
    expected = stored(data, "openai.visual.")
    assert own.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(own[key], value), key
    back = from_openai(own, PREFIXES[prefix])
    meaningless = {"embeddings.position_ids", "head.bias"}
    assert back.keys() == state.keys() - meaningless
    for key, value in back.items():
        assert torch.equal(value, state[key]), key


def test_every_key_of_the_published_mapping(shared):
    rules = json.loads((shared / "golden" / "sta_clip" / "clip_key_mapping.json").read_text())
    for rule in rules["top"]:
        if rule["openai"] is None:
            continue
        filler = {"conv1.weight": torch.zeros(1)}
        state = {**from_openai(filler, "huggingface"), rule["hf"]: torch.zeros(2, 1)}
        assert rule["openai"] in to_openai(state), rule


def test_whole_clip_models_and_old_buffers(data):
    """Text tower, logit scale and the integer positions of old transformers versions have no place in a tower."""
    clip = {
        **stored(data, "hf."),
        "vision_model.embeddings.position_ids": torch.arange(17)[None],
        "text_model.embeddings.token_embedding.weight": torch.zeros(5, 8),
        "text_projection.weight": torch.zeros(4, 4),
        "logit_scale": torch.tensor(4.6),
    }
    open_clip = {
        **stored(data, "openai."),
        "transformer.resblocks.0.ln_1.weight": torch.zeros(8),
        "positional_embedding": torch.zeros(77, 8),
        "logit_scale": torch.tensor(4.6),
    }
    one, two = tiny(), tiny()
    one.load_encoder(clip)
    two.load_encoder(open_clip)
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key]), key


def test_broken_spellings_are_refused(data):
    state = tower_of(stored(data, "hf."))
    del state["encoder.layers.1.self_attn.k_proj.bias"]
    with pytest.raises(CheckpointError, match=r"q_proj\.bias but not encoder\.layers\.1\.self_attn\.k_proj\.bias"):
        tiny().load_encoder(state)
    with pytest.raises(CheckpointError, match=r"No CLIP image tower in these weights: .*first keys are blocks\.0\.x"):
        tiny().load_encoder({"blocks.0.x": torch.zeros(1)})


# ------------------------------------------------------------------ loading


@pytest.mark.parametrize("lost", ["ln_post.weight", "transformer.resblocks.2.attn.in_proj_bias", "class_embedding"])
def test_a_missing_tensor_is_refused(data, lost):
    state = stored(data, "openai.visual.")
    del state[lost]
    with pytest.raises(CheckpointError, match=rf"of 43 tensors fit; missing: {lost} \(1\)"):
        tiny().load_encoder(state)


LOST = {"timm.": "cls_token", "hf.vision_model.": "encoder.layers.1.mlp.fc1.bias"}


@pytest.mark.parametrize(("prefix", "lost"), LOST.items())
def test_a_missing_tensor_is_refused_in_the_other_spellings(data, prefix, lost):
    state = {key: value for key, value in stored(data, prefix).items() if key != lost}
    with pytest.raises(CheckpointError, match=r"of 43 tensors fit; missing: [\w.]+ \(1\)"):
        tiny().load_encoder(state)


def test_an_unexpected_tensor_is_refused(data):
    state = {**stored(data, "openai.visual."), "transformer.resblocks.0.ls_1.gamma": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"without a place: transformer\.resblocks\.0\.ls_1\.gamma \(1\)"):
        tiny().load_encoder(state)


def test_a_shorter_tower_takes_the_first_blocks(data):
    state = stored(data, "openai.visual.")
    tower = tiny(num_blocks=2).eval()
    tower.load_encoder(state)
    assert torch.equal(tower.block_list()[1].mlp.c_fc.weight, state["transformer.resblocks.1.mlp.c_fc.weight"])
    assert len(tower.block_list()) == 2
    with pytest.raises(CheckpointError, match=r"missing: transformer\.resblocks\.3\.ln_1\.weight"):
        tiny(num_blocks=4).load_encoder(state)


def test_another_grid_resizes_the_positions(data):
    state = stored(data, "openai.visual.")
    tower = tiny(img_size=42)
    tower.load_encoder(state)
    assert tower.positional_embedding.shape == (37, 32)
    assert torch.equal(tower.positional_embedding[0], state["positional_embedding"][0])


def test_a_file_from_disk_does_not_guess_its_normalisation(data, tmp_path, prefix):
    path = tmp_path / "model.safetensors"
    save_file({key: value.contiguous() for key, value in stored(data, prefix).items()}, path)
    tower = tiny(weights=str(path)).eval()
    with torch.no_grad():
        close(tower.extract(data["pixel_values"]).pooled, data["out.pooler_output"])
    assert tower.normalization is None
    assert tiny().normalization == CLIP


def test_hub_weights_by_tag_bring_their_normalisation_and_activation(data, tmp_path, monkeypatch):
    path = tmp_path / "open_clip_model.safetensors"
    save_file(stored(data, "openai."), path)
    asked = []
    monkeypatch.setattr("backbones.weights._download", lambda repo, file: asked.append((repo, file)) or path)
    tower = tiny(weights="openai").eval()
    assert asked == [("timm/vit_base_patch16_clip_224.openai", "open_clip_model.safetensors")]
    assert tower.normalization == CLIP
    with torch.no_grad():
        close(tower.extract(data["pixel_values"]).pooled, data["out.pooler_output"])
    with pytest.raises(CheckpointError, match=r"'openai' were trained with QuickGELU, the tower has GELU.*=true"):
        tiny(weights="openai", quick_gelu=False)
    with pytest.raises(CheckpointError, match=r"'laion2b_s34b_b88k' were trained with GELU, .*quick_gelu=false"):
        tiny(weights="laion2b_s34b_b88k")
    large = create_backbone("clip_vit_l14", **TINY, quick_gelu=False, weights="laion2b_s32b_b82k")
    assert large.normalization == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), "these were not trained with CLIP's statistics"


def test_unknown_tags_suggest_the_nearest():
    with pytest.raises(CheckpointError, match=r"No weights at 'opnai': .*Did you mean openai\?"):
        tiny(weights="opnai")


def test_records_name_repository_licence_and_activation():
    for model in ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336"):
        facts = published_weights(f"{model}-quickgelu")["openai"]
        assert facts == published_weights(model)["openai"]
        assert (facts.quick_gelu, facts.licence, facts.normalization) == (True, "MIT", CLIP)
        assert facts.repo.startswith("timm/vit_")
    assert published_weights("ViT-L-14")["metaclip_400m"].licence.startswith("CC BY-NC")
    assert published_weights("no such model") == {}


# ------------------------------------------------------------------ the rest of the contract


SIZES = {"clip_vit_b32": (768, 12, 7), "clip_vit_b16": (768, 12, 14), "clip_vit_l14": (1024, 24, 16),
         "clip_vit_l14_336": (1024, 24, 24)}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_named_towers(name):
    width, blocks, side = SIZES[name]
    with torch.device("meta"):
        tower = create_backbone(name)
    assert (tower.embed_dim, len(tower.block_list()), tower.grid_size) == (width, blocks, (side, side))
    assert tower.input_size == (336 if name.endswith("336") else 224)
    assert tower.positional_embedding.shape == (side * side + 1, width)
    assert tower.quick_gelu
    assert tower.pools_prefix
    assert not any(key == "proj" for key in tower.state_dict())
    ids = tower.layer_ids()
    assert (ids["class_embedding"], ids["conv1.weight"], ids["ln_pre.bias"]) == (0, 0, 0)
    assert ids[f"transformer.resblocks.{blocks - 1}.ln_1.weight"] == blocks
    assert ids["ln_post.weight"] == blocks + 1 == max(ids.values())
    assert all(norm.eps == 1e-5 for norm in tower.modules() if isinstance(norm, torch.nn.LayerNorm))


def test_other_open_clip_towers_by_name():
    with torch.device("meta"):
        tower = create_backbone("open_clip", model="ViT-H-14")
        averaging = create_backbone("open_clip", model="ViT-L-14-CLIPA")
    assert (tower.embed_dim, len(tower.block_list()), tower.quick_gelu) == (1280, 32, False)
    assert not averaging.pools_prefix
    with pytest.raises(BenchmarkError, match=r"open_clip has no model 'ViT-L14'\. Closest: ViT-L-14"):
        create_backbone("open_clip", model="ViT-L14")
    for model, reason in (("RN50", "is a ResNet"), ("coca_ViT-B-32", "pools by attention"),
                          ("ViT-B-16-SigLIP", "use backbone timm with model=vit_base_patch16_siglip_224")):  # fmt: skip
        with pytest.raises(BenchmarkError, match=rf"'{model}' has no plain vision transformer; .*{reason}"):
            create_backbone("open_clip", model=model)


def test_averaging_towers_pool_their_patches():
    tower = create_backbone("open_clip", model="ViT-L-14-CLIPA", **TINY).eval()
    images = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        features = tower.extract(images)
    assert features.tokens.shape == (2, 17, 32)
    with torch.no_grad():
        expected, _ = tower._pool(tower.transformer(tower._embeds(images)))
    torch.testing.assert_close(features.pooled, expected)


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="img_size 30 must be a multiple of patch_size 7, and embed_dim 32 of num_h"):
        tiny(img_size=30)
    with pytest.raises(ConfigError, match=r"backbone\.depth is not a known key"):
        tiny(depth=3)
