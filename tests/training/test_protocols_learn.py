"""Every protocol on the demo worlds, as a user runs it: it must learn, not only run. Bounds are well off chance.

To tune a case: ``scale`` sets how many people its worlds have, ``overrides`` the length of its run, ``least`` and
``most`` what it has to reach.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.config import CONFIG_DIR
from benchmark.data.cards import parse_word
from benchmark.protocols import get_protocol
from benchmark.results import read_result
from training import train

pytestmark = [pytest.mark.slow, pytest.mark.all_cores]


@dataclass(frozen=True)
class Case:
    """One protocol with a small network.

    Attributes:
        protocol, config: names of files in ``configs``.
        scale: of the worlds; 1 = as shipped.
        overrides: settings that make it short.
        least: lower bounds of ``selection`` (validation value of the selected checkpoint), of ``video_auc`` (mean over
            the test sets, or over the folds).
        most: upper bounds of ``hter@dev`` and ``hter@target_eer``, means over the folds.
    """

    protocol: str
    config: str
    scale: float = 1.0
    overrides: tuple[str, ...] = ()
    least: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)


CASES = [
    Case("dfd", "demo", overrides=("schedule.epochs=5",), least={"selection": 0.75, "video_auc": 0.6}),
    Case("diff", "demo", overrides=("schedule.epochs=10",), least={"video_auc": 0.58}),
    Case(
        "fas_mcio",
        "demo_fas",
        least={"video_auc": 0.65},
        most={"hter@dev": 0.42, "hter@target_eer": 0.40},
    ),
]


def words_of(protocol: str) -> set[str]:
    folds = get_protocol(protocol).runs_in("demo").values()
    return {word for fold in folds for word in (*fold.train, *(fold.val or ()), *fold.test)}


@pytest.fixture(autouse=True)
def all_cores():
    """These runs are long enough for more than the one thread that the other tests have."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Builds the demo data sets of some words at a scale, each once."""
    from preprocessing.demo.build import build_world

    root = tmp_path_factory.mktemp("worlds")

    def build(words: set[str], scale: float) -> Path:
        folder = root / f"scale_{scale}"
        names = {parse_word(word, folder / "indexes").card.name for word in words}
        for name in sorted(names):
            build_world(name, folder / "data", folder / "indexes", scale=scale, progress=False)
        return folder

    return build


def figures(run: Path) -> dict[str, float]:
    """What the cases have bounds for."""
    if (run / "summary.json").is_file():
        mean: dict[str, float] = json.loads((run / "summary.json").read_text())["mean"]["selected"]
        return mean
    results = [read_result(path) for path in (run / "results").glob("*.json")]
    selected = json.loads((run / "checkpoints" / "best.json").read_text())["value"]
    return {
        "selection": selected,
        "video_auc": float(np.mean([result["metrics"]["video"]["auc"] for result in results])),
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.protocol)
def test_the_protocol_learns(case, worlds, tmp_path):
    folder = worlds(words_of(case.protocol), case.scale)
    paths = [f"paths.data={folder / 'data'}", f"paths.indexes={folder / 'indexes'}", f"paths.runs={tmp_path}"]
    detector = CONFIG_DIR / f"{case.config}.yaml"
    arguments = ["--detector", str(detector), "--protocol", case.protocol, "--world", "demo", *paths, *case.overrides]
    assert train.run(*train.parse(arguments)) == 0
    reached = figures(tmp_path / case.config)
    for name, bound in case.least.items():
        assert reached[name] > bound, name
    for name, bound in case.most.items():
        assert reached[name] < bound, name


TINY = (
    "backbone={name: fsfm_vit_tiny_patch16, patch_size: 8, embed_dim: 48, depth: 2, num_heads: 4}",
    "data.image_size=72",
    "data.normalize=half",
    "data.workers=0",
    "data.frames={train: 1, val: 1, test: 1}",
    "schedule={name: cosine, steps: 2}",
)


@pytest.mark.parametrize("protocol", ["dfd", "diff", "fas_mcio"])
def test_the_published_recipe_made_small_runs_every_protocol(protocol, worlds, tmp_path):
    """The command of the documentation: a published configuration, a tiny network, two steps."""
    folder = worlds(words_of(protocol), 1.0)
    paths = [f"paths.data={folder / 'data'}", f"paths.indexes={folder / 'indexes'}", f"paths.runs={tmp_path}"]
    arguments = ["--detector", str(CONFIG_DIR / "fsfm.yaml"), "--protocol", protocol, "--world", "demo", *paths, *TINY]
    assert train.run(*train.parse(arguments)) == 0
    results = sorted(path.stem for path in (tmp_path / "fsfm").rglob("results/*.json"))
    expected = {
        word.replace("/", "_") for fold in get_protocol(protocol).runs_in("demo").values() for word in fold.test
    }
    assert results == sorted(expected)
