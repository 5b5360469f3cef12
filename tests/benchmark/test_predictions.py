"""The predictions file: what is written can be read, and what cannot be trusted is refused with its line."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.errors import DataError
from benchmark.evaluation import evaluate_files, flat_metrics, metrics_of
from benchmark.predictions import Predictions

ROWS = [
    ("Toy", "Toy_real/a", "000", 0, float(np.float32(0.1))),
    ("Toy", "Toy_real/a", "010", 0, 0.0),
    ("Toy", 'Toy_fake/"b", x', "000", 1, float(np.float32(1 / 3))),
    ("Other", "脸/c", "000", 1, 1.0),
]
HEADER = "dataset,video,frame,label,score\n"


def test_round_trip_keeps_every_float32(tmp_path):
    path = tmp_path / "new" / "p.csv"
    Predictions.from_rows(ROWS).write(path)
    back = Predictions.read(path)
    assert len(back) == 4
    assert back.video.tolist() == [row[1] for row in ROWS]
    assert back.label.tolist() == [0, 0, 1, 1]
    assert back.score.astype(np.float32).tolist() == np.array([row[4] for row in ROWS], np.float32).tolist()
    assert path.read_text(encoding="utf-8").splitlines()[0] + "\n" == HEADER


def test_same_rows_give_the_same_bytes(tmp_path):
    for name in ("a.csv", "b.csv"):
        Predictions.from_rows(ROWS).write(tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset,video,frame,score\n", "column label is missing; needed: dataset,video,frame,label,score"),
        ("", "column dataset, frame, label, score, video is missing"),
        (HEADER + "T,v,0,0,0.5\nT,v,1,2,0.5\n", r"line 3: label '2' is not 0 \(real\) or 1 \(fake\)"),
        (HEADER + "T,v,0,fake,0.5\n", "line 2: label 'fake' is not 0"),
        (HEADER + "T,v,0,1,nan\n", "line 2: score 'nan' is not a probability"),
        (HEADER + "T,v,0,1,1.5\n", "line 2: score '1.5' is not a probability"),
        (HEADER + "T,v,0,1,high\n", "line 2: score 'high' is not a probability"),
        (HEADER + "T,v,0,1,0.5\nT,v,0,1,0.6\n", "sample T/v/0 is listed twice"),
    ],
)
def test_untrustworthy_files_are_refused(tmp_path, text, message):
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        Predictions.read(path)
    assert str(path) in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read predictions .*none\.csv: No such file"):
        Predictions.read(tmp_path / "none.csv")


def test_metrics_group_by_dataset_and_video():
    rows = [("A", "v", "0", 0, 0.2), ("A", "v", "1", 0, 0.6), ("B", "v", "0", 1, 0.7), ("A", "w", "0", 1, 0.3)]
    levels = metrics_of(Predictions.from_rows(rows))
    assert levels["frame"]["auc"] == 0.75
    assert levels["video"]["auc"] == 0.5  # A:v 0.4 real, B:v 0.7 fake, A:w 0.3 fake
    flat = flat_metrics(levels)
    assert flat["video_auc"] == 0.5
    assert flat["loss"] == levels["frame"]["loss"]


def test_a_video_with_both_labels_is_a_data_error():
    with pytest.raises(DataError, match="Video 'A:v' has frames of both labels"):
        metrics_of(Predictions.from_rows([("A", "v", "0", 0, 0.2), ("A", "v", "1", 1, 0.6)]))


def test_evaluate_prints_one_row_per_dataset_and_writes_json(tmp_path, capsys):
    import json

    path = tmp_path / "p.csv"
    rows = [("A", f"v{i}", "0", i % 2, 0.1 + 0.8 * (i % 2)) for i in range(4)] + [("B", "w", "0", 1, 0.9)]
    Predictions.from_rows(rows).write(path)
    assert evaluate_files([path], tmp_path / "m.json") == 0
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines() if line.startswith("│")] == ["A", "B"]
    assert "100.00" in out
    assert "undefined" in out
    written = json.loads((tmp_path / "m.json").read_text())
    assert [row["dataset"] for row in written] == ["A", "B"]
    assert written[0]["metrics"]["video"]["auc"] == 1.0
    assert written[1]["metrics"]["video"]["auc"] is None


def test_evaluating_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "p.csv").write_text(HEADER)
    with pytest.raises(DataError, match="holds no predictions"):
        evaluate_files([tmp_path / "p.csv"])


def test_several_sets_in_a_file_get_a_cross_auc(tmp_path, capsys):
    path = tmp_path / "p.csv"
    rows = [
        (name, f"v{i}", "0", i % 2, 0.1 + 0.3 * (i % 2) + shift)
        for name, shift in (("A", 0), ("B", 0.4))
        for i in range(4)
    ]
    Predictions.from_rows(rows).write(path)
    assert evaluate_files([path]) == 0
    assert "Cross-AUC (video, 2 pairs of different sets): 50.00; within sets: 100.00" in capsys.readouterr().out


def test_lines_of_another_length_and_other_encodings_are_refused(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(HEADER + "T,v,0,0,0.5\nT,v,1\n")
    with pytest.raises(DataError, match="line 3: 3 values but 5 columns"):
        Predictions.read(path)
    path.write_bytes(HEADER.encode() + b"T,\xff,0,0,0.5\n")
    with pytest.raises(DataError, match="not a CSV file in UTF-8"):
        Predictions.read(path)


def test_column_order_and_further_columns_do_not_matter(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("score,extra,label,frame,video,dataset\n0.25,x,1,000,v,T\n")
    back = Predictions.read(path)
    assert (back.dataset[0], back.video[0], back.frame[0], back.label[0], back.score[0]) == ("T", "v", "000", 1, 0.25)
