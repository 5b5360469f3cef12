"""Result files and the table."""

from __future__ import annotations

import pytest

from benchmark.errors import DataError
from benchmark.results import SCHEMA, file_name, git_revision, provenance, read_result, result_table, write_result


def test_write_and_read(tmp_path):
    result = {"schema": SCHEMA, "dataset": "X", "metrics": {"video": {"auc": None}}}
    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result


def test_not_a_number_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        write_result(tmp_path / "r.json", {"schema": SCHEMA, "auc": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_another_schema_or_a_broken_file_is_refused(tmp_path):
    write_result(tmp_path / "r.json", {"schema": SCHEMA + 1})
    with pytest.raises(DataError, match=f"result schema {SCHEMA + 1}; this version reads 1 and {SCHEMA}"):
        read_result(tmp_path / "r.json")
    (tmp_path / "r.json").write_text('{"schema": ')
    with pytest.raises(DataError, match="not a readable result file"):
        read_result(tmp_path / "r.json")


def test_dataset_words_become_file_names():
    assert file_name("demo/FF++@c40") == "demo_FF++@c40"


def test_provenance_says_what_ran():
    import torch

    facts = provenance()
    assert facts["versions"]["torch"] == torch.__version__.split("+")[0] or facts["versions"]["torch"]
    assert facts["versions"]["face-security-benchmark"]
    assert set(facts["code"]) == {"commit", "dirty"}
    revision = git_revision()["commit"]
    assert revision is None or len(revision) == 40


def test_table_shows_percent_missing_and_undefined():
    levels = {"auc": 0.98765, "eer": None, "ap": 0.5, "acc": 1.0}
    text = result_table(
        [
            {
                "dataset": "CDFv2",
                "metrics": {"frame": levels, "video": levels},
                "counts": {"samples": 7, "videos": 2, "missing": 3},
            }
        ]
    )
    assert "98.77" in text or "98.76" in text
    assert "undefined" in text
    assert "7 (-3)" in text
    assert "CDFv2" in text
