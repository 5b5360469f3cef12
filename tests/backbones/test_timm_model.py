"""timm models as backbones."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from backbones.weights import STATISTICS_FILE, write_statistics
from benchmark import create_backbone, create_detector
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError


@pytest.mark.parametrize(
    ("model", "size", "tokens", "prefix"),
    [("resnet18", 64, 4, 0), ("vit_tiny_patch16_224", 64, 17, 1), ("legacy_xception", 64, 4, 0)],
)
def test_tokens_and_pooled_feature(model, size, tokens, prefix):
    backbone = create_backbone("timm", model=model, img_size=size).eval()
    with torch.no_grad():
        features = backbone.extract(torch.randn(2, 3, size, size))
    assert features.tokens.shape == (2, tokens, backbone.embed_dim)
    assert features.pooled.shape == (2, backbone.embed_dim)
    assert backbone.num_prefix_tokens == prefix
    assert backbone.input_size == size
    if prefix == 0:
        torch.testing.assert_close(features.tokens.mean(1), features.pooled, atol=1e-4, rtol=1e-4)
        assert backbone.memory_format is torch.channels_last
        with pytest.raises(ConfigError, match="no transformer blocks"):
            backbone.attach_adapter(0, torch.nn.Identity())


def test_a_network_that_widens_what_it_pools():
    backbone = create_backbone("timm", model="mobilenetv3_small_050", img_size=64).eval()
    with torch.no_grad():
        features = backbone.extract(torch.randn(2, 3, 64, 64))
    assert features.tokens.shape == (2, 4, backbone.token_dim)
    assert features.pooled.shape == (2, backbone.embed_dim)
    assert backbone.embed_dim != backbone.token_dim
    spec = {"name": "timm", "model": "mobilenetv3_small_050"}
    assert create_detector("timm", backbone=spec).head.in_features == backbone.embed_dim
    with pytest.raises(ConfigError, match="288 and 1024 wide"):
        create_detector("fas", backbone=spec)


def test_layer_ids_name_every_parameter():
    backbone = create_backbone("timm", model="vit_tiny_patch16_224", img_size=64)
    ids = backbone.layer_ids()
    assert set(ids) == {name for name, _ in backbone.named_parameters()}
    assert ids["model.pos_embed"] == 0
    assert ids["model.blocks.11.mlp.fc2.weight"] > ids["model.blocks.0.mlp.fc2.weight"]
    assert "model.pos_embed" in backbone.no_weight_decay()


def test_unknown_model_suggests_the_nearest():
    with pytest.raises(BenchmarkError, match=r"timm has no model 'resnet188'\. Closest: .*resnet18"):
        create_backbone("timm", model="resnet188")


@pytest.fixture(scope="module")
def resnet_state():
    torch.manual_seed(3)
    return timm.create_model("resnet18", num_classes=2).state_dict()


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.", "module.backbone."])
def test_weights_under_every_usual_prefix_give_the_same_network(tmp_path, resnet_state, prefix):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {prefix + key: value for key, value in resnet_state.items()}}, path)
    backbone = create_backbone("timm", model="resnet18", weights=str(path)).eval()
    plain = timm.create_model("resnet18", num_classes=0).eval()
    plain.load_state_dict({key: value for key, value in resnet_state.items() if not key.startswith("fc.")})
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(backbone.extract(images).pooled, plain(images))


def test_weights_of_another_model_are_refused(tmp_path, resnet_state):
    path = tmp_path / "w.pth"
    torch.save(resnet_state, path)
    with pytest.raises(CheckpointError, match=r"w\.pth: 0 of \d+ tensors fit; missing: "):
        create_backbone("timm", model="vit_tiny_patch16_224", weights=str(path))


def test_xception_of_deepfakebench_loads_into_the_baseline(tmp_path):
    """Keys ``backbone.<...>``, ``last_linear`` as the classifier, real = 0 (spec, acceptance check 8)."""
    torch.manual_seed(5)
    source = timm.create_model("legacy_xception", num_classes=2).eval()
    state = {f"backbone.{key.replace('fc.', 'last_linear.')}": value for key, value in source.state_dict().items()}
    torch.save(state, tmp_path / "xception_best.pth")
    backbone = create_backbone("timm", model="legacy_xception", weights=str(tmp_path / "xception_best.pth")).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            backbone.extract(images).pooled, source.forward_head(source.forward_features(images), pre_logits=True)
        )


def test_encoder_and_statistics_of_an_fsfm_pretraining(tmp_path):
    """timm's own ViT with FSFM's encoder sees the same tokens, from a published file or a run of ours."""
    shape = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}
    pretraining = create_detector("fsfm_pretrain", {"name": "fsfm_vit_tiny_patch16", "img_size": 32, **shape})
    torch.save({"model": pretraining.online.state_dict()}, tmp_path / "checkpoint-0.pth")
    write_statistics(tmp_path / STATISTICS_FILE, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    facts = {"input": '{"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}'}
    save_file(pretraining.state_dict(), tmp_path / "model.safetensors", metadata=facts)
    images = torch.randn(2, 3, 32, 32)
    for weights in (tmp_path / "checkpoint-0.pth", tmp_path):
        options = {"model": "vit_tiny_patch16_224", "img_size": 32, "model_options": shape, "weights": str(weights)}
        plain = create_backbone("timm", **options).eval()
        assert plain.normalization == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
        own = create_backbone("fsfm_vit_tiny_patch16", img_size=32, global_pool="token", weights=str(weights), **shape)
        with torch.no_grad():
            torch.testing.assert_close(plain.extract(images), own.eval().extract(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(BenchmarkError, match=r"timm cannot make resnet10t with .*patch_size"):
        create_backbone("timm", model="resnet10t", model_options={"patch_size": 8})


def test_wrong_options_are_config_errors():
    with pytest.raises(ConfigError, match=r"backbone\.modle is not a known key\. Did you mean backbone\.model\?"):
        create_backbone("timm", modle="resnet18")
    detector = create_detector("timm", {"name": "timm", "model": "resnet18", "img_size": 64})
    assert detector.input_size == 64
