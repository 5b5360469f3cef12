"""Checkpoints: complete before they get their name, never lost, whatever moment a process dies at."""

from __future__ import annotations

import os

import pytest
import torch

from benchmark.errors import CheckpointError
from training import checkpoint
from training.checkpoint import CheckpointStore


def save(store, step, best=None, value=None):
    weights = {"a": torch.full((3,), float(step if value is None else value)), "t": torch.arange(6).view(2, 3).T}
    return store.save(step, weights, {"progress": {"step": step}}, {"classes": "real,fake"}, best)


def folders(store):
    return sorted(path.name for path in store.folder.iterdir() if path.is_dir())


def test_save_and_load(tmp_path):
    store = CheckpointStore(tmp_path)
    folder = save(store, 7, best=0.9)
    assert folder == tmp_path / "checkpoints" / "step-00000007"
    assert store.load_state() == {"progress": {"step": 7}}
    assert (store.pointer("last").step, store.pointer("best").value) == (7, 0.9)
    from safetensors import safe_open

    with safe_open(store.weights_path("best"), framework="pt") as file:
        assert file.metadata() == {"classes": "real,fake"}
        assert file.get_tensor("a").tolist() == [7.0] * 3
        assert file.get_tensor("t").tolist() == [[0, 3], [1, 4], [2, 5]]


def test_only_last_and_best_are_kept(tmp_path):
    store = CheckpointStore(tmp_path)
    for step, best in ((1, None), (2, 0.5), (3, None), (4, None)):
        save(store, step, best)
    assert folders(store) == ["step-00000002", "step-00000004"]
    save(store, 5, 0.6)
    assert folders(store) == ["step-00000005"]


def test_a_checkpoint_to_keep_outlives_later_ones(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(1, {"a": torch.ones(2)}, {"progress": {"step": 1}}, {}, keep=True)
    for step in (2, 3):
        save(store, step)
    assert folders(store) == ["step-00000001", "step-00000003"]
    assert store.load_state(1) == {"progress": {"step": 1}}
    with pytest.raises(CheckpointError, match="no checkpoint of step 2; there are: 1, 3"):
        store.weights_path(2)


def test_a_run_without_checkpoint(tmp_path):
    store = CheckpointStore(tmp_path)
    assert store.pointer("last") is None
    with pytest.raises(CheckpointError, match=r"checkpoints has no 'best' checkpoint"):
        store.weights_path("best")


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


STAGES = {
    "writing weights": ("save_file", False),
    "writing the state": ("torch.save", False),
    "flushing": ("_flush", False),
    "pointing": ("_point", True),
    "dropping old ones": ("_drop_unreferenced", True),
}


@pytest.mark.parametrize("best", [None, 0.9])
@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_any_stage_leaves_a_complete_checkpoint(tmp_path, monkeypatch, stage, best):
    store = CheckpointStore(tmp_path)
    save(store, 1, best=0.5)

    def die(*_args, **_kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        name, is_method = STAGES[stage]
        patch.setattr(CheckpointStore if is_method else checkpoint, name, die, raising=False) if "." not in name else (
            patch.setattr(torch, "save", die)
        )
        with pytest.raises(Killed):
            save(store, 2, best)
    fresh = CheckpointStore(tmp_path)
    step = fresh.load_state()["progress"]["step"]
    assert step in (1, 2)
    assert fresh.weights_path("best").is_file()
    # what the resumed process does next: the same step again
    save(fresh, 2, best)
    assert fresh.load_state()["progress"]["step"] == 2
    assert fresh.pointer("best").step == (1 if best is None else 2)
    assert not [name for name in os.listdir(fresh.folder) if "incomplete" in name]


def test_a_kill_between_the_pointers_cannot_lose_the_best(tmp_path, monkeypatch):
    """The saved state of a step already counts it as the best, so the best pointer must be there first."""
    store = CheckpointStore(tmp_path)
    save(store, 1, best=0.5)
    point, calls = CheckpointStore._point, []

    def die_after_first(self, which, pointer):
        if calls:
            raise Killed
        calls.append(which)
        point(self, which, pointer)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointStore, "_point", die_after_first)
        with pytest.raises(Killed):
            save(store, 2, best=0.9)
    fresh = CheckpointStore(tmp_path)
    if fresh.load_state()["progress"]["step"] == 2:
        assert fresh.pointer("best").step == 2
    assert fresh.weights_path("best").is_file()
    assert fresh.weights_path("last").is_file()


def test_saving_the_same_step_again_never_takes_the_last_checkpoint_away(tmp_path, monkeypatch):
    """A stop signal right after a save; the scheduler's SIGKILL may follow at any moment."""
    store = CheckpointStore(tmp_path)
    save(store, 3)

    def die(*_args, **_kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.shutil, "rmtree", die)
        save(store, 3)
    assert CheckpointStore(tmp_path).load_state()["progress"]["step"] == 3


def test_the_state_holds_plain_data_only(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(1, {"a": torch.zeros(1)}, {"odd": CheckpointStore(tmp_path)}, {})
    with pytest.raises(CheckpointError, match=r"state\.pt: refused, the pickle holds more than tensors and plain data"):
        store.load_state()
