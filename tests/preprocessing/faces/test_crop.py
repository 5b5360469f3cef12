from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.faces.base import FACE_CHOICES, Face
from preprocessing.faces.crop import cut, face_square, resize


def test_squares_equal_the_golden_ones(golden: Path) -> None:
    cases = json.loads((golden / "face_boxes.json").read_text())
    assert len(cases) == 10
    for case in cases:
        width, height = case["image_wh"]
        crop = face_square(tuple(case["dlib_ltrb"]), width, height, case["scale"])
        assert crop == (case["x"], case["y"], case["size"])
        assert list(cut(np.zeros((height, width, 3)), crop).shape[:2]) == case["crop_shape_hw"]


@given(
    box=st.tuples(*[st.integers(-300, 900)] * 2, *[st.integers(1, 500)] * 2),
    width=st.integers(1, 640),
    height=st.integers(1, 640),
)
def test_a_square_lies_in_the_image_or_there_is_none(box: tuple[int, ...], width: int, height: int) -> None:
    left, top, box_width, box_height = box
    crop = face_square((left, top, left + box_width, top + box_height), width, height)
    if crop is not None:
        x, y, size = crop
        assert cut(np.zeros((height, width, 3)), crop).shape == (size, size, 3)
        assert size > 0
        assert min(x, y) >= 0


def test_resize_is_square() -> None:
    image = np.random.default_rng(0).integers(0, 255, (37, 37, 3), dtype=np.uint8)
    assert resize(image, 16).shape == (16, 16, 3)
    assert resize(image, 64).shape == (64, 64, 3)


def test_choice_among_faces() -> None:
    small, large, twin = Face((0, 0, 10, 10)), Face((0, 0, 30, 30)), Face((5, 5, 35, 35))
    assert FACE_CHOICES["first"]([small, large, twin]) is small
    assert FACE_CHOICES["largest"]([small, large, twin]) is large
