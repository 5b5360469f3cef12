"""Two processes compute what one computes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from benchmark.errors import ConfigError
from benchmark.predictions import Predictions
from training import train
from training.distributed import Processes, processes

RECIPE = (  # SGD, because Adam would hide gradients of a wrong scale
    "detector.mixup=0.8",
    "detector.cutmix=1.0",
    "detector.label_smoothing=0.1",
    "augmentation.name=fsfm",
    "backbone.drop_path_rate=0",
    "optimizer.name=sgd",
    "optimizer.lr=0.05",
    "data.workers=1",
    "schedule.epochs=2",
    "trainer.log_every_steps=1",
)


@pytest.mark.slow
def test_two_gloo_processes_equal_one(toy_config, helpers, tmp_path):
    """Losses of the first epoch, predictions, every test sample exactly once; 35 test samples are odd."""
    arguments = ["--detector", str(toy_config), *RECIPE]
    two = helpers.command("train.py", *arguments, "--name", "two", processes=2)
    assert two.returncode == 0, two.stderr[-3000:]
    assert train.run(*train.parse([*arguments, "--name", "one"])) == 0
    runs = tmp_path / "runs"
    losses = {name: helpers.losses_of(runs / name) for name in ("one", "two")}
    assert len(losses["one"]) == len(losses["two"]) == 12
    np.testing.assert_allclose(losses["two"][:6], losses["one"][:6], rtol=1e-4)
    one, other = (Predictions.read(runs / name / "predictions" / "Toy.csv") for name in ("one", "two"))
    assert len(other) == 35
    for column in ("dataset", "video", "frame", "label"):
        assert getattr(other, column).tolist() == getattr(one, column).tolist()
    np.testing.assert_allclose(other.score, one.score, atol=1e-4)
    results = [json.loads((runs / name / "results" / "Toy.json").read_text()) for name in ("one", "two")]
    assert results[0]["counts"] == results[1]["counts"]
    assert results[0]["data"]["fingerprint"] == results[1]["data"]["fingerprint"]
    assert two.stdout.count("test set") == 1, "every process prints the table"


def test_a_single_process_needs_no_group():
    with processes("cpu") as group:
        assert (group.rank, group.world, group.device) == (0, 1, torch.device("cpu"))
        assert group.is_main
        assert group.gather("x") == ["x"]
        assert group.mean(torch.tensor(2.0)).item() == 2.0
        assert group.any(True)
        assert not group.any(False)
    assert not Processes(1, 2, torch.device("cpu")).is_main


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_asking_for_a_missing_gpu_is_refused():
    with (
        pytest.raises(
            ConfigError, match=r"trainer\.device is cuda but no CUDA device is visible; use trainer\.device=cpu"
        ),
        processes("cuda"),
    ):
        pass
