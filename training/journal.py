"""What a run tells: console lines, ``log.jsonl`` for machines, TensorBoard."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from loguru import logger

from benchmark.data.decode import encode_png

SHOWN = ("loss", "frame_auc", "frame_eer", "video_auc", "video_eer")


@dataclass
class LossWindow:
    """Sums of losses since the last log line; kept on the device so that a step never waits for the GPU."""

    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    steps: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, losses: Mapping[str, torch.Tensor]) -> None:
        """The losses of one step."""
        for name, value in losses.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.steps += 1


class Journal:
    """Writes on the main process only.

    Args:
        run: run folder.
        active: False on the other processes.
    """

    def __init__(self, run: Path, active: bool) -> None:
        self.run = run
        self.active = active
        self._board: Any = None

    def training(
        self,
        *,
        step: int,
        total: int,
        epoch: float,
        losses: dict[str, float],
        lr: float,
        samples_per_second: float,
        seconds_left: float,
    ) -> None:
        """One line about training since the last one."""
        if not self.active:
            return
        parts = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        logger.info(
            "step {}/{}  epoch {:.2f}  {}  lr {:.2e}  {:.0f} samples/s  ETA {}",
            step, total, epoch, parts, lr, samples_per_second, duration(seconds_left),
        )  # fmt: skip
        self._write("train", step, epoch, {**losses, "lr": lr, "samples_per_second": samples_per_second})

    def validation(self, step: int, epoch: float, metrics: dict[str, float | None]) -> None:
        """One line about a validation."""
        if not self.active:
            return
        shown = {name: value for name, value in metrics.items() if value is not None}
        parts = "  ".join(f"{name} {shown[name]:.4f}" for name in SHOWN if name in shown)
        logger.info("validation  epoch {:.2f}  {}", epoch, parts)
        self._write("val", step, epoch, shown)

    def pictures(self, step: int, pictures: Mapping[str, torch.Tensor]) -> None:
        """Pictures (3, H, W) in [0, 1], to ``pictures/NAME-STEP.png`` and TensorBoard."""
        if not self.active or not pictures:
            return
        folder = self.run / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
            (folder / f"{name}-{step:08d}.png").write_bytes(encode_png(pixels))
            self._open_board().add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Flush TensorBoard."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def _write(self, kind: str, step: int, epoch: float, values: dict[str, float]) -> None:
        record = {"kind": kind, "time": time.time(), "step": step, "epoch": round(epoch, 6), **values}
        with (self.run / "log.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")
        for name, value in values.items():
            self._open_board().add_scalar(f"{kind}/{name}", value, step)

    def _open_board(self) -> Any:
        if self._board is None:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(self.run / "tensorboard"))
        return self._board


def duration(seconds: float) -> str:
    """Seconds as ``1h 02m``, ``3m 20s`` or ``12s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 60}m {whole % 60:02d}s" if whole >= 60 else f"{whole}s"
