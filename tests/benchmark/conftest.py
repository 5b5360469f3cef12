"""Result files for tests, written by the project's own writers from seeded synthetic predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark import metrics_fas
from benchmark.data.store import file_hash
from benchmark.evaluation import summarise, video_classes, video_scores
from benchmark.predictions import Predictions
from benchmark.results import SCHEMA, result_path, write_result

CLASSES = ("FF-DF", "FF-F2F", "FF-FS", "FF-NT")


def make_predictions(
    dataset: str,
    *,
    videos: int = 40,
    frames: int = 4,
    skill: float = 1.5,
    seed: int = 0,
    classes: Sequence[str] = CLASSES,
) -> Predictions:
    """Half real, half fake videos; frames of a video share a part of their score."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(videos):
        label = number % 2
        name = classes[number // 2 % len(classes)] if label else "real"
        base = skill * (label - 0.5) + rng.normal()
        for frame in range(frames):
            score = 1 / (1 + np.exp(-(base + 0.5 * rng.normal())))
            rows.append((dataset, f"{name}/{number:03d}", f"{frame:03d}", label, float(np.round(score, 6))))
    return Predictions.from_rows(rows)


def write_result_file(
    root: Path,
    name: str,
    dataset: str,
    protocol: str = "dfd",
    *,
    skill: float = 1.5,
    seed: int = 0,
    fas: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """One result file with its predictions in ``root/name``, as training/test.py leaves them."""
    part = make_predictions(dataset, skill=skill, seed=seed, classes=("print", "replay") if fas else CLASSES)
    file = root / name / "predictions" / f"{dataset.replace('/', '_')}.csv"
    part.write(file)
    facts = summarise(part, replicates=200)
    point = None
    if fas:
        video, types = video_scores(part), video_classes(part)
        point = {"fas": metrics_fas.summary(video, types, 0.5)}
        facts["intervals"]["fas"] = metrics_fas.intervals(video, types, 0.5, replicates=200)
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "dataset": dataset,
        "detector": "fsfm",
        "protocol": {"name": protocol, "version": 1, "fold": "", "world": None},
        **facts,
        "counts": {"samples": len(part), "videos": 40, "missing": 0},
        "missing": [],
        "data": {
            "fingerprint": f"samples of {dataset}",
            "origin": {dataset: {"index_sha256": "ab", "preprocessing": {"settings": {"crop": "dlib", "size": 224}}}},
        },
        "selection": {"rule": "validation", "metric": "auc", "level": "video", "checkpoint": "best", "step": 9},
        "trained_on": ["FF++@c23"],
        "weights": {"file": "w.safetensors", "sha256": "cd"},
        "parameters": 21_666_434,
        "samples_per_second": 512.5,
        "predictions": {"file": str(file), "sha256": file_hash(file)},
        "input": {"size": 224, "mean": [0.5] * 3, "std": [0.5] * 3},
        "seed": seed,
        "config": {
            "name": name,
            "detector": {"name": "fsfm"},
            "backbone": {"name": "fsfm_vit_small_patch16"},
            "data": {"frames": {"test": 4}, "frame_select": "uniform", "clip": None},
            "optimizer": {"lr": float(f"{seed + 1}e-4")},
        },
        "operating_point": point,
        "time": "2026-01-01T00:00:00+00:00",
        "code": {"commit": "e" * 40, "dirty": False},
        "versions": {"python": "3.12", "torch": "2.8"},
        "hardware": {"cpu": "test", "gpu": None, "threads": 1},
    }
    result.update(changes or {})
    path = result_path(root / name, dataset)
    write_result(path, result)
    return path


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """``write_result_file``."""
    return write_result_file


@pytest.fixture(scope="session")
def scored() -> Callable[..., Predictions]:
    """``make_predictions``."""
    return make_predictions
