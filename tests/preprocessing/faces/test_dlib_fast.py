from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import ConfigError
from preprocessing.faces.base import FACE_CHOICES, MASK_CHOICE, Face, most_forged_face, overlap
from preprocessing.faces.dlib_fast import DlibFast, best_of_each
from preprocessing.tools import build_finder
from preprocessing.video import VideoFile

VIDEO = "manipulated_sequences/Deepfakes/c23/videos/519_515.mp4"


def golden_rows(shared: Path) -> dict[int, list[list[int]]]:
    content = json.loads((shared / "golden" / "preprocessing" / "ffpp_mini_boxes.json").read_text())
    return {row["frame"]: row["faces"] for row in content["videos"][VIDEO]["rows"]}


def test_boxes_are_near_the_exact_ones(shared: Path) -> None:
    pytest.importorskip("dlib")
    rows = golden_rows(shared)
    finder = build_finder("dlib_fast")
    finder.start_source()
    reader = VideoFile(shared / "data" / "real" / "FaceForensics" / VIDEO).open()
    overlaps = [
        overlap(finder.find(image)[0].box, tuple(rows[number][0]))  # type: ignore[arg-type]
        for number, image in reader.read(sorted(rows))
    ]
    assert len(overlaps) == 16
    assert np.mean(overlaps) > 0.9
    assert min(overlaps) > 0.5


def test_each_source_is_searched_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dlib")
    finder = DlibFast(every=3)
    searched: list[str] = []
    face = Face((40, 40, 90, 90), 1.0)
    monkeypatch.setattr(finder, "_search_whole", lambda image: searched.append("whole") or [face])
    monkeypatch.setattr(finder, "_search_near", lambda image, last: searched.append("near") or [last])
    image = np.zeros((120, 160, 3), np.uint8)
    for _ in range(5):
        assert finder.find(image) == [face]
    assert searched == ["whole", "near", "near", "whole", "near"]
    finder.start_source()
    finder.find(image)
    assert searched[-1] == "whole"
    monkeypatch.setattr(finder, "_search_near", lambda image, last: [])
    finder.find(image)
    assert searched[-1] == "whole", "a lost face is searched in the whole frame"


def test_no_face_in_noise_and_tiny_frames() -> None:
    pytest.importorskip("dlib")
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    finder = build_finder("dlib_fast")
    finder.start_source()
    assert finder.find(noise) == []
    assert finder.find(noise[:9, :9].copy()) == []
    assert finder.find_still(noise) == []


def test_options_are_checked() -> None:
    for options in ({"every": 0}, {"around": 1.0}, {"smallest": 0}, {"smallest": 1.5}):
        with pytest.raises(ConfigError, match=f"dlib_fast: {next(iter(options))}"):
            DlibFast(**options)  # type: ignore[arg-type]
    assert DlibFast(every=4).settings()["every"] == 4


def test_best_of_each_keeps_one_box_per_face() -> None:
    weak, strong, other = Face((0, 0, 10, 10), 0.1), Face((1, 1, 11, 11), 0.9), Face((50, 50, 60, 60), 0.5)
    assert best_of_each([weak, other, strong]) == [strong, other]
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0


def test_the_forged_face_is_chosen_by_its_mask() -> None:
    large, small = Face((0, 0, 40, 40)), Face((60, 60, 80, 80))
    mask = np.zeros((100, 100), np.uint8)
    assert most_forged_face([large, small], mask) is large
    mask[65:75, 65:75] = 255
    assert most_forged_face([large, small], mask) is small
    assert most_forged_face([large, small], None) is large
    assert FACE_CHOICES[MASK_CHOICE]([small, large]) is large
