"""Losses between the features of two views, as FSFM pre-training offers them (spec 4); pure functions of tensors.

``online`` and ``target`` are (B, D) features of the same images, in the same order. Where a loss contrasts an image
with others, ``gather=True`` brings the others of all processes, so that the loss does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import distributed
from torch.nn import functional as F

TEMPERATURE = 0.1
Samples = Literal["all", "positive"]


def simsiam(online: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """-0.5 times the mean cosine, one direction (SimSiam, arXiv 2011.10566, with FSFM's factor); in [-0.5, 0.5]."""
    return -0.5 * F.cosine_similarity(online, target, dim=-1, eps=1e-8).mean()


def byol(online: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """2 - 2 times the mean scalar product (BYOL, arXiv 2006.07733); features are expected to be unit vectors."""
    return (2 - 2 * (online * target).sum(-1)).mean()


def info_nce(
    online: torch.Tensor,
    target: torch.Tensor,
    samples: Samples = "all",
    temperature: float = TEMPERATURE,
    gather: bool = False,
) -> torch.Tensor:
    """InfoNCE of each online feature against all target features, times 2 T (CPC, arXiv 1807.03748).

    Args:
        online: (B, D).
        target: (B, D).
        samples: ``positive`` sets the other logits to 0 instead of their similarity, as the reference does.
        temperature: T.
        gather: contrast with the targets of all processes.
    """
    others, offset = _gathered(target, gather)
    logits = online @ others.T / temperature
    own = torch.arange(len(online), device=online.device) + offset
    if samples == "positive":
        logits = logits * F.one_hot(own, len(others))
    return 2 * temperature * F.cross_entropy(logits, own)


def moco_v3(
    online: torch.Tensor, target: torch.Tensor, temperature: float = TEMPERATURE, gather: bool = False
) -> torch.Tensor:
    """InfoNCE of normalised features (MoCo v3, arXiv 2104.02057)."""
    return info_nce(F.normalize(online, dim=-1), F.normalize(target, dim=-1), "all", temperature, gather)


def simclr(
    online: torch.Tensor,
    target: torch.Tensor,
    samples: Samples = "all",
    temperature: float = TEMPERATURE,
    gather: bool = False,
) -> torch.Tensor:
    """NT-Xent over both views (SimCLR, arXiv 2002.05709; SupCon, arXiv 2004.11362, with one positive per anchor).

    Args:
        online: (B, D).
        target: (B, D).
        samples: ``positive`` leaves only the attraction of the positive pair (and a detached constant).
        temperature: T.
        gather: contrast with both views of all processes; gradients reach them.
    """
    views = torch.cat([online, target])
    (all_online, offset), (all_target, _) = _gathered(online, gather), _gathered(target, gather)
    others = torch.cat([all_online, all_target])
    logits = views @ others.T / temperature
    local = torch.arange(len(online), device=online.device) + offset
    half = len(others) // 2
    itself, positive = torch.cat([local, local + half]), torch.cat([local + half, local])
    attraction = logits.gather(1, positive[:, None]).squeeze(1)
    if samples == "positive":
        return (logits.max(1).values.detach() - attraction).mean()
    without_itself = logits.scatter(1, itself[:, None], float("-inf"))
    return (without_itself.logsumexp(1) - attraction).mean()


class _AllGather(torch.autograd.Function):
    """Rows of all processes in rank order; each process gets back the sum of all processes' gradients for its own.

    ``torch.distributed.nn.functional.all_gather`` would do, but it is deprecated and keeps the process group alive
    after ``destroy_process_group``; gloo threads that outlive the interpreter can abort the process.
    """

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        ctx.num_rows = len(rows)
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total.narrow(0, distributed.get_rank() * ctx.num_rows, ctx.num_rows)


def _gathered(rows: torch.Tensor, gather: bool) -> tuple[torch.Tensor, int]:
    """Rows of all processes, and the place of the first own one."""
    if not (gather and distributed.is_initialized()):
        return rows, 0
    return _AllGather.apply(rows), distributed.get_rank() * len(rows)


ContrastiveName = Literal["simsiam", "byol", "infonce", "mocov3", "simclr"]


def contrastive_loss(name: ContrastiveName, samples: Samples, gather: bool) -> Callable[..., torch.Tensor]:
    """A loss (online, target) -> scalar by name; ``samples`` and ``gather`` reach those that have them."""
    return {
        "simsiam": simsiam,
        "byol": byol,
        "infonce": lambda online, target: info_nce(online, target, samples, gather=gather),
        "mocov3": lambda online, target: moco_v3(online, target, gather=gather),
        "simclr": lambda online, target: simclr(online, target, samples, gather=gather),
    }[name]
