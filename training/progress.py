"""Counters of a run that survive a resume, and the choice of its best checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmark.errors import TrainingError
from benchmark.schema import SelectConfig

RECENT_VALIDATIONS = 10


@dataclass
class Progress:
    """Counters that survive a resume.

    Attributes:
        step: optimiser steps done.
        best_value, best_step: of the best checkpoint so far.
        recent: selection values of the last validations.
        unreadable: training samples left out, of all processes.
        seconds: time spent.
        epoch_loss, epoch_steps: sum of the losses of the epoch so far, and of how many steps.
    """

    step: int = 0
    best_value: float | None = None
    best_step: int | None = None
    recent: list[float] = field(default_factory=list)
    unreadable: int = 0
    seconds: float = 0.0
    epoch_loss: float = 0.0
    epoch_steps: int = 0

    def select(self, value: float, settings: SelectConfig) -> float | None:
        """Remember a selection value; the value itself when it is the best so far, else None."""
        self.recent = [*self.recent, value][-RECENT_VALIDATIONS:]
        if self.best_value is not None and not better(value, self.best_value, settings):
            return None
        self.best_value, self.best_step = value, self.step
        return value


def selection_value(metrics: Mapping[str, float | None], step: int, settings: SelectConfig) -> float:
    """The number of a validation that selects.

    Raises:
        TrainingError: it is undefined on this validation set.
    """
    if settings.metric == "last":
        return -float(step)
    name = settings.metric if settings.metric in {"loss", "hter"} else f"{settings.level}_{settings.metric}"
    value = metrics[name]
    if value is None:
        raise TrainingError(
            f"{name} is undefined on the validation set (one class only), so it cannot select a checkpoint. "
            "Use evaluation.select.metric=loss or a validation set with both classes."
        )
    return value


def better(value: float, best: float, settings: SelectConfig) -> bool:
    """Whether a selection value improves; hter counts a tie, as published."""
    if settings.metric == "hter":
        return value <= best
    return value < best if settings.metric in {"loss", "eer", "last", "train_loss"} else value > best
