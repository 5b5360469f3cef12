"""Checkpoints: a folder of weights (safetensors) and trainer state, made complete before it gets its name.

``checkpoints/step-00000120/{model.safetensors, state.pt}``, and the pointers ``last.json`` and ``best.json`` that
name a folder. A kill at any moment leaves the previous checkpoint in place. Of the other folders only those with a
file ``keep`` stay.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from backbones.weights import read_checkpoint
from benchmark.data.store import atomic_write_text
from benchmark.errors import CheckpointError

_TEMPORARY = ".incomplete-"
_KEEP = "keep"


@dataclass(frozen=True)
class Pointer:
    """Content of ``last.json`` / ``best.json``: which checkpoint, and why."""

    folder: str
    step: int
    value: float | None = None


class CheckpointStore:
    """Reads and writes the checkpoints of one run.

    Args:
        run: run folder.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / "checkpoints"

    def save(
        self,
        step: int,
        weights: Mapping[str, torch.Tensor],
        state: Mapping[str, Any],
        metadata: Mapping[str, str],
        best: float | None = None,
        keep: bool = False,
    ) -> Path:
        """Write a checkpoint, point ``last`` (and ``best`` when a value is given) to it, drop unreferenced ones.

        Args:
            step: optimiser steps done.
            weights: the detector's state dict.
            state: optimisers, scaler, counters: tensors and plain data only.
            metadata: strings kept inside the weights file.
            best: selection value when this is the best checkpoint so far.
            keep: do not drop it when later ones are saved.
        """
        self._clean()
        name = f"step-{step:08d}"
        last = self.pointer("last")
        if best is None and last is not None and last.folder == name:  # a stop signal right after a save
            return self.folder / name
        temporary = self.folder / f"{_TEMPORARY}{name}-{os.getpid()}"
        temporary.mkdir(parents=True)
        tensors = {key: value.detach().cpu().contiguous().clone() for key, value in weights.items()}
        save_file(tensors, temporary / "model.safetensors", metadata=dict(metadata))
        torch.save(dict(state), temporary / "state.pt")
        if keep:
            (temporary / _KEEP).touch()
        for file in temporary.iterdir():
            _flush(file)
        final = self.folder / name
        if final.exists():  # the same step again after a resume
            shutil.rmtree(final)
        temporary.replace(final)
        if best is not None:  # before "last": the state that "last" leads to already counts this one as the best
            self._point("best", Pointer(name, step, best))
        self._point("last", Pointer(name, step))
        self._drop_unreferenced()
        return final

    def point_best(self, step: int, value: float | None) -> None:
        """Declare an existing checkpoint the best one."""
        self._point("best", Pointer(f"step-{step:08d}", step, value))
        self._drop_unreferenced()

    def pointer(self, which: str) -> Pointer | None:
        """The pointer ``last`` or ``best``, or None."""
        path = self.folder / f"{which}.json"
        return Pointer(**json.loads(path.read_text())) if path.is_file() else None

    def weights_path(self, which: str | int) -> Path:
        """Weights file behind a pointer (``last``, ``best``) or of a step.

        Raises:
            CheckpointError: the run has no such checkpoint.
        """
        if isinstance(which, int):
            folder = self.folder / f"step-{which:08d}"
            if not folder.is_dir():
                found = ", ".join(str(int(path.name[5:])) for path in sorted(self.folder.glob("step-*")))
                raise CheckpointError(f"{self.folder} has no checkpoint of step {which}; there are: {found or 'none'}.")
            return folder / "model.safetensors"
        pointer = self.pointer(which)
        if pointer is None:
            raise CheckpointError(f"{self.folder} has no '{which}' checkpoint.")
        return self.folder / pointer.folder / "model.safetensors"

    def load_state(self, which: str | int = "last") -> dict[str, Any]:
        """Trainer state behind a pointer or of a step (see ``save``).

        Raises:
            CheckpointError: missing or damaged.
        """
        return read_checkpoint(self.weights_path(which).with_name("state.pt"))

    def _point(self, which: str, pointer: Pointer) -> None:
        atomic_write_text(self.folder / f"{which}.json", json.dumps(pointer.__dict__) + "\n")

    def _clean(self) -> None:
        """Remove what a killed process left half-written."""
        for leftover in self.folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _drop_unreferenced(self) -> None:
        kept = {pointer.folder for which in ("last", "best") if (pointer := self.pointer(which))}
        for folder in self.folder.glob("step-*"):
            if folder.name not in kept and not (folder / _KEEP).exists():
                shutil.rmtree(folder, ignore_errors=True)


def _flush(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
