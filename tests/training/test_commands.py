"""train.py and test.py as commands: plugins, dry run, scoring with other weights, errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.cli import guarded
from benchmark.predictions import Predictions
from benchmark.results import read_result
from training import test as scoring
from training import train
from training.settings import config_path

PLUGIN = '''\
"""Blur meter: one number per image, how strong its finest details are, and a logistic curve on top."""

import torch
from torch import nn

from benchmark.registry import DETECTORS
from detectors.base import Detector, DetectorConfig


class BlurConfig(DetectorConfig):
    """Settings."""

    start: float = 0.0
    """Initial offset."""


@DETECTORS.register("blur_meter")
class BlurMeter(Detector):
    """Logistic regression on the strength of fine details."""

    Config = BlurConfig
    input_size = 32

    def __init__(self, config):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))
        self.offset = nn.Parameter(torch.tensor(config.start))

    def score(self, images):
        details = (images[..., 1:] - images[..., :-1]).abs().mean((1, 2, 3))
        return self.scale * 10 * details + self.offset

    def training_step(self, batch):
        loss = nn.functional.binary_cross_entropy_with_logits(self.score(batch["image"]), batch["label"].float())
        return {"loss": loss}

    def predict(self, batch):
        return self.score(batch["image"]).float().sigmoid()
'''
YAML = """\
detector: {{name: blur_meter, start: 0.1}}
data: {{image_size: 32, workers: 0}}
optimizer: {{name: adam, lr: 0.1}}
schedule: {{name: constant, epochs: 6}}
trainer: {{batch_size: 16}}
paths: {{data: {data}, indexes: {indexes}, runs: runs}}
"""


@pytest.mark.slow
def test_a_detector_in_one_file_and_one_yaml_outside_the_repository_trains(tmp_path, toy_world, helpers):
    """As a new user does it: own folder, own file, the command from the documentation."""
    (tmp_path / "my_detector.py").write_text(PLUGIN)
    (tmp_path / "my.yaml").write_text(YAML.format(data=toy_world.data, indexes=toy_world.indexes))
    script = Path(train.__file__)
    done = subprocess.run(
        [
            sys.executable,
            str(script),
            "--detector",
            "my.yaml",
            "--train",
            "Toy",
            "--test",
            "Toy",
            "--plugins",
            "my_detector.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = read_result(tmp_path / "runs" / "my" / "results" / "Toy.json")
    assert result["detector"] == "blur_meter"
    assert result["parameters"] == 2
    assert result["metrics"]["video"]["auc"] > 0.95
    assert "Toy" in done.stdout


def score(*arguments):
    return scoring.run(*scoring.parse([str(argument) for argument in arguments]))


def test_scoring_a_run_again_gives_the_same_predictions(trained, toy_config, tmp_path):
    assert score("--detector", toy_config, "--weights", trained, "--test", "Toy", "--name", "again") == 0
    again = tmp_path / "runs" / "again"
    assert (again / "predictions" / "Toy.csv").read_bytes() == (trained / "predictions" / "Toy.csv").read_bytes()
    results = [read_result(run / "results" / "Toy.json") for run in (trained, again)]
    assert results[0]["weights"]["sha256"] == results[1]["weights"]["sha256"]
    assert results[0]["metrics"] == results[1]["metrics"]


def test_scoring_uses_the_normalisation_of_the_weights(trained, toy_config, tmp_path):
    """Trained with mean and std 0.5; a test that does not say so must still use them."""
    arguments = ("--detector", toy_config, "--weights", trained, "--test", "Toy", "--name", "again")
    assert score(*arguments, "data.normalize=backbone") == 0
    again = tmp_path / "runs" / "again"
    assert read_result(again / "results" / "Toy.json")["input"]["mean"] == [0.5] * 3
    assert (again / "predictions" / "Toy.csv").read_bytes() == (trained / "predictions" / "Toy.csv").read_bytes()


def test_scoring_does_not_need_the_weights_that_training_started_from(trained, toy_config, tmp_path):
    arguments = ("--detector", toy_config, "--weights", trained, "--test", "Toy", "--name", "again")
    assert score(*arguments, "backbone.weights=/gone/checkpoint-400.pth") == 0


def test_batch_size_and_workers_do_not_change_scores(trained, toy_config, tmp_path):
    options = ("evaluation.batch_size=3", "data.workers=1")
    score("--detector", toy_config, "--weights", trained, "--test", "Toy", "--name", "again", *options)
    one = Predictions.read(trained / "predictions" / "Toy.csv")
    other = Predictions.read(tmp_path / "runs" / "again" / "predictions" / "Toy.csv")
    assert other.video.tolist() == one.video.tolist()
    np.testing.assert_allclose(other.score, one.score, atol=1e-5)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["backbone.depth=2"], "tensors fit; without a place: backbone.blocks.2."),
        (["backbone.embed_dim=96"], "of another shape: "),
        (["detector.classes=[live, spoof]"], "The weights are for classes ['real', 'fake'], the detector has ['live'"),
        (["--weights", "{run}/gone.pth"], "No weights at '"),
        (["--weights", "{run}/text.pth"], "not a readable torch file"),
        (["--test", "Toyy"], "No dataset named 'Toyy'. Closest: Toy"),
    ],
)
def test_what_does_not_fit_is_refused_with_status_2(trained, toy_config, capsys, extra, message, tmp_path):
    (trained / "text.pth").write_text("this is not a checkpoint")
    arguments = ["--detector", toy_config, "--weights", trained, "--test", "Toy", "--name", "again"]
    extra = [text.format(run=trained) for text in extra]
    capsys.readouterr()
    assert guarded(lambda: score(*arguments, *extra)) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert message in error[0]
    assert not (tmp_path / "runs" / "again" / "results").exists()


def test_scoring_nothing_is_an_error_not_a_success(trained, toy_config, capsys):
    assert guarded(lambda: score("--detector", toy_config, "--weights", trained, "data.test=[]")) == 2
    assert "Nothing to score: give --test DATASET ... or --protocol NAME." in capsys.readouterr().err


def test_dry_run_shows_the_plan_and_writes_nothing(toy_config, tmp_path, capsys):
    arguments = ["--detector", str(toy_config), "--dry-run", "optimizer.layer_decay=0.5"]
    assert train.run(*train.parse(arguments)) == 0
    out = capsys.readouterr().out
    assert "train: 24 videos (12 real, 12 fake), 96 samples (48 real, 48 fake); Toy_fake 12, Toy_real 12" in out
    assert "val: 8 videos (4 real, 4 fake), 32 samples" in out
    assert "test Toy: 9 videos (4 real, 5 fake), 35 samples (16 real, 19 fake)" in out
    assert "lr x 0.0625, weight decay 0: " in out
    assert "plan: 12 steps of 16 samples (6 per epoch)" in out
    assert "selection: auc (video) on the val split of Toy" in out
    assert not (tmp_path / "runs").exists()


def test_words_on_the_command_line_win_over_the_file(toy_config):
    from training.settings import runs_from

    options, overrides = train.parse(
        ["--detector", str(toy_config), "--train", "FF++", "DFDCP", "--test", "CDFv2", "trainer.seed=4"]
    )
    config = runs_from(options, overrides)[0].config
    assert (config.data.train, config.data.val, config.data.test) == (["FF++", "DFDCP"], None, ["CDFv2"])
    assert (config.trainer.seed, config.name) == (4, "toy")
    options, overrides = train.parse(
        ["--detector", str(toy_config), "--protocol", "dfd", "--name", "p", "--allow-missing"]
    )
    config = runs_from(options, overrides)[0].config
    assert config.data.train == ["FF++@c23"]
    assert "CDFv2" in config.data.test
    assert config.evaluation.allow_missing
    assert config.name == "p"


def test_configurations_are_found_by_path_and_by_name(tmp_path, monkeypatch):
    from benchmark.config import CONFIG_DIR

    monkeypatch.chdir(tmp_path)
    assert config_path("fsfm") == CONFIG_DIR / "fsfm.yaml"
    assert config_path("configs/fsfm.yaml") == CONFIG_DIR / "fsfm.yaml"
    (tmp_path / "fsfm.yaml").write_text("detector: {name: timm}\n")
    assert config_path("fsfm.yaml") == Path("fsfm.yaml")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--train", "Toyy"], "No dataset named 'Toyy'. Closest: Toy"),
        (["detector.name=fsmf"], "No detector named 'fsmf'. Closest: fsfm"),
        (["backbone.dept=3"], "command line: backbone.dept is not a known key. Did you mean backbone.depth?"),
        (["augmentation.name=fsmf"], "No augmentation named 'fsmf'. Closest: fsfm"),
        (["trainer.device=cuda"], "no CUDA device is visible"),
        (["paths.data=/nowhere"], "No store or folder holds 'Toy'"),
        (["--plugins", "gone.py"], "--plugins gone.py: no such file."),
        (["--world", "demo"], "--world goes with --protocol"),
    ],
)
def test_errors_of_the_training_command(toy_config, capsys, extra, message):
    if "cuda" in message.lower() and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert guarded(lambda: train.run(*train.parse(["--detector", str(toy_config), *extra]))) == 2
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not any("Traceback" in line for line in lines)


def test_corrupt_checkpoint_state_is_a_clear_error(session, toy_config, tmp_path, hooked, monkeypatch, capsys):
    monkeypatch.setenv("HOOKED", "term:4")
    arguments = ["--detector", str(toy_config), "detector.name=hooked", "--name", "s"]
    assert train.run(*train.parse(arguments)) == 143
    monkeypatch.delenv("HOOKED")
    folder = tmp_path / "runs" / "s" / "checkpoints"
    state = folder / json.loads((folder / "last.json").read_text())["folder"] / "state.pt"
    state.write_bytes(state.read_bytes()[:100])
    capsys.readouterr()
    assert guarded(lambda: train.run(*train.parse([*arguments, "--resume"]))) == 2
    assert "state.pt" in capsys.readouterr().err


def test_no_module_hides_one_of_pythons_own():
    """``python training/train.py`` puts this folder first on the path, where ``statistics.py`` would be found first."""
    names = {path.stem for path in Path(train.__file__).parent.glob("*.py")}
    assert not names & set(sys.stdlib_module_names)


def test_the_script_starts_with_everything_it_imports(toy_config):
    """The README's command in a process of its own; ``--dry-run`` imports all that training needs."""
    script = Path(train.__file__)
    command = [sys.executable, str(script), "--detector", str(toy_config), "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "plan:" in done.stdout
