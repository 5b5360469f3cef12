"""From a collated batch to what the detector sees: on the device, as normalised floats."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from benchmark.data.transforms import to_input
from detectors.base import Batch


@dataclass(frozen=True)
class InputFormat:
    """How pixels enter the network.

    Attributes:
        size: side of the square input.
        mean, std: per channel, RGB, on the 0-1 scale.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def to_device(
    batch: Batch,
    device: torch.device,
    inputs: InputFormat,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Batch:
    """Move tensors, turn uint8 pixels into normalised floats, fill erased boxes.

    Args:
        batch: see ``benchmark.data.datasets.collate``, without ``errors``.
        device: target.
        inputs: normalisation.
        memory_format: of 4-D images (``channels_last`` for CNNs).
    """
    moved: Batch = {
        key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
    }
    erase, seeds = moved.pop("erase"), batch["seed"].tolist()
    for key in ("image", "clip"):
        if key in moved:
            moved[key] = to_input(moved[key], inputs.mean, inputs.std, erase=erase, seeds=seeds)
    if "image" in moved and memory_format is not torch.contiguous_format:
        moved["image"] = moved["image"].contiguous(memory_format=memory_format)
    return moved


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Mixed precision of a name: auto is bf16 on GPUs that have it and fp32 elsewhere."""
    if precision == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16" if fast else "fp32"
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")
