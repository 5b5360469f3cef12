"""Files of other tools in detectors of ours: DeepfakeBench's Xception."""

from __future__ import annotations

import pytest
import timm
import torch

from benchmark import create_detector
from benchmark.config import CONFIG_DIR
from benchmark.errors import CheckpointError
from benchmark.schema import load_run_config


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return timm.create_model("legacy_xception", num_classes=2).eval()


def deepfakebench_state(network):
    """The network with its last layer under ``backbone.``, and the 1x1 layer that is there but unused."""
    state = {f"backbone.{key}".replace("backbone.fc.", "backbone.last_linear."): value
             for key, value in network.state_dict().items()}  # fmt: skip
    return {**state, "backbone.adjust_channel.0.weight": torch.zeros(512, 2048, 1, 1)}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_deepfakebench_xception_gives_identical_logits(network, tmp_path, prefix):
    path = tmp_path / "xception_best.pth"
    torch.save({prefix + key: value for key, value in deepfakebench_state(network).items()}, path)
    config, _ = load_run_config(CONFIG_DIR / "xception.yaml")
    backbone = {**config.backbone.options, "name": "timm", "pretrained": False}
    detector = create_detector("timm", backbone, **config.detector.options).eval()
    detector.load_weights(str(path))
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected = network(images)
        torch.testing.assert_close(detector.logits(images), expected)
        torch.testing.assert_close(detector.predict({"image": images}), expected.softmax(1)[:, 1])


def test_a_file_of_another_architecture_is_still_refused(network, tmp_path):
    path = tmp_path / "xception_best.pth"
    state = deepfakebench_state(network)
    del state["backbone.bn1.weight"]
    torch.save(state, path)
    detector = create_detector("timm", {"name": "timm", "model": "legacy_xception"}, weights_classes=["real", "fake"])
    with pytest.raises(CheckpointError, match=r"missing: backbone\.model\.bn1\.weight \(1\)"):
        detector.load_weights(str(path))


def test_own_files_of_timm_backbones_are_left_alone(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    source = create_detector("timm", {"name": "timm", "model": "resnet10t"})
    path = tmp_path / "model.safetensors"
    save_file(source.state_dict(), path, metadata=source.metadata())
    other = create_detector("timm", {"name": "timm", "model": "resnet10t"})
    other.load_weights(str(path))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in source.state_dict().items())
