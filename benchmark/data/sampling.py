"""Order of samples: which go into which step, as a pure function of (seed, epoch).

A *plan* lays out the global batches of an epoch; processes and micro-batches are cut from them afterwards, so a
run on four GPUs sees the same batches as a run on one, and a resumed run continues at the exact batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch.utils.data import Sampler

from benchmark.errors import TrainingError


class SampleKey(NamedTuple):
    """What a data set is asked for: augmentation depends on the epoch, so it is part of the key."""

    epoch: int
    sample: int


class BatchPlan(Protocol):
    """Global batches of every epoch. Methods with pairs, domains or groups bring their own."""

    steps_per_epoch: int

    def batches(self, epoch: int) -> np.ndarray:
        """Sample indices of one epoch, shape (steps_per_epoch, global batch size), int64."""
        ...


class ShuffledPlan:
    """Shuffled samples, the last incomplete batch dropped; optionally balanced over groups.

    Args:
        groups: (N,) group of every sample (label or class), or None for the natural mix. With groups, each group
            fills an equal share of every epoch; a small group is repeated in new permutations.
        count: number of samples N.
        batch_size: samples per global batch.
        seed: order seed.

    Raises:
        TrainingError: fewer samples than one batch.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, groups: Sequence[str] | np.ndarray | None = None
    ) -> None:
        if count < batch_size:
            raise TrainingError(
                f"The training set has {count} samples, fewer than one batch (trainer.batch_size={batch_size}). "
                "Lower trainer.batch_size or use more data."
            )
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.steps_per_epoch = count // batch_size
        self._pools = None if groups is None else [np.flatnonzero(np.asarray(groups) == g) for g in np.unique(groups)]

    def batches(self, epoch: int) -> np.ndarray:
        """See ``BatchPlan.batches``."""
        rng = np.random.default_rng((self.seed, epoch, 0x5EED))
        order = rng.permutation(self.count) if self._pools is None else self._balanced(rng)
        used = self.steps_per_epoch * self.batch_size
        batches = order[:used].reshape(self.steps_per_epoch, self.batch_size)
        return batches if self._pools is None else rng.permuted(batches, axis=1)  # mixup pairs by position

    def _balanced(self, rng: np.random.Generator) -> np.ndarray:
        assert self._pools is not None
        share = -(-self.count // len(self._pools))
        columns = []
        for pool in self._pools:
            rounds = -(-share // len(pool))
            columns.append(np.concatenate([rng.permutation(pool) for _ in range(rounds)])[:share])
        return np.stack(columns, axis=1).reshape(-1)  # groups alternate, so every batch is balanced


class GroupedPlan:
    """Every batch holds the same number of samples from every group, e.g. live and spoof of every source domain.

    Each group is walked in its own permutations and reshuffled when exhausted, as one loader per group would do; an
    epoch is one pass over the largest group.

    Args:
        groups: (N,) group of every sample.
        batch_size: samples per global batch; a multiple of the number of groups.
        seed: order seed.

    Raises:
        TrainingError: a batch does not divide over the groups, or a group has fewer samples than its share.
    """

    def __init__(self, groups: Sequence[str] | np.ndarray, batch_size: int, seed: int) -> None:
        names, inverse = np.unique(np.asarray(groups), return_inverse=True)
        self.share, rest = divmod(batch_size, len(names))
        if rest:
            raise TrainingError(
                f"trainer.batch_size {batch_size} does not divide over {len(names)} groups ({', '.join(names)}); "
                f"choose a multiple of {len(names)}."
            )
        self.pools = [np.flatnonzero(inverse == number) for number in range(len(names))]
        small = [str(name) for name, pool in zip(names, self.pools, strict=True) if len(pool) < self.share]
        if small:
            raise TrainingError(f"Group {small[0]} has fewer samples than its {self.share} places in a batch.")
        self.seed = seed
        self.steps_per_epoch = max(len(pool) for pool in self.pools) // self.share

    def batches(self, epoch: int) -> np.ndarray:
        """See ``BatchPlan.batches``."""
        columns = [self._walk(number, pool, epoch) for number, pool in enumerate(self.pools)]
        rng = np.random.default_rng((self.seed, epoch, 0xD1))
        return rng.permuted(np.concatenate(columns, axis=1), axis=1)  # mixup pairs by position

    def _walk(self, number: int, pool: np.ndarray, epoch: int) -> np.ndarray:
        """(steps, share) samples of one group in one epoch; whole rounds only, the rest of a round is dropped."""
        rng = np.random.default_rng((self.seed, epoch, number, 0xD0))
        per_round = len(pool) // self.share * self.share
        rounds = -(-self.steps_per_epoch * self.share // per_round)
        order = np.concatenate([rng.permutation(pool)[:per_round] for _ in range(rounds)])
        return order[: self.steps_per_epoch * self.share].reshape(self.steps_per_epoch, self.share)


class PairedPlan:
    """Every batch holds real samples, the forged twins of some or all of them, and fakes of the data for the rest.

    Half of a batch is real; a real sample and its twin stand at mirrored places, so that ``chunk`` keeps them in the
    same process and micro-batch. An epoch is one pass over the real samples; the fakes are walked in permutations.

    Args:
        reals: (R,) sample indices.
        twins: (R,) indices of their forged twins.
        fakes: (F,) indices of the fakes of the data; not used when ``share`` is 1.
        share: share of twins among the fakes of a batch, above 0 and at most 1.
        batch_size: samples per global batch.
        seed: order seed.

    Raises:
        TrainingError: an odd batch, too few real samples, a share that no batch of this size can hold, or no fakes.
    """

    def __init__(
        self, reals: np.ndarray, twins: np.ndarray, fakes: np.ndarray, share: float, batch_size: int, seed: int
    ) -> None:
        self.half, odd = divmod(batch_size, 2)
        if odd or len(reals) < self.half:
            raise TrainingError(
                f"Forged twins need an even batch with no more than {len(reals)} real samples in its half; "
                f"trainer.batch_size is {batch_size}."
            )
        self.paired = round(share * self.half)
        if self.paired == 0:
            raise TrainingError(
                f"augmentation.forged_share {share} of the {self.half} fakes of a batch is less than one sample. "
                "Raise it, or trainer.batch_size."
            )
        if self.paired < self.half and len(fakes) == 0:
            raise TrainingError(
                f"augmentation.forged_share {share} leaves places for fakes of the data, but there are none. "
                "Set augmentation.forged_share=1."
            )
        self.reals, self.twins, self.fakes, self.seed = reals, twins, fakes, seed
        self.steps_per_epoch = len(reals) // self.half

    def batches(self, epoch: int) -> np.ndarray:
        """See ``BatchPlan.batches``."""
        rng = np.random.default_rng((self.seed, epoch, 0xB1))
        order = rng.permutation(len(self.reals))[: self.steps_per_epoch * self.half]
        order = order.reshape(self.steps_per_epoch, self.half)
        fakes = self.twins[order]
        if self.paired < self.half:
            wanted = self.steps_per_epoch * (self.half - self.paired)
            rounds = -(-wanted // len(self.fakes))
            drawn = np.concatenate([rng.permutation(self.fakes) for _ in range(rounds)])[:wanted]
            fakes[:, self.paired :] = drawn.reshape(self.steps_per_epoch, -1)
        return np.concatenate([self.reals[order], fakes[:, ::-1]], axis=1)


def chunk(batch: np.ndarray, part: int, parts: int) -> np.ndarray:
    """The share of one process and micro-batch in a global batch.

    Cut symmetrically from both ends where it divides evenly: mixup pairs a batch with its own reverse, and this
    way the pairs of every share are the pairs of the whole, so processes and accumulation do not change them.

    Args:
        batch: (B,) sample indices.
        part: number of the share, 0 .. parts - 1.
        parts: number of processes times micro-batches; divides B.
    """
    size = len(batch) // parts
    if size % 2:
        return batch[part * size : (part + 1) * size]
    half = size // 2
    return np.concatenate(
        [
            batch[part * half : (part + 1) * half],
            batch[len(batch) - (part + 1) * half : len(batch) - part * half],
        ]
    )


class StepSampler(Sampler[list[SampleKey]]):
    """Batch sampler over all remaining micro-batches of a run; workers stay alive and prefetch across epochs.

    Args:
        plan: global batches.
        start_step: optimiser steps already done.
        total_steps: optimiser steps of the whole run.
        rank, world: this process and the number of processes.
        accumulate: micro-batches per step.
    """

    def __init__(
        self,
        plan: BatchPlan,
        start_step: int,
        total_steps: int,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.plan = plan
        self.start_step = start_step
        self.total_steps = total_steps
        self.rank, self.world, self.accumulate = rank, world, accumulate

    def __len__(self) -> int:
        return (self.total_steps - self.start_step) * self.accumulate

    def __iter__(self) -> Iterator[list[SampleKey]]:
        parts = self.world * self.accumulate
        batches, current = np.empty(0), -1
        for step in range(self.start_step, self.total_steps):
            epoch, row = divmod(step, self.plan.steps_per_epoch)
            if epoch != current:
                batches, current = self.plan.batches(epoch), epoch
            for micro in range(self.accumulate):
                share = chunk(batches[row], micro * self.world + self.rank, parts)
                yield [SampleKey(epoch, int(index)) for index in share]


class ShardSampler(Sampler[SampleKey]):
    """Every sample exactly once over all processes, nothing padded: process r takes r, r + world, ..."""

    def __init__(self, count: int, rank: int = 0, world: int = 1) -> None:
        self.indices = range(rank, count, world)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[SampleKey]:
        return (SampleKey(0, index) for index in self.indices)
