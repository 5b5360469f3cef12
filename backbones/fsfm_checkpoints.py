"""FSFM's published pre-training checkpoints: two files, ``checkpoint-<epoch>.pth`` and ``checkpoint-te-<epoch>.pth``.

Both are dictionaries with ``model``, ``optimizer`` (AdamW; group 0 without, group 1 with weight decay), ``epoch``
(number of the last finished one, from 0), ``scaler`` and ``args``; ``model`` is the online network in the first file
and the target in the second, the rest is the online run's in both. Mean and std of the data lie beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from backbones.weights import (
    STATISTICS_FILE,
    State,
    read_checkpoint,
    state_dict_of,
    stored_normalization,
    write_statistics,
)
from benchmark.errors import CheckpointError

PRETRAINING_ONLY = ("mask_token", "decoder_", "rep_decoder_", "projector.", "predictor.")
"""Beginnings of the keys that have no place downstream."""
_ONLINE, _TARGET = "checkpoint-", "checkpoint-te-"


@dataclass(frozen=True)
class PretrainingCheckpoint:
    """A pre-training checkpoint, whatever file it came from.

    Attributes:
        online: tensors of the online network by published names.
        target: tensors of the target network, or None when there are none.
        normalization: mean and std of its input, or None.
        optimizer: AdamW's state dict, or None.
        scaler: gradient scaler's state dict, or None.
        epoch: last finished epoch, from 0, or None.
    """

    online: State
    target: State | None
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None
    optimizer: Mapping[str, Any] | None = None
    scaler: Mapping[str, Any] | None = None
    epoch: int | None = None


def target_file(online: Path) -> Path:
    """The target's file beside the online network's: ``checkpoint-te-400.pth`` for ``checkpoint-400.pth``."""
    return online.with_name(online.name.replace(_ONLINE, _TARGET, 1))


def read_pretraining(path: Path, target: Path | None = None) -> PretrainingCheckpoint:
    """Both networks from the published files, or from one file that holds both (this project's).

    Args:
        path: the online network's file, or a ``model.safetensors`` with ``online.*`` and ``target.*``.
        target: the target's file; None = the one beside ``path``, if it is there.

    Raises:
        CheckpointError: unreadable, unsafe, or ``path`` holds a target network.
    """
    content = read_checkpoint(path)
    state = state_dict_of(content, path)
    normalization = stored_normalization(content, path)
    if any(key.startswith("online.") for key in state):
        return PretrainingCheckpoint(network(state, "online"), network(state, "target") or None, normalization)
    if path.name.startswith(_TARGET):
        raise CheckpointError(f"{path} is a target network's file; give {path.name.replace(_TARGET, _ONLINE)}.")
    place = target or target_file(path)
    has_target = target is not None or (place != path and place.is_file())
    return PretrainingCheckpoint(
        state,
        state_dict_of(read_checkpoint(place), place) if has_target else None,
        normalization,
        content.get("optimizer"),
        content.get("scaler"),
        content.get("epoch"),
    )


def network(state: Mapping[str, torch.Tensor], name: str) -> State:
    """The tensors below ``name.``, without that prefix."""
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def write_pretraining(
    folder: Path,
    online: Mapping[str, torch.Tensor],
    target: Mapping[str, torch.Tensor],
    *,
    epoch: int,
    optimizer: Mapping[str, Any],
    scaler: Mapping[str, Any],
    settings: Mapping[str, Any],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tuple[Path, Path]:
    """Write the published pair of files and the statistics beside them.

    Args:
        folder: created if need be.
        online: tensors by published names.
        target: likewise.
        epoch: last finished epoch, from 0.
        optimizer: AdamW's state dict.
        scaler: gradient scaler's state dict.
        settings: plain values, kept as an ``argparse.Namespace``.
        mean: of the data, RGB on the 0-1 scale.
        std: likewise.

    Returns:
        The online network's and the target's file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / f"{_ONLINE}{epoch}.pth", folder / f"{_TARGET}{epoch}.pth"
    rest = {
        "optimizer": dict(optimizer),
        "epoch": epoch,
        "scaler": dict(scaler),
        "args": argparse.Namespace(**settings),
    }
    for file, model in zip(files, (online, target), strict=True):
        torch.save({"model": dict(model), **rest}, file)
    write_statistics(folder / STATISTICS_FILE, mean, std)
    return files
