from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import ConfigError, RegistryError
from preprocessing.faces.crop import face_square
from preprocessing.frame_rules import FrameRule
from preprocessing.tools import build_finder
from preprocessing.video import VideoFile

# Frames whose decoding is quick and whose search is cheap; the slow test below does all 112.
SAMPLE = {
    "original_sequences/youtube/c23/videos/519.mp4": [0, 50],
    "manipulated_sequences/Deepfakes/c23/videos/519_515.mp4": [0, 350],
    "manipulated_sequences/NeuralTextures/c23/videos/004_982.mp4": [0],
}


def golden_videos(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "golden" / "preprocessing" / "ffpp_mini_boxes.json").read_text())["videos"]


def compare(shared: Path, name: str, numbers: list[int] | None = None) -> int:
    """Compare boxes, crops and mean colours of a golden video's frames; returns how many were compared."""
    pytest.importorskip("dlib")
    finder = build_finder("dlib")
    facts = golden_videos(shared)[name]
    reader = VideoFile(shared / "data" / "real" / "FaceForensics" / name).open()
    assert reader.count == facts["frame_count_header"]
    rows = {row["frame"]: row for row in facts["rows"] if numbers is None or row["frame"] in numbers}
    frames = dict(reader.read(sorted(rows)))
    assert sorted(frames) == sorted(rows)
    for number, row in rows.items():
        image = frames[number]
        assert image.shape[:2] == (facts["height"], facts["width"])
        np.testing.assert_allclose(image.mean(axis=(0, 1)), row["mean_rgb"], atol=0.5)
        faces = finder.find(image)
        assert [list(face.box) for face in faces] == row["faces"]
        assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
        assert face_square(faces[0].box, facts["width"], facts["height"]) == tuple(row["crop"])
    return len(rows)


@pytest.mark.parametrize("name", sorted(SAMPLE))
def test_golden_boxes_on_some_frames(shared: Path, name: str) -> None:
    assert compare(shared, name, SAMPLE[name]) == len(SAMPLE[name])


@pytest.mark.slow
def test_golden_boxes_on_all_frames(shared: Path) -> None:
    videos = golden_videos(shared)
    for facts in videos.values():
        chosen = FrameRule("uniform", 16).select(facts["frames_decoded"])
        assert chosen == [row["frame"] for row in facts["rows"]]
    assert sum(compare(shared, name) for name in videos) == 112


def test_no_face_in_noise() -> None:
    pytest.importorskip("dlib")
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    assert build_finder("dlib").find(noise) == []


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    build_finder.cache_clear()
    with pytest.raises(RegistryError, match=r"pip install 'face-security-benchmark\[preprocessing\]'"):
        build_finder("dlib")


def test_wrong_options() -> None:
    with pytest.raises(ConfigError, match="upsample must be"):
        build_finder("dlib", (("upsample", -1),))
    with pytest.raises(ConfigError, match="does not take these options"):
        build_finder("dlib", (("upsampel", 1),))
    with pytest.raises(RegistryError, match="Closest: dlib"):
        build_finder("dlibb")
