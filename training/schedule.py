"""Learning rate as a function of progress; evaluated at every optimiser step."""

from __future__ import annotations

import math

from benchmark.schema import ScheduleConfig


def learning_rate(progress: float, lr: float, schedule: ScheduleConfig) -> float:
    """Learning rate at a point of the run.

    Args:
        progress: position in the schedule's own unit: fractional epochs (epoch + step / steps per epoch) or steps.
        lr: peak learning rate.
        schedule: shape, length, warm-up, hold and floor. Warm-up is linear from 0; cosine and linear then go from
            ``lr`` to ``min_lr``.

    Returns:
        The rate before a group's ``lr_scale`` (which therefore scales the floor too, as in the FSFM recipe).
    """
    length = float(schedule.epochs or schedule.steps or 0)
    warmup = float(schedule.warmup_epochs or schedule.warmup_steps)
    if progress < warmup:
        return lr * progress / warmup
    start = warmup + schedule.hold_epochs
    if schedule.name == "constant" or progress < start:
        return lr
    done = (progress - start) / (length - start)
    if schedule.name == "linear":
        return schedule.min_lr + (lr - schedule.min_lr) * (1.0 - done)
    return schedule.min_lr + (lr - schedule.min_lr) * 0.5 * (1.0 + math.cos(math.pi * done))
