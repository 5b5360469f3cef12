"""Every protocol on the demo worlds, as a user runs it: it must learn, not only run. Bounds are well off chance.

To tune a case: ``scale`` sets how many people its worlds have, ``overrides`` the length of its run, ``bounds`` what it
has to reach. A case whose worlds are not there is skipped with their names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmark.config import CONFIG_DIR
from benchmark.data.cards import parse_word
from benchmark.errors import DataError
from benchmark.protocols import get_protocol
from benchmark.results import read_result
from training import train

FAR_FROM_CHANCE = 0.65  # video AUC on unseen people
HTER_BELOW = 0.35


@dataclass(frozen=True)
class Case:
    """One protocol with a small network.

    Attributes:
        protocol, config: names of files in ``configs``.
        scale: of the worlds; 1 = as shipped.
        bounds: test set (or ``mean`` over folds) to the least video AUC; for anti-spoofing the largest HTER.
        overrides: settings that make it short.
    """

    protocol: str
    config: str
    scale: float
    bounds: dict[str, float]
    overrides: tuple[str, ...] = field(default=())


SHORT = ("schedule.epochs=5", "data.frames.train=4", "data.frames.test=4", "data.frames.val=4")
CASES = [
    Case("dfd", "demo", 0.3, {"demo_CDFv2": 0.55, "demo_DFDC": 0.55}, SHORT),
    Case(
        "diff",
        "demo",
        0.3,
        dict.fromkeys(("demo_DiFF_T2I", "demo_DiFF_I2I", "demo_DiFF_FS", "demo_DiFF_FE"), 0.5),
        SHORT,
    ),
    Case("fas_mcio", "demo_fas", 0.5, {"mean": HTER_BELOW}),
]


def words_of(protocol: str) -> set[str]:
    folds = get_protocol(protocol).runs_in("demo").values()
    return {word for fold in folds for word in (*fold.train, *(fold.val or ()), *fold.test)}


def build_worlds(words: set[str], root: Path, scale: float) -> None:
    """The demo data sets of some words, smaller than shipped; skips when one is not known."""
    from preprocessing.demo.build import build_world

    names = set()
    for word in sorted(words):
        try:
            names.add(parse_word(word, root / "indexes").card.name)
        except DataError as error:
            pytest.skip(f"demo world missing: {error}")
    for name in sorted(names):
        build_world(name, root / "data", root / "indexes", scale=scale, workers=1, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.protocol)
def test_the_protocol_learns(case, tmp_path):
    build_worlds(words_of(case.protocol), tmp_path, case.scale)
    paths = [f"paths.{name}={tmp_path / name}" for name in ("data", "indexes", "runs")]
    detector = CONFIG_DIR / f"{case.config}.yaml"
    arguments = ["--detector", str(detector), "--protocol", case.protocol, "--world", "demo", *paths, *case.overrides]
    assert train.run(*train.parse(arguments)) == 0
    run = tmp_path / "runs" / case.config
    for name, bound in case.bounds.items():
        if name == "mean":
            mean = json.loads((run / "summary.json").read_text())["mean"]["selected"]
            assert mean["hter@dev"] < bound
            assert mean["hter@target_eer"] < bound
            assert mean["video_auc"] > FAR_FROM_CHANCE
        else:
            assert read_result(run / "results" / f"{name}.json")["metrics"]["video"]["auc"] > bound, name
