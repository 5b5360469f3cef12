"""perf/pretraining_transfer.py: the same few labels for every start, and one table over seeds and processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmark.data.readers import load_word
from benchmark.errors import DataError
from benchmark.schema import PathsConfig
from preprocessing.demo.build import build_world


@pytest.fixture
def script(perf_script: Callable[[str], ModuleType]) -> ModuleType:
    return perf_script("pretraining_transfer")


@pytest.fixture
def paths(tmp_path: Path) -> PathsConfig:
    for world, scale in (("demo/Faces", 0.01), ("demo/FF++", 0.03), ("demo/CDFv2", 0.05)):
        build_world(world, tmp_path / "data", tmp_path / "json", scale=scale, workers=1, progress=False)
    return PathsConfig(data=tmp_path / "data", indexes=tmp_path / "json", runs=tmp_path / "runs")


def test_few_labels_are_drawn_by_the_seed_and_leave_other_splits_alone(script: ModuleType, paths: PathsConfig) -> None:
    def listed(split: str) -> list[Any]:
        return list(load_word("demo/FF++", split, paths, {})[1].records)

    whole, val, index = listed("train"), listed("val"), paths.indexes / "demo" / "FF++.json"
    original = index.read_bytes()
    drawn = {}
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        index.write_bytes(original)
        script.few_labels(paths, "demo/FF++", 3, seed)
        drawn[name] = listed("train")
    assert [record.label for record in drawn["first"]].count(0) == 3
    assert len(drawn["first"]) == 6
    assert all(record in whole for record in drawn["first"])
    assert drawn["first"] == drawn["again"] != drawn["other"]
    assert listed("val") == val
    with pytest.raises(DataError, match=r"demo/FF\+\+ has only 3 training videos of class 0, fewer than 4"):
        script.few_labels(paths, "demo/FF++", 4, 0)


def test_a_tiny_table(script: ModuleType, paths: PathsConfig, tmp_path: Path, capsys: Any) -> None:
    words = ["--seeds", "0", "--labels", "2", "--pretrain-steps", "2", "--finetune-steps", "2", "--test", "demo/CDFv2"]
    words += ["--pretrain", "trainer.batch_size=4", "--finetune", "trainer.batch_size=4"]
    words += ["--data", str(paths.data), "--indexes", str(paths.indexes), "--work", str(tmp_path / "work")]
    assert script.compare(script.parse(words)) == 0
    first = capsys.readouterr().out
    assert "2 + 2 labelled videos of demo/FF++, 2 steps" in first
    differences = [f"FSFM - {start}" for start in script.COMPARED if start != "FSFM"]
    rows = [line.split(" | ")[0] for line in first.splitlines()[-5:]]
    assert rows == [f"| {start}" for start in [*script.COMPARED, *differences]]
    runs = {path.name for path in (tmp_path / "work" / "runs").iterdir()} - {".statistics"}
    assert len(runs) == 5, "two pre-trainings, three fine-tunings"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.safetensors")}
    assert script.compare(script.parse(words)) == 0
    assert capsys.readouterr().out.splitlines()[-7:] == first.splitlines()[-7:]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.safetensors")}, "reused"
    words[words.index("--finetune-steps") + 1] = "3"
    assert script.compare(script.parse(words)) == 0
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.safetensors")}
    assert {path for path in after if "pretrain-" in str(path)} == set(before) & set(after), "other steps: trained anew"
    assert all(after[path] == before[path] for path in set(before) & set(after))
    assert script.compare(script.parse([*words, "--starts", "FSFM's masks alone", "FSFM without its masks"])) == 0
    rows = [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines()[-2:]]
    assert rows == ["| FSFM's masks alone", "| FSFM without its masks"]


def test_the_table_compares_within_a_seed(script: ModuleType) -> None:
    def seed(*values: float) -> dict[str, dict[str, float]]:
        return {start: {"demo/CDFv2": value} for start, value in zip(script.COMPARED, values, strict=True)}

    lines = script.table({0: seed(0.5, 0.6, 0.7), 1: seed(0.5, 0.6, 0.64)}).splitlines()
    assert lines[4] == "| FSFM | 0.670 ± 0.042 (0.700, 0.640) |"
    assert lines[6] == "| FSFM - plain masked auto-encoder | +0.070 ± 0.030 |"
