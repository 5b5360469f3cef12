"""Training with forged twins: resume, missing landmarks, the plan that is shown."""

from __future__ import annotations

import pytest

from training import train

SBI = "augmentation={name: sbi, then: {name: flip}}"
BLEND = "augmentation={name: video_blend, forged_share: 0.5, then: {name: flip}}"


@pytest.fixture(scope="module")
def world(make_world, tmp_path_factory):
    counts = {"train": (8, 8), "val": (2, 2), "test": (2, 2)}
    return make_world(tmp_path_factory.mktemp("forging"), counts, parts=("landmarks",))


@pytest.fixture
def run(toy_config, hooked, world, tmp_path):
    """Runs the training command with a name and overrides; run folders lie in ``tmp_path/runs``."""

    def start(name, *extra):
        words = ["--detector", str(toy_config), "--plugins", str(hooked), "--name", name, *world.overrides(), *extra]
        return train.run(*train.parse(words))

    return start


@pytest.mark.parametrize("augmentation", [SBI, BLEND])
def test_a_stopped_run_resumes_to_the_same_weights(run, helpers, tmp_path, monkeypatch, augmentation):
    recipe = ("detector.name=hooked", augmentation, "schedule.epochs=2", "data.clip=null")
    monkeypatch.setenv("HOOKED", "term:3")
    assert run("stopped", *recipe) == 143
    monkeypatch.delenv("HOOKED")
    assert run("stopped", *recipe, "--resume") == 0
    assert run("whole", *recipe) == 0
    helpers.assert_same_weights(tmp_path / "runs" / "stopped", tmp_path / "runs" / "whole")


def test_sam_trains(run, helpers, tmp_path):
    assert run("sam", "detector={name: sbi}", SBI, "schedule.epochs=8", "optimizer.lr=3e-3") == 0
    losses = helpers.losses_of(tmp_path / "runs" / "sam")
    assert len(losses) == 8 * 4, "an epoch is one pass over 32 real frames, 8 of them in a batch of 16"
    assert sum(losses[-8:]) < sum(losses[:8])


def test_the_plan_counts_twins(run, capsys):
    assert run("plan", "--dry-run", SBI) == 0
    shown = capsys.readouterr().out
    assert "64 samples (32 real, 32 fake)" in shown
    assert "(4 per epoch)" in shown


def test_missing_landmarks_stop_the_run_before_its_first_step(toy_config, capsys, tmp_path):
    from benchmark.cli import guarded

    words = ["--detector", str(toy_config), SBI]
    assert guarded(lambda: train.run(*train.parse(words))) == 2
    assert "Dataset Toy has no 'landmarks' for its frames, which the augmentation needs" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "toy" / "checkpoints").exists()
