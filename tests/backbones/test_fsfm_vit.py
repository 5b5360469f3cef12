"""FSFM-ViT: golden values of the reference, published keys, loading rules, adapters."""

from __future__ import annotations

import argparse
import json

import pytest
import torch
from torch.nn import functional as F

from backbones.base import IMAGENET
from backbones.fsfm_vit import HEADS, PUBLISHED, resize_pos_embed
from backbones.weights import STATISTICS_FILE
from benchmark import create_backbone
from benchmark.errors import CheckpointError
from benchmark.registry import BACKBONES

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}
POOLING = {"gap": "avg", "cls": "token"}
STATISTICS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}


def tiny(**options):
    return create_backbone("fsfm_vit_tiny_patch16", **{**TINY, **options})


def weights_of(data):
    return {key.removeprefix("weight."): value for key, value in data.items() if key.startswith("weight.")}


@pytest.fixture(params=["gap", "cls"])
def kind(request):
    return request.param


@pytest.fixture
def reference(golden, kind):
    return golden(f"vit_tiny_{kind}.safetensors")


@pytest.fixture
def model(reference, kind):
    """The reference's own weights, loaded strictly by their published keys."""
    model = tiny(num_classes=2, global_pool=POOLING[kind], drop_path_rate=0.1).eval()
    model.load_state_dict(weights_of(reference), strict=True)
    return model


def test_features_and_logits_equal_the_reference(model, reference):
    with torch.no_grad():
        features = model.extract(reference["input"])
        logits = model(reference["input"])
    torch.testing.assert_close(features.pooled, reference["features"], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits, reference["logits"], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits.softmax(-1)[:, 1], reference["prob_index1"], atol=1e-5, rtol=0)
    assert features.tokens.shape == (3, 17, 48)


def test_gradients_equal_the_reference(model, reference, golden, kind):
    expected = golden(f"vit_tiny_{kind}_grads.safetensors")
    loss = F.cross_entropy(model(reference["input"]), expected["targets"])
    loss.backward()
    torch.testing.assert_close(loss[None], expected["loss"], atol=1e-5, rtol=0)
    gradients = {name: p.grad for name, p in model.named_parameters()}
    compared = [key.removeprefix("grad.") for key in expected if key.startswith("grad.")]
    assert len(compared) == 6
    for name in compared:
        torch.testing.assert_close(gradients[name], expected[f"grad.{name}"], atol=1e-5, rtol=0, msg=name)


