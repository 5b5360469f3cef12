"""Contrastive losses over processes: the gathered loss of two halves is that of the whole batch, gradients too."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing
from torch.nn import functional as F

from detectors.contrastive import contrastive_loss

NAMES = ("infonce", "mocov3", "simclr")
TASKS = Path("/proc/self/task")  # Linux only


def views():
    generator = torch.Generator().manual_seed(5)
    online, target = (F.normalize(torch.randn(8, 6, generator=generator), dim=1) for _ in range(2))
    return online, target


def half(rank, folder):
    """One of two processes: its half of the batch, gradients averaged as DDP does."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    online, target = views()
    results = {}
    for name in NAMES:
        weight = torch.eye(6).requires_grad_()
        own = slice(4 * rank, 4 * rank + 4)
        loss = contrastive_loss(name, "all", True)(F.normalize(online[own] @ weight, dim=1), target[own])
        loss.backward()
        for value in (loss.detach(), weight.grad):
            distributed.all_reduce(value)
            value /= 2
        results[name] = (loss.detach(), weight.grad)
    if rank == 0:
        torch.save(results, folder / "results.pt")
    distributed.destroy_process_group()
    if rank == 0 and TASKS.is_dir():
        deadline = time.monotonic() + 10  # a joined thread is listed for a moment longer
        while (names := [name for name in thread_names() if "gloo" in name]) and time.monotonic() < deadline:
            time.sleep(0.05)
        (folder / "threads.txt").write_text(" ".join(names), encoding="ascii")


def thread_names():
    """Names of this process's threads; one may end while they are listed."""
    for path in TASKS.glob("*/comm"):
        with contextlib.suppress(OSError):
            yield path.read_text(encoding="ascii").strip()


@pytest.mark.slow
def test_two_processes_contrast_with_the_whole_batch(tmp_path):
    multiprocessing.spawn(half, args=(tmp_path,), nprocs=2)
    results = torch.load(tmp_path / "results.pt", weights_only=True)
    online, target = views()
    for name in NAMES:
        weight = torch.eye(6).requires_grad_()
        loss = contrastive_loss(name, "all", True)(F.normalize(online @ weight, dim=1), target)
        loss.backward()
        torch.testing.assert_close(results[name][0], loss.detach())
        torch.testing.assert_close(results[name][1], weight.grad, atol=1e-6, rtol=1e-4)
        local = contrastive_loss(name, "all", False)(online[:4], target[:4])
        assert abs(local.item() - loss.item()) > 0.01, "the test could not tell gathering from not gathering"
    if TASKS.is_dir():
        threads = (tmp_path / "threads.txt").read_text(encoding="ascii")
        assert not threads, "something keeps the process group alive, and its threads may abort the exit"
