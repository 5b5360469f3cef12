"""Scores of a detector on development and test data, and the result files made of them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from benchmark import metrics_fas
from benchmark.data.datasets import FaceDataset
from benchmark.data.store import file_hash
from benchmark.evaluation import flat_metrics, metrics_of, summarise, video_scores
from benchmark.metrics_classes import class_summary
from benchmark.metrics_fas import equal_error_point, error_rates
from benchmark.predictions import Predictions
from benchmark.results import (
    SCHEMA,
    confusion_table,
    file_name,
    now,
    provenance,
    result_path,
    result_table,
    write_result,
)
from benchmark.schema import RunConfig
from detectors.base import Detector
from training.distributed import Processes
from training.evaluate import score_dataset
from training.inputs import InputFormat
from training.pipeline import holds_out
from training.trainer import Validator


def validator(
    detector: Detector, dataset: FaceDataset, config: RunConfig, inputs: InputFormat, group: Processes
) -> Validator:
    """A function that scores the validation set and returns its metrics."""

    def validate() -> dict[str, float | None]:
        scored = score_dataset(detector, dataset, config, inputs, group, "validation")
        video = video_scores(scored.predictions)
        hter = equal_error_point(1.0 - video.scores, video.labels == 0).hter
        return {**flat_metrics(metrics_of(scored.predictions)), "hter": hter}

    return validate


@dataclass(frozen=True)
class Threshold:
    """An operating point and where it comes from.

    Attributes:
        value: a score above it means fake.
        origin: the data and the rule it was taken from.
    """

    value: float
    origin: str


def operating_threshold(
    detector: Detector, dataset: FaceDataset, config: RunConfig, inputs: InputFormat, group: Processes
) -> Threshold:
    """Video-level threshold on P(fake) at the equal-error point of the validation set.

    The rule is that of the FAS tables (last threshold of a 1e-4 grid on P(real) with the smallest |FRR - FAR|).
    """
    scored = score_dataset(detector, dataset, config, inputs, group, "validation")
    video = video_scores(scored.predictions)
    point = equal_error_point(1.0 - video.scores, video.labels == 0)
    names = ", ".join(sorted({video.dataset for video in dataset.videos}))
    part = "development part" if holds_out(config, detector) else "val split"
    return Threshold(1.0 - point.threshold, f"equal error rate of the videos in the {part} of {names}")


def score_test_sets(
    detector: Detector,
    config: RunConfig,
    inputs: InputFormat,
    datasets: dict[str, FaceDataset],
    run: Path,
    group: Processes,
    weights: Path | None,
    threshold: Threshold | None = None,
    selection: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Score every test set, write predictions and result files, return the results.

    Args:
        detector: trained; on the process's device.
        config, inputs, group: as everywhere.
        datasets: test sets by dataset word.
        run: run folder.
        weights: file the detector was loaded from.
        threshold: operating point from development data, if there is any.
        selection: how the weights were chosen.

    Files: ``run/predictions/NAME.csv`` and ``run/results/NAME.json``.
    """
    results = []
    trained = training_facts(weights)
    for word, dataset in datasets.items():
        started = time.monotonic()
        scored = score_dataset(detector, dataset, config, inputs, group, word)
        seconds = time.monotonic() - started
        if not group.is_main:
            continue
        path = run / "predictions" / f"{file_name(word)}.csv"
        scored.predictions.write(path)
        result = {
            "schema": SCHEMA,
            "dataset": word,
            "detector": config.detector.name,
            "protocol": config.protocol.model_dump() if config.protocol else None,
            **summarise(scored.predictions),
            "counts": {
                **dataset.summary(),
                "samples": len(scored.predictions),
                "videos": len(set(scored.predictions.video)),
                "missing": len(scored.missing),
            },
            "missing": list(scored.missing[:100]),
            "data": {"fingerprint": dataset.fingerprint(), "origin": dataset.origin},
            "selection": selection or trained.get("selection"),
            "trained_on": trained.get("datasets"),
            "weights": {"file": str(weights) if weights else None, "sha256": file_hash(weights) if weights else None},
            "parameters": sum(p.numel() for p in detector.parameters()),
            "samples_per_second": round(len(dataset) / seconds, 2),
            "predictions": {"file": str(path), "sha256": file_hash(path)},
            "input": {"size": inputs.size, "mean": list(inputs.mean), "std": list(inputs.std)},
            "seed": config.trainer.seed,
            "config": config.resolved(),
            "time": now(),
            **provenance(),
        }
        for level, values in result["metrics"].items():
            if values["auc"] is None:
                logger.warning("{}: only one class at {} level; AUC, EER and AP are undefined.", word, level)
        types = attack_types(scored.predictions, dataset)
        result["operating_point"] = _operating_point(scored.predictions, types, threshold, config)
        if scored.predictions.classes:
            result["classes"] = class_summary(scored.predictions)
        if config.evaluation.metrics == "fas":
            result["intervals"]["fas"] = _fas_intervals(scored.predictions, types, threshold)
        write_result(result_path(run, word), result)
        results.append(result)
    return results


def attack_types(predictions: Predictions, dataset: FaceDataset) -> list[str]:
    """Attack type of every video in first-seen order: what its index says (``facts.attack``), else its class string."""
    records = {video.record.video_id: video.record for video in dataset.videos}
    videos = [records[video] for video in dict.fromkeys(predictions.video)]
    return [str(record.extra.get("facts", {}).get("attack") or record.cls) for record in videos]


def _operating_point(
    predictions: Predictions, types: Sequence[str], threshold: Threshold | None, config: RunConfig
) -> dict[str, Any] | None:
    """Video-level error rates at the development threshold; the FAS block when the protocol asks for it."""
    video = video_scores(predictions)
    live_threshold = None if threshold is None else 1.0 - threshold.value
    point: dict[str, Any] = {}
    if threshold is not None and live_threshold is not None:
        rates = error_rates(1.0 - video.scores, video.labels == 0, live_threshold)
        point = {"threshold": threshold.value, "origin": threshold.origin, "far": rates.far, "frr": rates.frr}
    if config.evaluation.metrics == "fas":
        point["fas"] = metrics_fas.summary(video, types, live_threshold)
    return point or None


def _fas_intervals(predictions: Predictions, types: Sequence[str], threshold: Threshold | None) -> dict[str, Any]:
    live_threshold = None if threshold is None else 1.0 - threshold.value
    return metrics_fas.intervals(video_scores(predictions), types, live_threshold)


def report(results: Sequence[dict[str, Any]], run: Path) -> None:
    """Print the result table and where the files are."""
    if results:
        tables = [result_table(results), *(confusion_table(result) for result in results if "classes" in result)]
        print(*tables, sep="", end="")  # noqa: T201 - the program's output, not a log line
        logger.info("Predictions: {}  Results: {}", run / "predictions", run / "results")


def training_facts(weights: Path | None) -> dict[str, Any]:
    """What a weights file of this project says about its training: ``datasets`` and ``selection``; else nothing."""
    if weights is None or weights.suffix != ".safetensors":
        return {}
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        facts: dict[str, Any] = json.loads((file.metadata() or {}).get("training", "{}"))
    return facts
