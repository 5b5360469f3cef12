"""Which frames are taken: by number, and by what is seen in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmark.errors import ConfigError
from preprocessing.frame_rules import FrameRule, uniform_indices
from preprocessing.layouts.base import Item
from preprocessing.settings import Settings
from preprocessing.task import ItemResult, Task, process_item
from preprocessing.video import FrameSource, ImageFiles, VideoFile


def test_uniform_indices_equal_the_golden_ones(golden: Path) -> None:
    for case in json.loads((golden / "frame_indices.json").read_text()):
        assert uniform_indices(case["total_frames"], case["num_frames"]) == case["indices"]


def test_a_short_video_gives_each_frame_once(golden: Path) -> None:
    for case in json.loads((golden / "frame_indices.json").read_text()):
        total = case["total_frames"]
        selected = FrameRule("uniform", case["num_frames"]).select(total)
        assert selected == sorted({index for index in case["indices"] if 0 <= index < total})


@pytest.mark.parametrize(
    ("text", "rule", "selected"),
    [
        (4, FrameRule("uniform", 4), [0, 3, 6, 9]),
        ("1", FrameRule("uniform", 1), [0]),
        ("all", FrameRule("all"), None),
        ("stride:4", FrameRule("stride", 4), [0, 4, 8]),
        ("fas_pair", FrameRule("fas_pair"), [6]),
    ],
)
def test_frame_rules(text: str | int, rule: FrameRule, selected: list[int] | None) -> None:
    assert FrameRule.parse(text) == rule
    assert str(rule) == str(text)
    assert rule.select(10) == selected


@pytest.mark.parametrize("text", ["0", "-3", "many", "stride:0", "stride:", "3.5", ""])
def test_frame_rule_refuses(text: str) -> None:
    with pytest.raises(ConfigError, match="stride:10"):
        FrameRule.parse(text)


@pytest.mark.parametrize(
    ("total", "starts", "ends"),
    [(300, [6, 156], [156, 300]), (301, [6, 156], [156, 301]), (13, [6, 12], [12, 13]), (12, [6], [12]), (6, [], [])],
)
def test_fas_pair_windows(total: int, starts: list[int], ends: list[int]) -> None:
    """Frames 6 and 6 + total // 2; each is looked for until the next one, the last until the end."""
    rule = FrameRule("fas_pair")
    assert rule.select(total) == starts
    assert [window.start for window in rule.windows(total)] == starts
    assert [window.stop for window in rule.windows(total)] == ends
    assert FrameRule("uniform", 32).windows(total) == []


def write_flashes(path: Path, seen: set[int], total: int = 30) -> None:
    """A dark video whose frames in ``seen`` show a bright square, at 2 pixels per frame number from the left."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 25, (96, 64))
    for index in range(total):
        frame = np.full((64, 96, 3), 20, np.uint8)
        if index in seen:
            frame[20:40, 2 * index : 2 * index + 20] = 255
        writer.write(frame)
    writer.release()


def run(source: FrameSource, bright: str, *, is_cropped: bool = False) -> ItemResult:
    item = Item("a_real", "train", "train/real", "v", source, is_cropped=is_cropped)
    settings = Settings(frames=FrameRule("fas_pair"), face_finder="bright")
    return process_item(Task(item, 0, "v.avi", settings))


def test_a_frame_without_a_face_is_replaced_by_the_next_with_one(tmp_path: Path, bright: str) -> None:
    write_flashes(tmp_path / "v.avi", {9, 10, 24, 25})
    result = run(VideoFile(tmp_path / "v.avi"), bright)
    assert result.numbers == [9, 24], "from 6 on, and from 6 + 15 on"
    assert [boxes[0][0] for boxes in result.boxes] == [18, 48]
    assert result.faceless == [6, 7, 8, 21, 22, 23]
    assert (result.problem, result.unreadable) == ("", [])


def test_frames_with_a_face_are_taken_as_they_are(tmp_path: Path, bright: str) -> None:
    write_flashes(tmp_path / "v.avi", set(range(30)))
    result = run(VideoFile(tmp_path / "v.avi"), bright)
    assert (result.numbers, result.faceless) == ([6, 21], [])


def test_the_search_ends_where_the_second_frame_or_the_video_does(tmp_path: Path, bright: str) -> None:
    write_flashes(tmp_path / "v.avi", {2, 22})
    result = run(VideoFile(tmp_path / "v.avi"), bright)
    assert result.numbers == [22]
    assert result.faceless == list(range(6, 22))
    write_flashes(tmp_path / "w.avi", {2})
    result = run(VideoFile(tmp_path / "w.avi"), bright)
    assert (result.numbers, result.faceless) == ([], list(range(6, 30)))


def test_an_undecodable_frame_is_replaced_too(tmp_path: Path, bright: str, video_maker: Callable[..., None]) -> None:
    paths = []
    for index in range(20):
        paths.append(tmp_path / f"{index:02d}.png")
        image = np.full((64, 96, 3), 20, np.uint8)
        image[20:40, 30:50] = 255
        cv2.imwrite(str(paths[-1]), image)
    paths[6].write_bytes(b"")
    result = run(ImageFiles(tuple(paths)), bright)
    assert (result.numbers, result.unreadable) == ([7, 16], [6])
    assert result.notes == ["06.png is not a readable image (0 bytes)"]


def test_ready_frames_are_not_chosen_from_again(tmp_path: Path, bright: str) -> None:
    paths = tuple(tmp_path / f"v_frame{index}.png" for index in (0, 1))
    for path in paths:
        cv2.imwrite(str(path), np.full((32, 32, 3), 255, np.uint8))
    assert run(ImageFiles(paths), bright, is_cropped=True).numbers == [0, 1]


def test_a_video_too_short_for_the_rule_says_so(tmp_path: Path, bright: str) -> None:
    write_flashes(tmp_path / "v.avi", {1}, total=5)
    result = run(VideoFile(tmp_path / "v.avi"), bright)
    assert result.problem == "it has 5 frames, too few for the frame rule fas_pair"
