"""Two results side by side: what differs, and the paired tests on their common videos."""

from __future__ import annotations

import json

import pytest

from benchmark.__main__ import main
from benchmark.compare import differences, metric_differences, significance
from benchmark.data.store import file_hash
from benchmark.evaluation import video_scores
from benchmark.intervals import paired_delong
from benchmark.predictions import Predictions
from benchmark.results import read_result, write_result


@pytest.fixture
def pair(write_run, tmp_path):
    return write_run(tmp_path, "weak", "CDFv2", skill=0.2, seed=1), write_run(
        tmp_path, "strong", "CDFv2", skill=4.0, seed=2
    )


def paired(first, second):
    return significance(read_result(first), read_result(second), first, second)


def test_what_differs_is_named_once(pair):
    found = {key: (a, b) for key, a, b in differences(*map(read_result, pair))}
    assert found == {"config.name": ("weak", "strong"), "config.optimizer.lr": (2e-4, 3e-4), "seed": (1, 2)}
    assert differences(read_result(pair[0]), read_result(pair[0])) == []


def test_absent_settings_are_shown_as_absent(pair):
    one, two = map(read_result, pair)
    del two["config"]["optimizer"]
    assert ("config.optimizer.lr", 2e-4, "(absent)") in differences(one, two)


def test_metrics_are_second_minus_first(pair):
    one, two = map(read_result, pair)
    row = next(r for r in metric_differences(one, two) if (r["level"], r["metric"]) == ("video", "auc"))
    assert row["difference"] == two["metrics"]["video"]["auc"] - one["metrics"]["video"]["auc"]


def test_significance_is_the_paired_test_of_the_predictions(pair):
    report = paired(*pair)
    scores = [video_scores(Predictions.read(path.parent.parent / "predictions" / "CDFv2.csv")) for path in pair]
    expected = paired_delong(*scores)
    found = report["tests"]["video_auc (DeLong)"]
    assert (found["difference"], found["p_value"]) == (expected.difference, expected.p_value)
    assert expected.p_value < 0.05
    assert report["videos"] == 40
    assert {"video_eer (bootstrap)", "frame_auc (DeLong by video)"} <= report["tests"].keys()


def test_a_result_does_not_differ_from_itself(pair):
    tests = paired(pair[0], pair[0])["tests"]
    assert {test["p_value"] for test in tests.values()} == {1.0}


def test_predictions_in_another_order_and_with_other_videos(pair, tmp_path):
    path = pair[1].parent.parent / "predictions" / "CDFv2.csv"
    part = Predictions.read(path)
    part.only([*range(len(part) - 1, 7, -1)]).write(path)  # reversed, without the first two videos
    result = read_result(pair[1])
    result["predictions"]["sha256"] = file_hash(path)
    write_result(pair[1], result)
    report = paired(*pair)
    assert (report["videos"], report["only_first"], report["only_second"]) == (38, 2, 0)
    assert "frame_auc (DeLong by video)" not in report["tests"]


def test_predictions_that_changed_are_not_used(pair):
    path = pair[0].parent.parent / "predictions" / "CDFv2.csv"
    path.write_text(path.read_text() + "\n")
    assert "not there any more, or have changed" in paired(*pair)["reason"]


def test_the_command(pair, write_run, tmp_path, capsys):
    report = tmp_path / "report.json"
    assert main(["compare", *map(str, pair), "--json", str(report)]) == 0
    out = capsys.readouterr().out
    assert "config.optimizer.lr: 0.0002 -> 0.0003" in out
    assert "Scored samples: the same" in out
    assert "The difference in video AUC is significant at the 5 % level." in out
    assert json.loads(report.read_text())["tests"]["videos"] == 40
    other = write_run(tmp_path, "weak", "DFDC")
    assert main(["compare", str(pair[0]), str(other)]) == 2
    assert "compare the same test set" in capsys.readouterr().err
