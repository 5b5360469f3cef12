from __future__ import annotations

import numpy as np
import pytest

from benchmark.errors import ConfigError
from preprocessing.parsers.base import CLASSES, FrameName
from preprocessing.parsers.landmark_polygons import draw_map
from preprocessing.tools import build_parser

NAME = FrameName("f", "v", 0)


@pytest.fixture
def face(frontal: np.ndarray) -> np.ndarray:
    """Landmarks in a picture of 224 pixels."""
    return frontal * 224


def at(parsing: np.ndarray, x: float, y: float) -> str:
    return CLASSES[parsing[round(y * parsing.shape[0]), round(x * parsing.shape[1])]]


def test_all_classes_are_where_they_belong(face: np.ndarray) -> None:
    parsing = draw_map(face, 224, 224)
    assert parsing.dtype == np.uint8
    assert set(np.unique(parsing)) == set(range(11))
    expected = {
        (0.5, 0.93): "background", (0.5, 0.8): "skin", (0.36, 0.34): "right_brow", (0.64, 0.34): "left_brow",
        (0.36, 0.42): "right_eye", (0.64, 0.42): "left_eye", (0.5, 0.56): "nose", (0.5, 0.68): "upper_lip",
        (0.5, 0.72): "inner_mouth", (0.5, 0.765): "lower_lip", (0.5, 0.02): "hair", (0.02, 0.9): "background",
    }  # fmt: skip
    assert {place: at(parsing, *place) for place in expected} == expected
    areas = np.bincount(parsing.ravel(), minlength=11) / parsing.size
    assert areas[CLASSES.index("skin")] > 0.25


def test_turned_and_scaled_faces_keep_their_areas(face: np.ndarray) -> None:
    points, middle = face, np.array([112.0, 112.0])
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright = np.bincount(draw_map(points + 100, 448, 448).ravel(), minlength=11)
    turned = np.bincount(draw_map((points - middle) @ turn.T + 212, 448, 448).ravel(), minlength=11)
    np.testing.assert_allclose(turned[1:], upright[1:], rtol=0.2, atol=40)


def test_81_points_give_the_forehead(face: np.ndarray) -> None:
    points = face
    angles = np.linspace(0, np.pi, 13)
    hairline = np.column_stack([0.5 - 0.28 * np.cos(angles), 0.4 - 0.15 * np.sin(angles)]) * 224
    shuffled = np.random.default_rng(0).permutation(hairline)
    low = draw_map(np.concatenate([points, shuffled]), 224, 224)
    assert at(low, 0.5, 0.22) == "hair", "above the given hairline"
    assert at(draw_map(points, 224, 224), 0.5, 0.22) == "skin", "below the one drawn by rule"


def test_hair_can_be_left_out(face: np.ndarray) -> None:
    parser = build_parser("landmarks", (("hair", 0),))
    assert parser.needs_landmarks
    parsing = parser.parse(np.zeros((224, 224, 3), np.uint8), face, NAME)
    assert parsing is not None
    assert set(np.unique(parsing)) == set(range(10))
    assert "forehead with 68" in parser.settings()["by_rule"]
    with pytest.raises(ConfigError, match="hair must be 0 or 1"):
        build_parser("landmarks", (("hair", 2),))
    with pytest.raises(ConfigError, match="does not take these options"):
        build_parser("landmarks", (("hat", 1),))


def test_points_outside_the_picture_are_no_trouble(face: np.ndarray) -> None:
    assert draw_map(face * 3 - 300, 100, 80).shape == (100, 80)
    assert draw_map(np.zeros((68, 2), np.float32), 50, 50).shape == (50, 50)
