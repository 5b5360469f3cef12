"""Random generators of a step, and the set-up of data-loader workers."""

from __future__ import annotations

import random
import signal

import numpy as np
import torch


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed all generators for one step.

    Python's and NumPy's are equal on all processes (mixup draws its one lambda from NumPy), PyTorch's differ by rank
    (dropout and stochastic depth must not repeat across processes).
    """
    seed_shared(seed, step)
    own = np.random.SeedSequence((seed, step, rank)).generate_state(1)[0]  # the CPU generator takes 32 bits, no more
    torch.manual_seed(int(own))


def seed_shared(seed: int, step: int) -> None:
    """Seed Python's and NumPy's generators for one step, the same on all processes."""
    shared = int(np.random.SeedSequence((seed, step)).generate_state(1)[0])
    random.seed(shared)
    np.random.seed(shared)


def start_worker(_worker: int) -> None:
    """Set up a data-loader worker: one thread (more only fight each other), and no share in the run's stop signals.

    Ctrl-C and schedulers signal the whole process group; the workers must live until the trainer has saved.
    """
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
