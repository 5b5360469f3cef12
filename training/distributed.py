"""Processes of one run, as started by ``torchrun`` (or a single one)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from benchmark.errors import ConfigError


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Attributes:
        rank: number of this process.
        world: how many there are.
        device: where this one computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this one writes files and logs."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all."""
        if self.world > 1:
            distributed.barrier()

    def gather(self, value: Any) -> list[Any]:
        """One picklable value of every process, in rank order, on every process."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Mean of a tensor over processes."""
        if self.world > 1:
            value = value.clone()
            distributed.all_reduce(value)
            value /= self.world
        return value

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        if self.world == 1:
            return flag
        tensor = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return bool(tensor.item())


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the process group of ``torchrun`` if there is one, and leave it at the end.

    Args:
        device: auto, cpu or cuda.

    Raises:
        ConfigError: cuda was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("trainer.device is cuda but no CUDA device is visible; use trainer.device=cpu or auto.")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if on_gpu:
        torch.cuda.set_device(local)
    place = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    if world > 1:
        distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(minutes=30))
    try:
        yield Processes(rank, world, place)
    finally:
        if world > 1:
            distributed.destroy_process_group()
