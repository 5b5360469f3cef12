"""preprocessing/people.py: who is who over time, and crops made as the training data's."""

from __future__ import annotations

import pytest

from benchmark.errors import ConfigError
from preprocessing.faces.base import Face
from preprocessing.people import Tracker, settings_of_training
from preprocessing.settings import Settings
from preprocessing.task import build_tools


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


@pytest.mark.parametrize(("part", "message"), [("mask", "cannot be made"), ("parsing", "does not say which parser")])
def test_parts_that_cannot_be_made_are_refused(part: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_of_training(None, frozenset({part}))
