"""Result files: metrics of one dataset with everything needed to trace them."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmark.data.store import atomic_write_text
from benchmark.errors import DataError

SCHEMA = 2
READABLE = (1, 2)
"""Schemas that can be read; the first had no intervals, ROC curves, manipulations and trained_on."""
LIBRARIES = (
    "face-security-benchmark", "torch", "torchvision", "timm", "numpy", "opencv-python-headless", "albumentations",
    "Pillow", "scikit-learn", "lmdb",
)  # fmt: skip


def file_name(dataset: str) -> str:
    """A dataset word as a file name: ``demo/FF++@c40`` becomes ``demo_FF++@c40``."""
    return dataset.replace("/", "_")


def result_path(run: Path, dataset: str) -> Path:
    """Where the result file of a dataset word is in a run folder."""
    return run / "results" / f"{file_name(dataset)}.json"


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result file atomically, keys in a fixed order."""
    atomic_write_text(path, json.dumps(result, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_result(path: Path) -> dict[str, Any]:
    """Read a result file.

    Raises:
        DataError: missing, broken, or of another schema version.
    """
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable result file ({error}).") from error
    if not isinstance(result, dict) or result.get("schema") not in READABLE:
        found = result.get("schema") if isinstance(result, dict) else None
        raise DataError(f"{path}: result schema {found!r}; this version reads {' and '.join(map(str, READABLE))}.")
    return result


@cache
def provenance() -> dict[str, Any]:
    """Code revision, library versions and hardware of this process."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "code": git_revision(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
        "hardware": {"cpu": platform.processor() or platform.machine(), "gpu": gpu, "threads": torch.get_num_threads()},
    }


def now() -> str:
    """Time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def git_revision() -> dict[str, Any]:
    """Commit of the source tree and whether it has uncommitted changes; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    try:
        commit = _git(root, "rev-parse", "HEAD")
        dirty = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": dirty}


def result_table(results: Sequence[Mapping[str, Any]]) -> str:
    """The console table of several results; AUC, AP and accuracy and EER in percent."""
    from rich.console import Console
    from rich.table import Table

    table = Table(header_style="bold")
    table.add_column("test set")
    for name in ("frames", "videos"):
        table.add_column(name, justify="right")
    for level in ("frame", "video"):
        for name in ("AUC", "EER", "AP", "ACC"):
            style = "bold" if (level, name) == ("video", "AUC") else None
            table.add_column(f"{level}\n{name}", justify="right", style=style)
    for result in results:
        levels = result["metrics"]
        cells = [_percent(levels[level][name]) for level in ("frame", "video") for name in ("auc", "eer", "ap", "acc")]
        missing = result["counts"]["missing"]
        samples = str(result["counts"]["samples"]) + (f" (-{missing})" if missing else "")
        table.add_row(result["dataset"], samples, str(result["counts"]["videos"]), *cells)
    console = Console(width=120, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.2f}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
