"""Aligned crops: DeepfakeBench's five-point template, and the image chip of the anti-spoofing lists.

Sources: DeepfakeBench's pre-processing (112-pixel template of the face-recognition field, moved by 8 pixels, scale
1.3); the image chip that comes with MTCNN, as used for MCIO (padding 0.37, 224 pixels).
"""

from __future__ import annotations

import math

import cv2
import numpy as np

ALIGNMENTS = {"five_point": 256, "chip": 224}
"""Name of an alignment -> side of its crops when none is asked for."""

_TEMPLATE_112 = np.array(
    [(30.2946, 51.6963), (65.5318, 51.5014), (48.0252, 71.7366), (33.5493, 92.3655), (62.7299, 92.2041)]
)
_TEMPLATE_SHIFT = (8.0, 0.0)
_CHIP_MEAN_FACE = np.array(
    [
        (0.224152, 0.2119465),
        (0.75610125, 0.2119465),
        (0.490127, 0.628106),
        (0.254149, 0.780233),
        (0.726104, 0.780233),
    ]
)
_CHIP_EYES = (0.5, 0.4)  # where the middle between the eyes comes to lie, as parts of the side


def five_point_template(size: int = 256, scale: float = 1.3) -> np.ndarray:
    """Where left eye, right eye, nose, left and right of the mouth come to lie in an aligned crop.

    Args:
        size: side of the crop in pixels.
        scale: side of the crop over the side of the bare 112-pixel template.

    Returns:
        (5, 2) float64.
    """
    margin = (scale - 1) / 2
    return ((_TEMPLATE_112 + _TEMPLATE_SHIFT) / 112 + margin) / scale * size


def fit_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift (no mirror) with the least squared error from one point set to another.

    Args:
        source: (P, 2), at least two different points.
        target: (P, 2).

    Returns:
        (2, 3) float64: target = matrix @ (x, y, 1).

    Raises:
        ValueError: all source points are one.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    middle, goal = source.mean(axis=0), target.mean(axis=0)
    x, y = (source - middle).T
    u, v = (target - goal).T
    spread = float((x**2 + y**2).sum())
    if spread == 0:
        raise ValueError("All points to align are one point.")
    a = float((x * u + y * v).sum()) / spread
    b = float((x * v - y * u).sum()) / spread
    turn = np.array([[a, -b], [b, a]])
    return np.column_stack([turn, goal - turn @ middle])


def five_point_matrix(points: np.ndarray, size: int = 256, scale: float = 1.3) -> np.ndarray:
    """(2, 3) matrix from the frame to DeepfakeBench's aligned crop; ``points`` (5, 2) as in ``five_point_template``."""
    return fit_similarity(points, five_point_template(size, scale))


def chip_matrix(points: np.ndarray, size: int = 224, padding: float = 0.37) -> np.ndarray:
    """Matrix from the frame to the image chip: turned and scaled like the mean face, eyes at 0.5 and 0.4 of the side.

    Args:
        points: (5, 2) eye centres, nose, mouth corners.
        size: side of the chip.
        padding: around the mean face, as a part of its side.

    Returns:
        (2, 3) float64.
    """
    target = (padding + _CHIP_MEAN_FACE) / (2 * padding + 1) * size
    fitted = fit_similarity(points, target)
    scale = math.hypot(fitted[0, 0], fitted[1, 0])
    angle = math.degrees(math.atan2(fitted[1, 0], fitted[0, 0]))
    x, y = (float(value) for value in np.asarray(points[:2], np.float64).mean(axis=0))
    matrix = np.asarray(cv2.getRotationMatrix2D((x, y), -angle, scale), np.float64)
    matrix[:, 2] += (_CHIP_EYES[0] * size - x, _CHIP_EYES[1] * size - y)
    return matrix


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """(size, size[, 3]) crop: bilinear, black outside the frame."""
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(P, 2) float32: points carried by a (2, 3) matrix."""
    return (np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
