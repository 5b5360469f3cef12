"""perf/vb_generalisation.py: equal runs with and without blending, and the table over them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmark.config import Settings

TINY = """\
detector: {name: mean_pool}
backbone: {name: fsfm_vit_tiny_patch16, patch_size: 8, embed_dim: 48, depth: 1, num_heads: 4}
augmentation: {name: flip}
data: {image_size: 32, normalize: half, clip: {length: 4}, workers: 0, frames: {train: 4, val: 4, test: 4}}
optimizer: {lr: 1e-3}
schedule: {epochs: 9, warmup_epochs: 2}
trainer: {batch_size: 4, precision: fp32, device: cpu}
"""


@pytest.fixture
def script(perf_script: Callable[[str], ModuleType]) -> ModuleType:
    return perf_script("vb_generalisation")


def test_both_kinds_of_configuration_give_the_same_variants(script: ModuleType) -> None:
    plain = script.variants(Settings({"augmentation": {"name": "flip"}}), [0.5, 1])
    blending = {"name": "video_blend", "alpha": 1.0, "then": {"name": "flip"}}
    assert plain["without"] == {"name": "flip"}
    assert plain["share 0.5"] == {"name": "video_blend", "forged_share": 0.5, "then": {"name": "flip"}}
    assert list(plain) == ["without", "share 0.5", "share 1"]
    other = script.variants(Settings({"augmentation": blending}), [1])
    assert other == {"without": {"name": "flip"}, "share 1": {**blending, "forged_share": 1}}


def test_every_seed_may_have_its_own_weights_and_the_last_ones_are_tested(script: ModuleType, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY)
    command = ["--detector", str(config), "--seeds", "3", "backbone.weights=runs/frames-{seed}", "data.train=[]"]
    options, overrides = script.parse(command)
    run, _ = script.run_config(options, overrides, {"name": "flip"}, "without-seed3", 3)
    assert run.backbone.options["weights"] == "runs/frames-3"
    assert (run.trainer.seed, run.evaluation.select.metric, run.data.balance) == (3, "last", "class")


def test_the_table_shows_seeds_mean_spread_and_gain(script: ModuleType) -> None:
    found = {
        "without": {0: {"A": 0.5}, 1: {"A": 0.6}},
        "share 1": {0: {"A": 0.7}, 1: {"A": 0.6}},
    }
    lines = script.table(found).splitlines()
    assert lines[2] == "| A | without | 50.00 | 60.00 | 55.00 | 7.07 |  |"
    assert lines[3] == "| A | share 1 | 70.00 | 60.00 | 65.00 | 7.07 | +10.00 ± 10.00 |"


def test_a_tiny_run(script: ModuleType, make_world: Callable[..., Any], tmp_path: Path, capsys: Any) -> None:
    world = make_world(tmp_path, {"train": (4, 4), "val": (2, 2), "test": (2, 2)}, frames=5, parts=("landmarks",))
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY)
    command = ["--detector", str(config), "--train", "Toy", "--test", "Toy", "--seeds", "0", "--steps", "2"]
    command += ["--runs", str(tmp_path / "runs"), *world.overrides()]
    assert script.run(*script.parse(command)) == 0
    first = capsys.readouterr().out
    assert "| Toy | share 0.5 |" in first
    runs = {path.name: json.loads((path / "log.jsonl").read_text().splitlines()[-1]) for path in
            (tmp_path / "runs").glob("*seed0")}  # fmt: skip
    assert runs.keys() == {"without-seed0", "share_0.5-seed0"}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.safetensors")}
    assert script.run(*script.parse(command)) == 0
    assert first.splitlines()[-3:] == capsys.readouterr().out.splitlines()[-3:]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.safetensors")}, "reused"
