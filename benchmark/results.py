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

_DETECTION_COLUMNS = {
    f"{level}_{name}": f"{level}\n{name.upper()}"
    for level in ("frame", "video")
    for name in ("auc", "eer", "ap", "acc")
}
_FAS_COLUMNS = {
    "hter@dev": "HTER\n(dev)", "hter@target_eer": "HTER\n(target)", "video_auc": "video\nAUC", "tpr@fpr1": "TPR@\nFPR1",
    "video_eer": "video\nEER", "apcer": "APCER", "bpcer": "BPCER", "acer": "ACER",
}  # fmt: skip


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


def figures(result: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of a result by name, fractions: ``video_auc``, ``frame_eer``, ..., and those of anti-spoofing.

    None is a metric that is undefined on this data; one that does not apply (an error rate at a development
    threshold where there is none) is absent.
    """
    levels = result["metrics"]
    values = {f"{level}_{name}": value for level in ("frame", "video") for name, value in levels[level].items()}
    fas = (result.get("operating_point") or {}).get("fas")
    if fas:
        values |= {name: value for name, value in fas.items() if fas["threshold@dev"] is not None or "@dev" not in name}
    recent = (result.get("selection") or {}).get("mean_of_last_evaluations")
    return values if recent is None else {**values, "mean_of_last_evaluations": recent}


def mean_figures(results: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Mean of every number over several results; absent where one of them lacks it, None where one is undefined."""
    rows = [figures(result) for result in results]
    means: dict[str, float | None] = {}
    for name in rows[0]:
        if all(name in row for row in rows):
            values = [row[name] for row in rows]
            means[name] = None if None in values else sum(v for v in values if v is not None) / len(values)
    return means


def result_table(
    results: Sequence[Mapping[str, Any]], means: Mapping[str, Mapping[str, float | None]] | None = None
) -> str:
    """The console table of several results; everything in percent.

    Args:
        results: contents of result files; with anti-spoofing blocks the table shows HTER and its relatives.
        means: more rows by name, see ``mean_figures``.
    """
    from rich.console import Console
    from rich.table import Table

    is_fas = any((result.get("operating_point") or {}).get("fas") for result in results)
    columns = _FAS_COLUMNS if is_fas else _DETECTION_COLUMNS
    table = Table(header_style="bold")
    table.add_column("test set")
    for name in ("frames", "videos"):
        table.add_column(name, justify="right")
    for name, heading in columns.items():
        table.add_column(heading, justify="right", style="bold" if name in {"video_auc", "hter@dev"} else None)
    for result in results:
        missing = result["counts"]["missing"]
        samples = str(result["counts"]["samples"]) + (f" (-{missing})" if missing else "")
        values = figures(result)
        table.add_row(
            result["dataset"], samples, str(result["counts"]["videos"]), *(_percent(values, name) for name in columns)
        )
    for name, mean in (means or {}).items():
        table.add_row(name, "", "", *(_percent(mean, column) for column in columns))
    console = Console(width=120, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def confusion_table(result: Mapping[str, Any]) -> str:
    """The console table of a result with several kinds of fakes: true classes by called ones, videos."""
    from rich.console import Console
    from rich.table import Table

    names, level = result["classes"]["classes"], result["classes"]["video"]
    table = Table(title=f"{result['dataset']}: videos by true and called class", title_justify="left")
    table.add_column("true")
    for name in (*names, "recall %", "precision %"):
        table.add_column(name, justify="right")
    for name, row in zip(names, level["confusion"], strict=True):
        of_class = level["per_class"][name]
        table.add_row(name, *map(str, row), _percent(of_class, "recall"), _percent(of_class, "precision"))
    console = Console(width=120, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _percent(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "-"
    return "undefined" if values[name] is None else f"{100 * values[name]:.2f}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
