"""Optimisers from settings."""

from __future__ import annotations

from typing import Any

import torch

from benchmark.schema import OptimizerConfig
from training.lars import LARS


def peak_learning_rate(settings: OptimizerConfig, batch_size: int) -> float:
    """``lr`` if given, else ``base_lr`` times the global batch size over 256."""
    if settings.lr is not None:
        return settings.lr
    assert settings.base_lr is not None
    return settings.base_lr * batch_size / 256


def build_optimizer(groups: list[dict[str, Any]], settings: OptimizerConfig, lr: float) -> torch.optim.Optimizer:
    """An optimiser over parameter groups (``params``, ``weight_decay``, ``lr_scale``; ``names`` is for people).

    Args:
        groups: see ``detectors.base.group_parameters``.
        settings: rule and its constants.
        lr: peak learning rate; every step sets the groups' actual rate.
    """
    usable = [{key: value for key, value in group.items() if key != "names"} for group in groups]
    if settings.name == "sgd":
        return torch.optim.SGD(usable, lr=lr, momentum=settings.momentum)
    if settings.name == "lars":
        return LARS(usable, lr=lr, momentum=settings.momentum)
    rule = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return rule(usable, lr=lr, betas=settings.betas, eps=settings.eps)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's rate to ``rate`` times its ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
