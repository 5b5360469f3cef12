"""LARS: layer-wise adaptive rate scaling (You et al., arXiv 1708.03888), as in MAE's linear probing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class LARS(torch.optim.Optimizer):
    """Momentum SGD whose step of every matrix is scaled to its own norm; vectors take a plain step.

    For a matrix p with gradient g: d = g + wd * p, then d <- d * trust * |p| / |d| (factor 1 when a norm is 0);
    for all: m <- momentum * m + d, p <- p - lr * m. Weight decay and trust do not apply to 1-D tensors.

    Args:
        params: parameters or groups.
        lr: learning rate.
        momentum: decay of the running step.
        weight_decay: L2 term of matrices.
        trust_coefficient: size of a step relative to the parameter's norm.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust_coefficient}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        assert closure is None, "LARS takes no closure"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        delta = parameter.grad
        assert delta is not None
        if parameter.ndim > 1:
            delta = delta.add(parameter, alpha=group["weight_decay"])
            size, length = parameter.norm(), delta.norm()
            both = (size > 0) & (length > 0)
            delta = delta * torch.where(both, group["trust"] * size / length, torch.ones_like(size))
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].mul_(group["momentum"]).add_(delta)
        parameter.add_(state["momentum"], alpha=-group["lr"])
