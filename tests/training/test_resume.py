"""Interrupted runs: kill -9, SIGTERM, and what may and may not change on resume."""

from __future__ import annotations

import json
import signal

import pytest

from benchmark.errors import ConfigError
from training import train

RECIPE = (
    "detector.name=hooked",
    "detector.mixup=0.8",
    "detector.cutmix=1.0",
    "detector.label_smoothing=0.1",
    "backbone.drop_path_rate=0.1",
    "augmentation.name=fsfm",
    "trainer.save_every_steps=5",
    "schedule.epochs=2",
)


@pytest.fixture
def arguments(toy_config, hooked):
    """Command line of a run with every source of randomness on; 12 steps of 6 per epoch."""

    def make(name, *extra):
        return ["--detector", str(toy_config), "--plugins", str(hooked), "--name", name, *RECIPE, *extra]

    return make


def run_here(arguments):
    return train.run(*train.parse(arguments))


@pytest.mark.slow
def test_kill_9_inside_an_epoch_and_resume_gives_the_same_weights(arguments, helpers, tmp_path):
    killed = helpers.command("train.py", *arguments("killed", "data.workers=1"), HOOKED="kill:8")
    assert killed.returncode == -signal.SIGKILL
    runs = tmp_path / "runs"
    assert json.loads((runs / "killed" / "checkpoints" / "last.json").read_text())["step"] == 6
    assert not (runs / "killed" / "results").exists()
    assert run_here(arguments("killed", "--resume")) == 0
    assert run_here(arguments("whole")) == 0
    helpers.assert_same_weights(runs / "killed", runs / "whole")
    helpers.assert_same_weights(runs / "killed", runs / "whole", "best")
    for file in ("predictions/Toy.csv", "checkpoints/best.json", "checkpoints/last.json"):
        assert (runs / "killed" / file).read_bytes() == (runs / "whole" / file).read_bytes(), file


@pytest.mark.parametrize("step", [3, 5, 8, 12])
def test_sigterm_saves_leaves_with_143_and_resumes_to_the_same_weights(arguments, helpers, tmp_path, monkeypatch, step):
    """Also on the step of a save (5), and on the last one (12)."""
    monkeypatch.setenv("HOOKED", f"term:{step}")
    before = signal.getsignal(signal.SIGTERM)
    assert run_here(arguments("stopped")) == 143
    assert signal.getsignal(signal.SIGTERM) == before
    runs = tmp_path / "runs"
    assert json.loads((runs / "stopped" / "checkpoints" / "last.json").read_text())["step"] == step
    assert not (runs / "stopped" / "results").exists()
    monkeypatch.delenv("HOOKED")
    assert run_here(arguments("stopped", "--resume")) == 0
    assert run_here(arguments("whole")) == 0
    helpers.assert_same_weights(runs / "stopped", runs / "whole")
    assert (runs / "stopped" / "predictions" / "Toy.csv").read_bytes() == (
        runs / "whole" / "predictions" / "Toy.csv"
    ).read_bytes()


def test_interrupts_at_every_step_still_give_the_same_weights(arguments, helpers, tmp_path, monkeypatch):
    for step in range(2, 12, 3):
        monkeypatch.setenv("HOOKED", f"term:{step}")
        assert run_here(arguments("often", *(["--resume"] if step > 2 else []))) == 143
    monkeypatch.delenv("HOOKED")
    assert run_here(arguments("often", "--resume")) == 0
    assert run_here(arguments("whole")) == 0
    helpers.assert_same_weights(tmp_path / "runs" / "often", tmp_path / "runs" / "whole")


def stop_at(step, arguments, monkeypatch):
    monkeypatch.setenv("HOOKED", f"term:{step}")
    assert run_here(arguments("stopped")) == 143
    monkeypatch.delenv("HOOKED")


def test_resume_with_other_settings_lists_them_and_touches_nothing(arguments, monkeypatch, tmp_path):
    stop_at(4, arguments, monkeypatch)
    config = (tmp_path / "runs" / "stopped" / "config.yaml").read_bytes()
    changed = ("optimizer.lr=0.5", "trainer.seed=9", "data.frames.train=3", "backbone.drop_path_rate=0.3")
    with pytest.raises(ConfigError) as error:
        run_here(arguments("stopped", "--resume", *changed))
    message = str(error.value)
    assert message.startswith("Cannot resume: these settings differ from the run's: ")
    for part in ("optimizer.lr (0.002 -> 0.5)", "trainer.seed (0 -> 9)", "data.frames.train (4 -> 3)",
                 "backbone.drop_path_rate (0.1 -> 0.3)"):  # fmt: skip
        assert part in message
    assert message.endswith("Use the same configuration, or start another run with --name.")
    assert (tmp_path / "runs" / "stopped" / "config.yaml").read_bytes() == config


@pytest.mark.parametrize("part", ["train", "val"])
def test_resume_with_other_data_is_refused(arguments, monkeypatch, make_world, tmp_path, part):
    """The same words and settings, but a frame less in the index."""
    world = make_world(tmp_path / "w", {"train": (12, 12), "val": (4, 4), "test": (2, 2)})
    stop_at(4, lambda name: arguments(name, *world.overrides()), monkeypatch)
    index = world.indexes / "Toy.json"
    content = json.loads(index.read_text())
    next(iter(content["Toy"]["Toy_fake"][part].values()))["frames"].pop()
    index.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"Cannot resume: the training and validation data changed since the run was"):
        run_here(arguments("stopped", "--resume", *world.overrides()))


def test_settings_without_influence_on_the_weights_may_change(arguments, monkeypatch, tmp_path):
    stop_at(4, arguments, monkeypatch)
    free = ("data.workers=1", "trainer.log_every_steps=5", "trainer.save_every_steps=3", "data.test=[]")
    assert run_here(arguments("stopped", "--resume", *free)) == 0


def test_an_existing_run_is_not_overwritten_by_accident(arguments, monkeypatch, tmp_path):
    stop_at(4, arguments, monkeypatch)
    before = (tmp_path / "runs" / "stopped" / "checkpoints" / "last.json").read_bytes()
    with pytest.raises(ConfigError, match=r"stopped holds an earlier run\. Continue it with --resume, replace it"):
        run_here(arguments("stopped"))
    assert (tmp_path / "runs" / "stopped" / "checkpoints" / "last.json").read_bytes() == before
    assert run_here(arguments("stopped", "--overwrite", "schedule.epochs=1")) == 0
    assert json.loads((tmp_path / "runs" / "stopped" / "checkpoints" / "last.json").read_text())["step"] == 6


def test_resume_without_a_checkpoint(arguments):
    with pytest.raises(ConfigError, match=r"--resume: .*fresh has no checkpoint to continue from"):
        run_here(arguments("fresh", "--resume"))
