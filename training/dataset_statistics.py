"""Mean and standard deviation of a training set, measured once and kept.

Sums of 8-bit values are whole numbers, so the result does not depend on batches, order or number of processes. The
published code averages over batches of equal size, which is the same number, except that it drops the last
incomplete batch and repeats the whole pass on every process.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import torch
from loguru import logger
from torch.utils.data import DataLoader
from tqdm import tqdm

from backbones.base import Normalization
from backbones.weights import read_statistics
from benchmark.data.datasets import FaceDataset, collate
from benchmark.data.sampling import ShardSampler
from benchmark.data.store import atomic_write_text
from benchmark.errors import DataError
from benchmark.schema import RunConfig
from training.distributed import Processes
from training.seeding import start_worker


class PixelSums:
    """Exact sums over the pixels of many images.

    Attributes:
        count: pixels.
        total, squares: (3,) int64 sums of values and of squares per channel.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = torch.zeros(3, dtype=torch.int64)
        self.squares = torch.zeros(3, dtype=torch.int64)

    def add(self, images: torch.Tensor) -> None:
        """Add images (B, 3, H, W) uint8."""
        values = images.to(torch.int32)
        self.count += values[:, 0].numel()
        self.total += values.sum((0, 2, 3), dtype=torch.int64)
        self.squares += values.square().sum((0, 2, 3), dtype=torch.int64)

    def merge(self, other: PixelSums) -> None:
        """Add what another process has counted."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares

    def normalization(self) -> Normalization:
        """Mean and (biased) standard deviation per channel on the 0-1 scale."""
        mean = self.total.double() / (255 * self.count)
        variance = self.squares.double() / (255**2 * self.count) - mean.square()
        return tuple(mean.tolist()), tuple(variance.clamp(min=0).sqrt().tolist())


def measure_dataset(dataset: FaceDataset, config: RunConfig, group: Processes, cache: Path) -> Normalization:
    """Mean and std over all images of a data set, from the cache if they were measured before.

    Args:
        dataset: frames without augmentation.
        config: workers, batch size and the rule for unreadable samples.
        group: each process reads its share.
        cache: folder of earlier results, one file per data set, size and filter, in the published format.

    Raises:
        DataError: images cannot be read and ``data.on_error`` is ``fail``; or they are all of one colour.
    """
    path = cache / f"{_identity(dataset)}.txt"
    if not group.any(not path.is_file()):
        return read_statistics(path)
    if group.is_main:
        logger.info("Measuring mean and std of {} training images (once).", len(dataset))
    sums = PixelSums()
    for part in group.gather(_own_share(dataset, config, group)):
        sums.merge(part)
    mean, std = sums.normalization()
    if min(std) <= 0:
        raise DataError(f"The training images have no contrast (std {std}), so they cannot be normalised.")
    if group.is_main:
        cache.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, json.dumps({"mean": list(mean), "std": list(std)}) + "\n")
        logger.info("mean {}  std {}", *([round(value, 4) for value in values] for values in (mean, std)))
    group.barrier()
    return mean, std


def _own_share(dataset: FaceDataset, config: RunConfig, group: Processes) -> PixelSums:
    loader = DataLoader(
        dataset,
        batch_size=config.evaluation.batch_size,
        sampler=ShardSampler(len(dataset), group.rank, group.world),
        num_workers=config.data.workers,
        collate_fn=collate,
        worker_init_fn=start_worker,
    )
    sums = PixelSums()
    for batch in tqdm(loader, desc="mean and std", disable=not (group.is_main and sys.stderr.isatty()), leave=False):
        if batch["errors"] and config.data.on_error == "fail":
            first = batch["errors"][0][1]
            raise DataError(f"A training image cannot be read: {first}. Repair it, or leave it out: data.on_error=skip")
        if "image" in batch:
            sums.add(batch["image"])
    return sums


def _identity(dataset: FaceDataset) -> str:
    """Hash over everything that decides the result."""
    indexes = [facts["index_sha256"] for facts in dataset.origin.values()]
    facts = json.dumps([dataset.fingerprint(), indexes, repr(dataset.transform)])
    return hashlib.sha256(facts.encode()).hexdigest()[:32]
