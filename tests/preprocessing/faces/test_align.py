from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.faces.align import (
    apply,
    chip_matrix,
    fit_similarity,
    five_point_matrix,
    five_point_template,
    warp,
)  # fmt: skip

# DeepfakeBench's template at 256 and 224 pixels, scale 1.3 (three decimals).
TEMPLATE_256 = [(96.870, 120.433), (158.825, 120.090), (128.044, 155.669), (102.592, 191.939), (153.899, 191.656)]
TEMPLATE_224 = [(84.761, 105.379), (138.972, 105.079), (112.039, 136.210), (89.768, 167.947), (134.661, 167.699)]


def least_squares(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity of least squares by a general solver, for comparison."""
    rows = [((x, -y, 1, 0), (y, x, 0, 1)) for x, y in source]
    solution, *_ = np.linalg.lstsq(np.array(rows).reshape(-1, 4), target.reshape(-1), rcond=None)
    a, b, x, y = solution
    return np.array([[a, -b, x], [b, a, y]])


def test_template() -> None:
    np.testing.assert_allclose(five_point_template(256), TEMPLATE_256, atol=1e-3)
    np.testing.assert_allclose(five_point_template(224), TEMPLATE_224, atol=1e-3)


@given(st.integers(0, 10_000))
def test_matrix_is_the_least_squares_similarity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1900, (5, 2))
    np.testing.assert_allclose(five_point_matrix(points), least_squares(points, five_point_template()), atol=1e-4)


def test_a_turned_template_is_turned_back() -> None:
    angle, size = math.radians(25), 3.5
    turn = size * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = five_point_template() @ turn.T + (700, 300)
    np.testing.assert_allclose(apply(five_point_matrix(points), points), five_point_template(), atol=1e-3)
    with pytest.raises(ValueError, match="one point"):
        fit_similarity(np.ones((5, 2)), five_point_template())


def test_warp_puts_a_pixel_where_the_matrix_says() -> None:
    frame = np.zeros((400, 600, 3), np.uint8)
    points = five_point_template() * 1.2 + (150, 40)
    for x, y in points:
        cv2.circle(frame, (round(x), round(y)), 4, (255, 255, 255), -1)
    crop = warp(frame, five_point_matrix(points), 256)
    assert crop.shape == (256, 256, 3)
    assert all(crop[round(y), round(x)].min() > 200 for x, y in five_point_template())
    outside = warp(np.full((20, 20, 3), 255, np.uint8), five_point_matrix(points), 256)
    assert outside[-1, -1].max() == 0, "outside the frame is black"


@given(st.integers(0, 10_000))
def test_chip(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean_face = np.array(
        [(0.224152, 0.2119465), (0.75610125, 0.2119465), (0.490127, 0.628106), (0.254149, 0.780233),
         (0.726104, 0.780233)]
    )  # fmt: skip
    target = (0.37 + mean_face) / 1.74 * 224
    points = target * rng.uniform(0.5, 4) + rng.normal(0, 4, (5, 2)) + rng.uniform(0, 500, 2)
    matrix = chip_matrix(points)
    best = least_squares(points, target)
    np.testing.assert_allclose(matrix[:, :2], best[:, :2], atol=1e-6)  # turn and scale of the fit
    np.testing.assert_allclose(apply(matrix, points[:2].mean(axis=0)[None])[0], (112, 89.6), atol=1e-2)
