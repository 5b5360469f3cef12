"""preprocessing/people.py: who is who over time, and crops made as the training data's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmark.data.decode import decode_image
from benchmark.data.store import decode_landmarks
from benchmark.errors import ConfigError
from preprocessing.faces.base import Face
from preprocessing.frame_rules import FrameRule
from preprocessing.frames import FrameWorker
from preprocessing.people import Tracker, find_people, settings_of_training
from preprocessing.settings import Settings
from preprocessing.task import build_tools
from preprocessing.video import UnreadableError, VideoFile


def face(x: int, y: int = 100, side: int = 60) -> Face:
    return Face((x, y, x + side, y + side))


def follow(frames: dict[int, list[Face]], patience: float = float("inf")) -> list[list[int]]:
    """For every frame the numbers (0, 1, ...) of the people its faces belong to."""
    tracker = Tracker(patience)
    return [[tracker.people.index(p) for p in tracker.add(n, faces)] for n, faces in frames.items()]


def test_people_keep_their_numbers_whatever_order_a_finder_gives_them_in() -> None:
    frames = {0: [face(300), face(10)], 5: [face(20), face(290)], 10: [face(280), face(35)], 15: [face(50)]}
    assert follow(frames) == [[1, 0], [0, 1], [1, 0], [0]], "people of the first frame count from left to right"


def test_somebody_new_and_somebody_back() -> None:
    frames = {0: [face(10)], 1: [face(12), face(400)], 2: [face(402)], 9: [face(14), face(404)]}
    assert follow(frames) == [[0], [0, 1], [1], [0, 1]]
    assert follow(frames, patience=5) == [[0], [0, 1], [1], [2, 3]], "not waited for longer than that"


def test_a_quick_move_is_the_same_person_but_another_size_or_place_is_not() -> None:
    assert follow({0: [face(100)], 1: [face(140)]}) == [[0], [0]], "a jump of less than a box"
    assert follow({0: [face(100)], 1: [face(165)]}) == [[0], [1]]
    assert follow({0: [face(100, side=60)], 1: [face(110, 110, side=16)]}) == [[0], [1]]


def test_one_face_is_one_person_even_when_two_are_near() -> None:
    assert follow({0: [face(100), face(130)], 1: [face(131), face(101)]}) == [[0, 1], [1, 0]]
    assert follow({0: [face(100)], 1: [face(101), face(110)]}) == [[0], [0, 1]], "the nearer one keeps the number"


def test_training_settings_come_back_from_their_record() -> None:
    settings = Settings(face_finder="dlib_fast", face_options=(("every", 4),), margin=1.6, size=128,
                        image_format="jpeg", quality=90)  # fmt: skip
    found, origin = settings_of_training(settings.record("FF++", build_tools(settings)), frozenset())
    options = dict(found.face_options)
    assert (found.face_finder, options["every"], found.margin, found.size) == ("dlib_fast", 4, 1.6, 128)
    assert (found.image_format, found.quality, found.align) == ("jpeg", 90, None)
    assert origin == "that of the training data FF++"


@pytest.mark.parametrize("record", [None, {"generator": 3, "size": 72}])
def test_the_published_rule_where_the_training_data_says_nothing(record: dict[str, int] | None) -> None:
    settings, origin = settings_of_training(record, frozenset())
    assert (settings.face_finder, settings.margin, settings.size) == ("dlib", 1.3, None)
    assert "published rule" in origin


VideoMaker = Callable[..., None]


def test_people_of_a_video_with_their_crops(
    tmp_path: Path, video_maker: VideoMaker, bright: str, predictor_file: Path
) -> None:
    path = tmp_path / "1.mp4"
    video_maker(path)
    settings = Settings(face_finder="bright", margin=1.5, size=40, predictor=str(predictor_file), landmarks=True)
    worker = FrameWorker(settings, build_tools(settings))
    told: list[tuple[int, int]] = []
    people = find_people(VideoFile(path), FrameRule("stride", 4), worker, "v", lambda *c: told.append(c))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert (people.count, people.rate, people.looked_at, people.faceless) == (12, 25.0, [0, 4, 8], [])
    (person,) = people.persons
    assert list(person.crops) == list(person.boxes) == [0, 4, 8]
    for crop in person.crops.values():
        assert decode_image(crop.image, "crop").shape == (40, 40, 3)
        assert decode_landmarks(crop.parts["landmarks"], "points").shape[1] == 2


def test_faces_seen_too_rarely_are_not_scored(tmp_path: Path, bright: str) -> None:
    """A bright patch in the first of 24 frames only."""
    settings = Settings(face_finder="bright")
    writer = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (96, 64))
    for number in range(24):
        frame = np.zeros((64, 96, 3), np.uint8)
        frame[20:40, 20:40] = 255 * (number == 0)
        writer.write(frame)
    writer.release()
    worker = FrameWorker(settings, build_tools(settings))
    people = find_people(VideoFile(tmp_path / "v.mp4"), FrameRule("all"), worker, "v")
    assert (people.persons, [list(person.boxes) for person in people.passing]) == ([], [[0]])
    assert people.faceless == list(range(1, 24))


def test_videos_without_people_and_without_frames(tmp_path: Path, video_maker: VideoMaker, bright: str) -> None:
    settings = Settings(face_finder="bright")
    worker = FrameWorker(settings, build_tools(settings))
    path = tmp_path / "3.mp4"
    video_maker(path, has_face=False)
    people = find_people(VideoFile(path), FrameRule("all"), worker, "v")
    assert (people.persons, people.passing, len(people.faceless)) == ([], [], 12)
    path.write_bytes(b"")
    with pytest.raises(UnreadableError, match="empty"):
        find_people(VideoFile(path), FrameRule("all"), worker, "v")


@pytest.mark.parametrize(("part", "message"), [("mask", "cannot be made"), ("parsing", "does not say which parser")])
def test_parts_that_cannot_be_made_are_refused(part: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_of_training(None, frozenset({part}))
