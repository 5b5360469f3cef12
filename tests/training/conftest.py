"""Helpers of the training tests: sessions in this process, the real commands in others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from loguru import logger
from safetensors.torch import load_file

from benchmark.registry import load_plugin
from benchmark.schema import load_run_config
from training.distributed import Processes
from training.session import Session

ROOT = Path(__file__).parents[2]
HOOKED = Path(__file__).parent / "plugins" / "hooked.py"


@pytest.fixture(scope="session")
def hooked() -> Path:
    """The plugin file with detector ``hooked``, loaded in this process too."""
    load_plugin(str(HOOKED))
    return HOOKED


@pytest.fixture
def session(toy_config) -> Callable[..., Session]:
    """Builds a session on the toy data from overrides; run folder ``tmp_path/runs/toy`` unless ``name=`` says else."""

    def make(*overrides: str) -> Session:
        config, settings = load_run_config(toy_config, list(overrides))
        return Session(config, settings, Processes(0, 1, torch.device("cpu")))

    return make


@pytest.fixture
def log_lines() -> list[str]:
    """What was logged during the test."""
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(message.record["message"]), level="DEBUG")
    yield lines
    logger.remove(handler)


def final_weights(run: Path, which: str = "last") -> dict[str, torch.Tensor]:
    """Weights behind a pointer of a run."""
    pointer = json.loads((run / "checkpoints" / f"{which}.json").read_text())
    return load_file(run / "checkpoints" / pointer["folder"] / "model.safetensors")


def assert_same_weights(one: Path, other: Path, which: str = "last") -> None:
    """Bitwise."""
    first, second = final_weights(one, which), final_weights(other, which)
    assert first.keys() == second.keys()
    different = [key for key in first if not torch.equal(first[key], second[key])]
    assert different == []


def losses_of(run: Path, kind: str = "train") -> list[float]:
    """Losses in the journal, in order."""
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if record["kind"] == kind]


def command(
    script: str, *arguments: object, processes: int = 1, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``training/<script>`` as a user would, on one thread per process."""
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return subprocess.run(
        [*start, str(ROOT / "training" / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        timeout=300,
    )


@pytest.fixture(scope="session")
def helpers() -> type:
    """The functions above, for test files (they cannot import a conftest)."""
    return type("Helpers", (), {
        "final_weights": staticmethod(final_weights),
        "assert_same_weights": staticmethod(assert_same_weights),
        "losses_of": staticmethod(losses_of),
        "command": staticmethod(command),
    })  # fmt: skip


@pytest.fixture
def trained(session, tmp_path):
    """A finished toy run: its folder."""
    session("schedule.epochs=1").train_and_test(resume=False)
    return tmp_path / "runs" / "toy"
