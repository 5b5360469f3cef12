"""Opening weights files: nothing from outside is executed, nothing is loaded that does not fit."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import pickle
import random

import pytest
import torch
from safetensors.torch import save_file

from backbones.weights import (
    PublishedWeights,
    check_fit,
    file_hash,
    read_checkpoint,
    read_statistics,
    resolve_weights,
    state_dict_of,
    stored_normalization,
    write_statistics,
)
from benchmark.errors import CheckpointError


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, target: pathlib.Path) -> None:
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["zip", "legacy", "plain pickle", "hidden in args"])
def test_a_pickle_bomb_is_refused_and_does_not_go_off(tmp_path, form):
    target, path = tmp_path / "exploded", tmp_path / "model.pth"
    content = {"model": {"a": torch.zeros(2)}, "args": Bomb(target)}
    if form == "plain pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        if form == "hidden in args":
            content["args"] = argparse.Namespace(lr=1, extra=Bomb(target))
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    with pytest.raises(
        CheckpointError, match=r"model\.pth: refused, the pickle holds more than tensors and plain data"
    ):
        read_checkpoint(path)
    assert not target.exists()
    pickle.loads(path.read_bytes()) if form == "plain pickle" else torch.load(path, weights_only=False)
    assert target.exists(), "the bomb was a dud, so this test showed nothing"


def test_whole_pickled_modules_are_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="refused"):
        read_checkpoint(tmp_path / "model.pth")


def test_files_of_the_mae_family_open(tmp_path):
    """They hold an argparse.Namespace and a path."""
    args = argparse.Namespace(model="vit", output_dir=pathlib.PosixPath("/x"), nested={"a": [1, 2.5, None, True]})
    torch.save({"model": {"a": torch.arange(3)}, "epoch": 4, "args": args}, tmp_path / "checkpoint.pth")
    content = read_checkpoint(tmp_path / "checkpoint.pth")
    assert content["model"]["a"].tolist() == [0, 1, 2]
    assert content["args"].output_dir == pathlib.PosixPath("/x")


def test_the_permission_ends_with_the_call(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    torch.save({"model": {"a": torch.zeros(1)}, "args": argparse.Namespace(a=1)}, tmp_path / "c.pth")
    read_checkpoint(tmp_path / "c.pth")
    assert set(torch.serialization.get_safe_globals()) == before
    assert argparse.Namespace not in before


def safetensors_file(path, metadata=None):
    save_file({"a": torch.arange(1000.0), "b": torch.ones(2, 2)}, path, metadata=metadata)
    return path


def test_safetensors_with_metadata(tmp_path):
    content = read_checkpoint(safetensors_file(tmp_path / "m.safetensors", {"classes": "real,fake"}))
    assert content["metadata"] == {"classes": "real,fake"}
    assert content["model"]["a"].sum() == 499500
    assert read_checkpoint(safetensors_file(tmp_path / "n.safetensors"))["metadata"] == {}


@pytest.mark.parametrize("keep", [0, 4, 30, 2000])
def test_truncated_safetensors(tmp_path, keep):
    path = safetensors_file(tmp_path / "m.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"m\.safetensors: broken safetensors file"):
        read_checkpoint(path)


@pytest.mark.parametrize("keep", [0, 1, 40, 0.5, 0.99])
def test_truncated_torch_file(tmp_path, keep):
    path = tmp_path / "m.pth"
    torch.save({"model": {"a": torch.randn(5000)}}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match=r"m\.pth: "):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True])
def test_a_damaged_torch_file_either_loads_or_is_an_error_of_ours(tmp_path, legacy):
    path = tmp_path / "m.pth"
    content = {"model": {"a": torch.randn(9), "b": torch.zeros(3)}, "args": argparse.Namespace(a=1, b="x")}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    data, rng, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(150):
        damaged = bytearray(data)
        damaged[rng.randrange(min(len(data), 1200))] = rng.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(CheckpointError):
            read_checkpoint(path)
            continue
        refused += 1
    assert refused > 30


def test_tensors_are_found_under_the_usual_names():
    tensor = torch.zeros(1)
    for content in (
        {"model": {"module.a": tensor}, "epoch": 1},
        {"state_dict": {"a": tensor}},
        {"module.a": tensor, "n": 3},
    ):
        assert list(state_dict_of(content, "x")) == ["a"]
    with pytest.raises(CheckpointError, match=r"x\.pth: holds no tensors \(keys: epoch, args\)"):
        state_dict_of({"epoch": 1, "args": 2}, "x.pth")


# ------------------------------------------------------------------ what fits


OWN = {"a": torch.zeros(2), "b": torch.zeros(3), "head": torch.zeros(4)}


def test_fit_returns_exactly_what_belongs():
    state = {"a": torch.ones(2), "b": torch.ones(3), "decoder.x": torch.ones(1)}
    fit = check_fit(OWN, state, "x", may_miss={"head"}, may_drop=("decoder.",))
    assert set(fit) == {"a", "b"}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": 2, "b": 3}, "x: 2 of 3 tensors fit; missing: head (1). It belongs to another architecture or setting."),
        ({"a": 2, "b": 3, "head": 4, "c": 1}, "x: 3 of 3 tensors fit; without a place: c (1). It"),
        ({"a": 2, "b": 9, "head": 4}, "x: 2 of 3 tensors fit; of another shape: b (9,) instead of (3,) (1). It"),
        ({"z": 1}, "x: 0 of 3 tensors fit; missing: a, b, head (3); without a place: z (1). It"),
    ],
)
def test_misfit_says_how_much_fits_and_what_does_not(state, message):
    with pytest.raises(CheckpointError) as error:
        check_fit(OWN, {key: torch.zeros(size) for key, size in state.items()}, "x", may_miss=set())
    assert str(error.value).startswith(message)


# ------------------------------------------------------------------ references


FACTS = {"net.good": PublishedWeights("net.good", "net", "owner/repo", "file.pth")}


def test_references(tmp_path):
    file = safetensors_file(tmp_path / "m.safetensors")
    assert resolve_weights(str(file), FACTS) == file
    for text, message in (
        ("net.goood", "Did you mean net.good? Published names: net.good."),
        ("hf-hub:owner/repo", "'hf-hub:owner/repo': expected hf-hub:OWNER/REPO/path/to/file."),
        ("nowhere.pth", "No weights at 'nowhere.pth': not a file, a run folder,"),
    ):
        with pytest.raises(CheckpointError) as error:
            resolve_weights(text, FACTS)
        assert message in str(error.value)
    with pytest.raises(CheckpointError, match="none for this backbone"):
        resolve_weights("nowhere.pth", {})


def test_run_folder_gives_the_selected_checkpoint(tmp_path):
    checkpoints = tmp_path / "run" / "checkpoints"
    for name in ("step-00000001", "step-00000002"):
        (checkpoints / name).mkdir(parents=True)
    (checkpoints / "last.json").write_text(json.dumps({"folder": "step-00000002", "step": 2}))
    assert resolve_weights(str(tmp_path / "run"), {}) == checkpoints / "step-00000002" / "model.safetensors"
    (checkpoints / "best.json").write_text(json.dumps({"folder": "step-00000001", "step": 1}))
    assert resolve_weights(str(tmp_path / "run"), {}) == checkpoints / "step-00000001" / "model.safetensors"
    with pytest.raises(CheckpointError, match=r"checkpoints is no run folder: it has neither"):
        resolve_weights(str(checkpoints), {})


def test_the_hub_out_of_reach_is_a_clear_error(monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(**_):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    for reference in ("net.good", "hf-hub:owner/repo/file.pth"):
        with pytest.raises(CheckpointError, match=r"Cannot fetch file\.pth from the hub repository owner/repo"):
            resolve_weights(reference, FACTS)


# ------------------------------------------------------------------ statistics, hash


def test_statistics_round_trip_and_missing_file(tmp_path):
    path = tmp_path / "s.txt"
    write_statistics(path, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert read_statistics(path) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    with pytest.raises(
        CheckpointError, match=r"s2\.txt: cannot read the mean and std .* set data\.normalize: vggface2"
    ):
        read_statistics(tmp_path / "s2.txt")


def test_normalisation_inside_the_file_wins_over_the_text_beside_it(tmp_path):
    from backbones.weights import STATISTICS_FILE

    path = tmp_path / "m.safetensors"
    assert stored_normalization({}, path) is None
    write_statistics(tmp_path / STATISTICS_FILE, (0.1,) * 3, (0.2,) * 3)
    assert stored_normalization({}, path) == ((0.1,) * 3, (0.2,) * 3)
    inside = {"metadata": {"input": json.dumps({"size": 32, "mean": [0.3] * 3, "std": [0.4] * 3})}}
    assert stored_normalization(inside, path) == ((0.3,) * 3, (0.4,) * 3)


def test_file_hash(tmp_path):
    import hashlib

    path = tmp_path / "f"
    path.write_bytes(b"abc" * 1_000_000)
    assert file_hash(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
