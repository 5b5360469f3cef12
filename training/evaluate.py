"""Scoring a dataset: every sample once, on any number of processes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from loguru import logger
from torch.utils.data import DataLoader
from tqdm import tqdm

from benchmark.data.datasets import FaceDataset
from benchmark.data.sampling import ShardSampler
from benchmark.errors import DataError, TrainingError
from benchmark.predictions import Predictions
from benchmark.schema import RunConfig
from detectors.base import Detector
from training.distributed import Processes
from training.inputs import InputFormat, autocast, to_device
from training.seeding import start_worker


@dataclass(frozen=True)
class Scored:
    """Predictions of one dataset and what could not be scored.

    Attributes:
        predictions: one row per readable sample, in dataset order.
        missing: "video/frame: reason" per unreadable sample.
    """

    predictions: Predictions
    missing: tuple[str, ...]


@torch.inference_mode()
def score_dataset(
    detector: Detector, dataset: FaceDataset, config: RunConfig, inputs: InputFormat, group: Processes, what: str
) -> Scored:
    """Predict every sample of a dataset.

    Args:
        detector: on the process's device.
        dataset: evaluation samples.
        config: batch size, workers, precision and the rule for unreadable samples.
        inputs: size and normalisation.
        group: processes; each scores its own share, the result is complete on all of them.
        what: named in the progress bar and in messages.

    Raises:
        DataError: samples cannot be read and ``evaluation.allow_missing`` is off; nothing is scored then.
        TrainingError: the detector returned NaN or a value outside [0, 1].
    """
    detector.eval()
    loader = DataLoader(
        dataset,
        batch_size=config.evaluation.batch_size,
        sampler=ShardSampler(len(dataset), group.rank, group.world),
        num_workers=min(config.data.workers, len(dataset) // config.evaluation.batch_size),
        collate_fn=detector.collate,
        pin_memory=group.device.type == "cuda",
        worker_init_fn=start_worker,
    )
    several = len(detector.class_names) > 2
    score = detector.class_probabilities if several else detector.predict
    indices, scores, errors = [], [], []
    for batch in _progress(loader, what, group):
        errors += batch.pop("errors")
        if "index" not in batch:
            continue
        indices.append(batch["index"])
        with autocast(config.trainer.precision, group.device):
            scores.append(score(to_device(batch, group.device, inputs, detector.memory_format)))
    own = (
        torch.cat(indices).tolist() if indices else [],
        torch.cat(scores).float().cpu().numpy() if scores else np.empty(0),
        errors,
    )
    return _merge(group.gather(own), dataset, config, what, detector.class_names if several else ())


def _merge(
    shares: list[tuple[list[int], np.ndarray, list[tuple[int, str]]]],
    dataset: FaceDataset,
    config: RunConfig,
    what: str,
    classes: tuple[str, ...] = (),
) -> Scored:
    """All shares in dataset order; a row's value is P(fake), or with ``classes`` the probability of each."""
    score_of: dict[int, Any] = {}
    missing: dict[int, str] = {}
    for indices, scores, errors in shares:
        assert not score_of.keys() & set(indices), "a sample was scored twice"
        score_of.update(zip(indices, scores, strict=True))
        missing.update(errors)
    assert len(score_of) + len(missing) == len(dataset), "a sample was lost"
    reasons = tuple(missing[index] for index in sorted(missing))
    if reasons and not config.evaluation.allow_missing:
        raise DataError(
            f"{what}: {len(reasons)} of {len(dataset)} samples cannot be read (first: {reasons[0]}). "
            "Nothing was scored. Continue anyway: --allow-missing"
        )
    if not score_of:
        raise DataError(f"{what}: none of {len(dataset)} samples can be read (first: {reasons[0]}).")
    if reasons:
        logger.warning("{}: {} of {} samples cannot be read; first: {}", what, len(reasons), len(dataset), reasons[0])
    order = sorted(score_of)
    values = np.array([score_of[i] for i in order], dtype=np.float64)
    scores = values[:, 1:].sum(1).clip(max=1.0) if classes else values
    rows = [
        (dataset.dataset_name(i), *dataset.describe(i), int(dataset.labels[i]), float(value))
        for i, value in zip(order, scores, strict=True)
    ]
    predictions = Predictions.from_rows(rows)
    if classes:
        predictions = predictions.with_classes(classes, [dataset.kind_name(i) or "unknown" for i in order], values)
    bad = np.flatnonzero(~((predictions.score >= 0) & (predictions.score <= 1)))
    if len(bad):
        row = rows[int(bad[0])]
        raise TrainingError(
            f"{what}: {len(bad)} scores are NaN or outside [0, 1] (first: {row[1]}/{row[2]} = {row[4]}). "
            "The weights are broken, or the detector's predict() does not return P(fake)."
        )
    return Scored(predictions, reasons)


def _progress(loader: Iterable[dict[str, Any]], what: str, group: Processes) -> Iterable[dict[str, Any]]:
    return tqdm(
        loader, desc=f"scoring {what}", unit="batch", disable=not (group.is_main and sys.stderr.isatty()), leave=False
    )
