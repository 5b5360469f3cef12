"""Detector plugins whose steps misbehave on demand: ``HOOKED="kill:8"`` and the like in the environment."""

import os
import signal

import torch

from benchmark.registry import DETECTORS
from detectors.fas import FASDetector
from detectors.fsfm import FSFMDetector


def wanted(what: str) -> int | None:
    """Step at which ``what`` is to happen, or None."""
    name, _, step = os.environ.get("HOOKED", "").partition(":")
    return int(step) if name == what else None


class Hooks:
    """Killed, stopped or made to fail after a given number of steps."""

    steps = 0

    def training_step(self, batch):
        losses = super().training_step(batch)
        if wanted("nan") == self.steps:
            losses["loss"] = losses["loss"] * torch.tensor(float("nan"))
        return losses

    def after_step(self, step, total_steps):
        type(self).steps = step + 1
        if wanted("kill") == step + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if wanted("term") == step + 1:
            os.kill(os.getpid(), signal.SIGTERM)


@DETECTORS.register("hooked")
class Hooked(Hooks, FSFMDetector):
    """FSFM fine-tuning that misbehaves."""


@DETECTORS.register("hooked_fas")
class HookedFAS(Hooks, FASDetector):
    """Face anti-spoofing that misbehaves."""
