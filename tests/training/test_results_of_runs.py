"""What runs leave for the leaderboard: intervals, training facts, corrupted test sets."""

from __future__ import annotations

import json

from benchmark.__main__ import main
from benchmark.cli import guarded
from benchmark.results import read_result
from training import test as scoring
from training import train


def score(*arguments):
    return scoring.run(*scoring.parse([str(argument) for argument in arguments]))


def test_results_carry_intervals_and_where_the_weights_come_from(trained, toy_config, tmp_path):
    result = read_result(trained / "results" / "Toy.json")
    low, high = result["intervals"]["video"]["auc"]
    assert low <= result["metrics"]["video"]["auc"] <= high
    assert result["intervals"]["method"]["unit"] == "video"
    assert result["trained_on"] == ["Toy"]
    assert (
        score("--detector", toy_config, "--weights", trained, "--test", "Toy", "--name", "again", "data.train=[]") == 0
    )
    again = read_result(tmp_path / "runs" / "again" / "results" / "Toy.json")
    assert again["trained_on"] == ["Toy"]
    assert again["selection"]["rule"] == "validation"
    assert again["intervals"] == result["intervals"]


def test_robustness_gives_the_same_numbers_again_and_a_picture(trained, toy_config, tmp_path):
    protocol = tmp_path / "shaky.yaml"
    protocol.write_text(
        "name: shaky\ntrain: [Toy]\ntest: [Toy]\ncorruptions: {kinds: [noise, blocks, contrast], levels: [1, 5]}\n"
    )
    for name in ("one", "two"):
        assert score("--detector", toy_config, "--weights", trained, "--protocol", protocol, "--name", name) == 0
    runs = [tmp_path / "runs" / name for name in ("one", "two")]
    files = sorted(path.name for path in (runs[0] / "results").glob("*.json"))
    assert files == sorted(
        ["Toy.json", *(f"Toy~{kind}-{level}.json" for kind in ("noise", "blocks", "contrast") for level in (1, 5))]
    )
    metrics = [[read_result(run / "results" / name)["metrics"] for name in files] for run in runs]
    assert metrics[0] == metrics[1]
    assert len({levels["frame"]["loss"] for levels in metrics[0]}) == len(files)
    scores = [(run / "predictions" / "Toy~noise-5.csv").read_bytes() for run in runs]
    assert scores[0] == scores[1]
    assert main(["robustness", str(runs[0]), "-o", str(tmp_path / "curve.svg")]) == 0
    assert (tmp_path / "curve.svg").read_text().count("<polyline") == 3
    assert main(["leaderboard", str(runs[0]), "-o", str(tmp_path / "site"), "--no-published"]) == 0
    assert "noise" in (tmp_path / "site" / "index.html").read_text().split("<details open>")[1]


def test_training_on_corrupted_words_is_refused(toy_config, capsys):
    arguments = ["--detector", str(toy_config), "--train", "Toy~blur-1", "--test", "Toy"]
    assert guarded(lambda: train.run(*train.parse(arguments))) == 2
    assert "Corruptions (Toy~blur-1) are for evaluation" in capsys.readouterr().err


def test_protocols_may_fix_the_frames(toy_config, tmp_path):
    from training.settings import runs_from

    protocol = tmp_path / "few.yaml"
    protocol.write_text("name: few\ntrain: [Toy]\ntest: [Toy]\nframes: {test: 2}\nframe_select: first\n")
    options, overrides = train.parse(["--detector", str(toy_config), "--protocol", str(protocol)])
    config = runs_from(options, overrides)[0].config
    assert (config.data.frames.test, config.data.frame_select) == (2, "first")
    options, overrides = train.parse(["--detector", str(toy_config), "--protocol", str(protocol), "data.frames.test=3"])
    assert runs_from(options, overrides)[0].config.data.frames.test == 3


def test_a_run_becomes_a_row(trained, tmp_path):
    assert main(["leaderboard", str(tmp_path / "runs"), "-o", str(tmp_path / "site"), "--no-published"]) == 0
    html = (tmp_path / "site" / "index.html").read_text()
    data = json.loads(html.split('id="data">')[1].split("</script>")[0])
    row = next(row for row in data["rows"] if row["level"] == "video")
    assert (row["detector"], row["test"], row["train"]) == ("toy", "Toy", "Toy")
    assert {mark["text"] for mark in row["marks"]} <= {"code", "crop ?"}