SHAPES = {
    "vit_small_patch16|global_pool": ("fsfm_vit_small_patch16", "avg"),
    "vit_base_patch16|global_pool": ("fsfm_vit_base_patch16", "avg"),
    "vit_base_patch16|cls_token": ("fsfm_vit_base_patch16", "token"),
    "vit_large_patch16|global_pool": ("fsfm_vit_large_patch16", "avg"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_keys_shapes_and_parameter_counts_are_the_published_ones(golden, name):
    expected = golden("state_dict_shapes.json")[name]
    backbone, pooling = SHAPES[name]
    with torch.device("meta"):
        model = create_backbone(backbone, num_classes=2, global_pool=pooling)
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == expected["keys"]
    assert sum(p.numel() for p in model.parameters()) == expected["n_params"]


def test_every_published_variant_has_its_own_number_of_heads():
    """ViT-S has 12 heads of 32, not timm's 6 of 64; the weights alone do not show it."""
    for name in BACKBONES:
        if name.startswith("fsfm_vit") and "tiny" not in name:
            with torch.device("meta"):
                model = create_backbone(name)
            assert {block.attn.num_heads for block in model.blocks} == {HEADS[model.embed_dim]}
    assert HEADS[384] == 12


def test_other_head_counts_compute_something_else(reference, kind):
    one, other = (tiny(num_heads=heads, num_classes=2, global_pool=POOLING[kind]).eval() for heads in (4, 8))
    for model in (one, other):
        model.load_state_dict(weights_of(reference))
    with torch.no_grad():
        assert (one(reference["input"]) - other(reference["input"])).abs().max() > 1e-4


def test_weights_for_another_number_of_heads_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"width 384 have 12 attention heads, not 6.*set num_heads=12"):
        create_backbone(
            "fsfm_vit_small_patch16", depth=1, num_heads=6, img_size=32, weights=str(tmp_path / "any.safetensors")
        )


def test_position_embedding_resize(golden):
    data = golden("pos_embed_interp.safetensors")
    resized = resize_pos_embed(data["checkpoint_pos_embed"], (6, 6))
    torch.testing.assert_close(resized, data["interpolated"], atol=1e-6, rtol=0)
    same = resize_pos_embed(data["checkpoint_pos_embed"], (4, 4))
    assert same is data["checkpoint_pos_embed"]
    torch.testing.assert_close(resized[:, 0], data["checkpoint_pos_embed"][:, 0], atol=0, rtol=0)


# ------------------------------------------------------------------ loading


DECODER = {
    "mask_token": (1, 1, 8), "decoder_pos_embed": (1, 17, 8), "rep_decoder_pos_embed": (1, 17, 8),
    "projector.projection_head.0.weight": (8, 8), "predictor.projection_head.3.bias": (8,),
    "rep_decoder_embed.weight": (8, 8), "rep_decoder_blocks.1.attn.qkv.weight": (8, 8), "rep_decoder_norm.bias": (8,),
    "rep_decoder_pred.weight": (8, 8), "decoder_embed.bias": (8,), "decoder_blocks.7.mlp.fc1.weight": (8, 8),
    "decoder_norm.weight": (8,), "decoder_pred.bias": (8,),
}  # fmt: skip


def pretrained_state(**options):
    """A pre-training checkpoint's ``model``: encoder with its final norm, decoders, no head."""
    state = tiny(global_pool="token", **options).state_dict()
    return {**state, **{key: torch.zeros(shape) for key, shape in DECODER.items()}}


@pytest.mark.parametrize(("pooling", "fresh"), [("avg", {"fc_norm.weight", "fc_norm.bias"}), ("token", set())])
def test_a_pretraining_checkpoint_leaves_exactly_the_allowed_tensors_fresh(pooling, fresh):
    torch.manual_seed(1)
    state = pretrained_state()
    torch.manual_seed(2)
    model = tiny(global_pool=pooling, num_classes=2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_encoder(state)
    after = model.state_dict()
    kept = {key for key in after if key not in state}
    assert kept == fresh | {"head.weight", "head.bias"}
    for key, value in after.items():
        assert torch.equal(value, before[key] if key in kept else state[key]), key


@pytest.mark.parametrize("pooling", ["avg", "token"])
@pytest.mark.parametrize("lost", ["blocks.2.mlp.fc2.bias", "cls_token", "patch_embed.proj.weight"])
def test_a_missing_encoder_tensor_is_refused(pooling, lost):
    state = pretrained_state()
    del state[lost]
    with pytest.raises(CheckpointError, match=rf"of \d+ tensors fit; missing: {lost} \(1\)"):
        tiny(global_pool=pooling).load_encoder(state)


def test_class_token_pooling_needs_the_final_norm():
    state = pretrained_state()
    del state["norm.weight"], state["norm.bias"]
    with pytest.raises(CheckpointError, match=r"missing: norm\.weight, norm\.bias \(2\)"):
        tiny(global_pool="token").load_encoder(state)


def test_an_unexpected_tensor_is_refused():
    state = {**pretrained_state(), "blocks.0.attn.rel_pos_bias": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"without a place: blocks\.0\.attn\.rel_pos_bias \(1\)"):
        tiny().load_encoder(state, "some.pth")


def test_another_depth_is_refused_with_counts():
    state = pretrained_state()
    with pytest.raises(CheckpointError) as error:
        tiny(depth=2).load_encoder(state, "some.pth")
    assert str(error.value).startswith("some.pth: 28 of 30 tensors fit; without a place: blocks.2.norm1.weight, ")
    assert "(12). It belongs to another architecture or setting." in str(error.value)


def test_another_width_is_refused_with_shapes():
    with pytest.raises(CheckpointError, match=r"of another shape: cls_token \(1, 1, 48\) instead of \(1, 1, 96\)"):
        tiny(embed_dim=96).load_encoder(pretrained_state())


def test_another_grid_resizes_the_position_embedding():
    state = pretrained_state()
    model = tiny(img_size=48)
    model.load_encoder(state)
    assert model.pos_embed.shape == (1, 37, 48)
    torch.testing.assert_close(model.pos_embed.data, resize_pos_embed(state["pos_embed"], (6, 6)), atol=0, rtol=0)


def test_published_pickle_with_its_statistics(tmp_path):
    path = tmp_path / "checkpoint-400.pth"
    state = pretrained_state()
    torch.save(
        {"model": state, "optimizer": {"state": {}}, "epoch": 400, "scaler": {}, "args": argparse.Namespace(blr=1e-4)},
        path,
    )
    (tmp_path / STATISTICS_FILE).write_text(json.dumps(STATISTICS) + "\nsecond line\n")
    model = tiny(weights=str(path))
    assert torch.equal(model.blocks[2].mlp.fc1.weight, state["blocks.2.mlp.fc1.weight"])
    assert model.normalization == ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def test_without_statistics_the_normalisation_is_unknown_not_guessed(tmp_path):
    torch.save({"model": pretrained_state()}, tmp_path / "w.pth")
    assert tiny(weights=str(tmp_path / "w.pth")).normalization is None
    assert tiny().normalization == IMAGENET


@pytest.mark.parametrize("text", ["", "not json\n", '{"mean": [1, 2, 3]}\n', "[]\n"])
def test_broken_statistics_are_an_error(tmp_path, text):
    torch.save({"model": pretrained_state()}, tmp_path / "w.pth")
    (tmp_path / STATISTICS_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=rf"{STATISTICS_FILE}: cannot read the mean and std"):
        tiny(weights=str(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    "statistics", [{"mean": [0.5, 0.5], "std": [1, 1, 1]}, {"mean": [0.5] * 3, "std": [0.5, 0.0, 0.5]}]
)
def test_senseless_statistics_are_an_error(tmp_path, statistics):
    torch.save({"model": pretrained_state()}, tmp_path / "w.pth")
    (tmp_path / STATISTICS_FILE).write_text(json.dumps(statistics) + "\n")
    with pytest.raises(CheckpointError, match="expected three means and three positive stds"):
        tiny(weights=str(tmp_path / "w.pth"))


def test_unknown_published_name_suggests_the_nearest():
    with pytest.raises(CheckpointError) as error:
        tiny(weights="fsfm_vit_base_patch16.vf2_40e")
    assert "Did you mean fsfm_vit_base_patch16.vf2_400e?" in str(error.value)
    assert all(name in str(error.value) for name in PUBLISHED)


def test_published_records_name_existing_backbones_and_a_licence():
    for name, facts in PUBLISHED.items():
        assert facts.backbone in BACKBONES
        assert name.startswith(facts.backbone)
        assert "NC" in facts.licence
        assert facts.statistics.endswith(STATISTICS_FILE)


# ------------------------------------------------------------------ the rest of the contract


def test_initial_values():
    torch.manual_seed(0)
    model = create_backbone("fsfm_vit_tiny_patch16", depth=2, num_classes=2)
    assert model.blocks[0].attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.blocks[1].mlp.fc1.bias.abs().max() == 0
    assert (model.fc_norm.weight == 1).all()
    assert model.patch_embed.proj.weight.std() > 0.01
    assert all(module.eps == 1e-6 for module in model.modules() if isinstance(module, torch.nn.LayerNorm))


def test_stochastic_depth_rises_linearly_from_exactly_zero():
    model = tiny(drop_path_rate=0.2)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in model.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2])


def test_layer_ids_cover_every_parameter():
    model = tiny(num_classes=2)
    ids = model.layer_ids()
    assert set(ids) == {name for name, _ in model.named_parameters()}
    assert (ids["cls_token"], ids["pos_embed"], ids["patch_embed.proj.bias"]) == (0, 0, 0)
    assert (ids["blocks.0.norm1.weight"], ids["blocks.2.mlp.fc2.bias"]) == (1, 3)
    assert (ids["fc_norm.weight"], ids["head.weight"]) == (4, 4)


def test_adapter_runs_after_its_block_and_is_named_there():
    model = tiny().eval()
    images = torch.randn(2, 3, 32, 32)
    plain = model.extract(images).tokens

    class Double(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, tokens):
            return tokens * self.scale

    model.attach_adapter(2, Double())
    with torch.no_grad():
        torch.testing.assert_close(model.extract(images).tokens, plain * 2)
    assert "blocks.2.adapter.scale" in model.state_dict()
    with pytest.raises(ValueError, match="Block 2 already has an attribute 'adapter'"):
        model.attach_adapter(2, Double())


@pytest.mark.parametrize("name", [name for name in BACKBONES if name.startswith("fsfm_vit")])
def test_every_variant_states_its_facts(name):
    with torch.device("meta"):
        model = create_backbone(name)
    patch = 14 if "patch14" in name else 16
    assert model.input_size == 224
    assert model.grid_size == (224 // patch, 224 // patch)
    assert model.num_prefix_tokens == 1
    assert model.pos_embed.shape == (1, (224 // patch) ** 2 + 1, model.embed_dim)
    assert max(model.layer_ids().values()) == len(model.block_list()) + 1
