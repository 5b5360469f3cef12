"""Predictions of outside tools: the samples list, every check, the result files, and the tutorial's script."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.__main__ import main
from benchmark.predictions import Predictions
from benchmark.results import read_result

ROOT = Path(__file__).parents[2]


@pytest.fixture
def protocol(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ntrain: [Toy]\ntest: [Toy]\n")
    return path


@pytest.fixture
def samples(toy_world, tmp_path):
    """The toy test set with a score for every frame."""
    path = tmp_path / "samples.csv"
    assert main(["samples", "Toy", "--frames", "4", "-o", str(path), *places(toy_world)]) == 0
    lines = path.read_text().splitlines()
    assert lines[0] == "dataset,video,frame,label,key"
    rng = np.random.default_rng(0)
    rows = [line.split(",") for line in lines[1:]]
    return [(row[0], row[1], row[2], int(row[3]), float(rng.beta(2 + 2 * int(row[3]), 3))) for row in rows]


def places(world):
    return ["--indexes", str(world.indexes), "--data", str(world.data)]


def evaluate(rows, protocol, world, tmp_path, *options):
    path = tmp_path / "meter.csv"
    Predictions.from_rows(rows).write(path)
    results = ["-o", str(tmp_path / "results")]
    arguments = ["evaluate", str(path), "--protocol", str(protocol), "--frames", "4", *results, *places(world)]
    return main([*arguments, *options])


def test_samples_are_those_of_the_test_set(samples):
    assert len(samples) == 35
    assert samples[0][:4] == ("Toy", "Toy_fake/test00", "000", 1)
    assert sum(row[3] for row in samples) == 19


def test_a_complete_file_becomes_a_result(samples, protocol, toy_world, tmp_path, capsys):
    assert evaluate(samples, protocol, toy_world, tmp_path, "--trained-on", "FF++@c23", "--selected-on", "test") == 0
    assert "Toy" in capsys.readouterr().out
    result = read_result(tmp_path / "results" / "meter" / "results" / "Toy.json")
    assert (result["detector"], result["trained_on"]) == ("meter", ["FF++@c23"])
    assert result["counts"] == {"samples": 35, "videos": 9, "missing": 0}
    assert result["data"]["checked"] is True
    assert len(result["data"]["fingerprint"]) == 64
    assert result["selection"] == {"rule": "published"}
    low, high = result["intervals"]["video"]["auc"]
    assert low <= result["metrics"]["video"]["auc"] <= high


def test_its_fingerprint_is_that_of_a_run_here(samples, protocol, toy_world, tmp_path):
    """So that the leaderboard can tell that the same samples were scored."""
    from benchmark.data.datasets import FaceDataset, select_videos
    from benchmark.data.readers import load_words
    from benchmark.data.transforms import EvalTransform
    from benchmark.schema import PathsConfig

    evaluate(samples, protocol, toy_world, tmp_path)
    result = read_result(tmp_path / "results" / "meter" / "results" / "Toy.json")
    paths = PathsConfig(data=toy_world.data, indexes=toy_world.indexes)
    dataset = FaceDataset(select_videos(load_words(["Toy"], "test", paths), 4, "uniform"), EvalTransform(32))
    assert result["data"]["fingerprint"] == dataset.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], "1 of 35 samples have no prediction (first: Toy_fake/test00/000)."),
        (lambda rows: [*rows, ("Toy", "Toy_fake/none", "000", 1, 0.5)], "1 of 36 predictions are for samples that are"),
        (lambda rows: [*rows, rows[0]], "sample Toy/Toy_fake/test00/000 is listed twice."),
        (
            lambda rows: [(*rows[0][:3], 0, rows[0][4]), *rows[1:]],
            "1 labels contradict the index (first: Toy_fake/test00/000 is 0, the index says 1).",
        ),
        (lambda rows: [("CDFv2", *row[1:]) for row in rows], "data set 'CDFv2' is not a test set of protocol"),
        (lambda rows: [], "holds no predictions"),
    ],
)
def test_what_does_not_fit_is_refused(samples, protocol, toy_world, tmp_path, capsys, change, message):
    assert evaluate(change(samples), protocol, toy_world, tmp_path) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_missing_samples_can_be_accepted_and_are_counted(samples, protocol, toy_world, tmp_path):
    assert evaluate(samples[2:], protocol, toy_world, tmp_path, "--allow-missing") == 0
    result = read_result(tmp_path / "results" / "meter" / "results" / "Toy.json")
    assert result["counts"]["missing"] == 2
    assert result["missing"] == ["Toy_fake/test00/000", "Toy_fake/test00/010"]


def test_a_test_set_without_predictions_is_an_error(samples, tmp_path, toy_world, capsys):
    protocol = tmp_path / "two.yaml"
    protocol.write_text("name: two\ntrain: [Toy]\ntest: [Toy, CDFv2]\n")
    assert evaluate(samples, protocol, toy_world, tmp_path) == 2
    assert "has no predictions for CDFv2" in capsys.readouterr().err
    assert evaluate(samples, protocol, toy_world, tmp_path, "--allow-missing") == 0


def test_without_an_index_the_samples_are_not_checked_and_the_result_says_so(samples, tmp_path, toy_world):
    protocol = tmp_path / "cdf.yaml"
    protocol.write_text("name: cdf\ntrain: [FF++]\ntest: [CDFv2]\n")
    rows = [("Celeb-DF-v2", *row[1:]) for row in samples]
    assert evaluate(rows, protocol, toy_world, tmp_path) == 0
    result = read_result(tmp_path / "results" / "meter" / "results" / "CDFv2.json")
    assert result["data"]["checked"] is False
    assert result["trained_on"] == ["FF++"]


def test_one_score_per_video(samples, protocol, toy_world, tmp_path):
    rows = [(*row[:2], "", *row[3:]) for row in {row[1]: row for row in samples}.values()]
    assert evaluate(rows, protocol, toy_world, tmp_path) == 0
    result = read_result(tmp_path / "results" / "meter" / "results" / "Toy.json")
    assert result["metrics"]["frame"]["auc"] is None
    assert result["metrics"]["video"]["auc"] is not None


def test_folds_and_anti_spoofing(samples, tmp_path, toy_world, capsys):
    protocol = tmp_path / "fas.yaml"
    protocol.write_text("name: fas\nmetrics: fas\nfolds:\n  A->B: {train: [Toy], test: [Toy]}\n")
    assert evaluate(samples, protocol, toy_world, tmp_path) == 2
    assert "choose one with --fold: A->B" in capsys.readouterr().err
    development = tmp_path / "dev.csv"
    Predictions.from_rows(samples).write(development)
    options = ("--fold", "A->B", "--development", str(development))
    assert evaluate(samples, protocol, toy_world, tmp_path, *options) == 0
    result = read_result(tmp_path / "results" / "meter" / "results" / "Toy.json")
    fas = result["operating_point"]["fas"]
    assert fas["hter@dev"] == fas["hter@target_eer"]  # the same predictions gave the threshold
    assert result["intervals"]["fas"]["hter@dev"][0] <= fas["hter@dev"]


def tutorial_script():
    text = (ROOT / "docs" / "own_predictions.md").read_text(encoding="utf-8")
    script = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    assert len(script.splitlines()) <= 22
    assert "benchmark" not in re.sub(r'"""(.*?)"""', "", script)
    return script


def test_the_tutorial(toy_world, protocol, tmp_path, capsys):
    """The script of the page, from a folder outside the project, up to the leaderboard."""
    (tmp_path / "blur_meter.py").write_text(tutorial_script(), encoding="utf-8")
    listing, scores, site = (str(tmp_path / name) for name in ("samples.csv", "predictions.csv", "site"))
    where = places(toy_world)
    assert main(["samples", "Toy", "--frames", "4", "-o", listing, *where]) == 0
    command = [sys.executable, "blur_meter.py", listing, str(toy_world.data), scores]
    subprocess.run(command, cwd=tmp_path, check=True, env={"PATH": "/usr/bin:/bin"})
    results = str(tmp_path / "results")
    name = ["--name", "blur-meter", "--trained-on", "nothing"]
    assert main(["evaluate", scores, "--protocol", str(protocol), "--frames", "4", *name, "-o", results, *where]) == 0
    assert read_result(Path(results, "blur-meter", "results", "Toy.json"))["metrics"]["video"]["auc"] == 1.0
    assert main(["leaderboard", results, "-o", site]) == 0
    assert "| blur-meter (imported predictions) | nothing | 100.00 (" in Path(site, "leaderboard.md").read_text()


def test_demo_worlds_are_checked_without_being_built(tmp_path):
    """The committed index is enough; the stores are not needed."""
    from benchmark.own_predictions import expected_samples
    from benchmark.schema import PathsConfig

    paths = PathsConfig(data=tmp_path / "data", indexes=tmp_path / "indexes")
    test = expected_samples("demo/CDFv2", paths, 2, "uniform")
    assert len(test.labels(by_frame=True)) == 2 * len(test.labels(by_frame=False)) > 0
    assert list(tmp_path.iterdir()) == []
