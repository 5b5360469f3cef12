"""Parsing maps from 68 or 81 landmarks alone: the fallback where no parsing network can be had.

Which classes follow the picture and which are drawn by rule:

| class | from |
|---|---|
| eyes, lips, inner mouth | their own landmarks |
| nose | bridge and base landmarks; the wings are widened by rule |
| brows | their five landmarks, drawn with a thickness by rule |
| skin | jaw line; the forehead from landmarks 68-80 when there are 81, else an arc above the brows by rule |
| hair | no landmark shows it: a cap above the forehead by rule, switched off with ``hair=0`` |

So hair, and with 68 points the forehead, are where a head of common shape would have them; occlusions, glasses and
hats are not seen. The settings of a store say that its maps were made this way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from benchmark.errors import ConfigError
from benchmark.registry import FACE_PARSERS
from preprocessing.parsers.base import CLASSES, FaceParser, FrameName

_JAW = slice(0, 17)
_RIGHT_BROW, _LEFT_BROW = slice(17, 22), slice(22, 27)
_RIGHT_EYE, _LEFT_EYE = slice(36, 42), slice(42, 48)
_NOSE_BASE = slice(31, 36)
_UPPER_LIP = (48, 49, 50, 51, 52, 53, 54, 64, 63, 62, 61, 60)
_INNER_MOUTH = tuple(range(60, 68))
_LOWER_LIP = (54, 55, 56, 57, 58, 59, 48, 60, 67, 66, 65, 64)
_FOREHEAD = slice(68, 81)
_BROW_THICKNESS = 0.09  # all of these: parts of the distance between the outer eye corners
_NOSE_WING = 0.06
_FOREHEAD_HEIGHT = 0.62
_HAIR_HEIGHT = 0.45
_HAIR_SIDE = 0.14


@FACE_PARSERS.register("landmarks")
class LandmarkPolygons(FaceParser):
    """Polygons between 68 or 81 landmarks; hair (and the forehead, with 68) are drawn by rule, not seen.

    Args:
        hair: 1 draws the cap of hair, 0 leaves it out.
    """

    needs_landmarks = True

    def __init__(self, hair: int = 1) -> None:
        if hair not in (0, 1):
            raise ConfigError(f"Face parser landmarks: hair must be 0 or 1, not {hair!r}.")
        self.hair = hair

    def parse(self, image: np.ndarray, landmarks: np.ndarray | None, name: FrameName) -> np.ndarray | None:
        """See ``FaceParser.parse``."""
        assert landmarks is not None
        return draw_map(landmarks, image.shape[0], image.shape[1], has_hair=bool(self.hair))

    def settings(self) -> Mapping[str, Any]:
        """Whether hair is drawn, and what is not seen but drawn by rule."""
        return {"hair": self.hair, "by_rule": "hair, brow thickness, nose wings; forehead with 68 points"}


def draw_map(points: np.ndarray, height: int, width: int, *, has_hair: bool = True) -> np.ndarray:
    """Map of class ids from landmarks.

    Args:
        points: (68 or 81, 2) x and y in pixels of the map, iBUG order.
        height: of the map.
        width: of the map.
        has_hair: draw the cap of hair.

    Returns:
        (height, width) uint8 ids of ``CLASSES``.
    """
    points = points.astype(np.float64)
    canvas = np.zeros((height, width), np.uint8)
    unit = max(float(np.linalg.norm(points[45] - points[36])), 1e-3)  # all points may be one
    across, up = _axes(points)
    forehead = _forehead(points, up * unit)
    if has_hair:
        _fill(canvas, "hair", _cap(points, forehead, across * unit, up * unit))
    _fill(canvas, "skin", np.concatenate([points[_JAW], forehead]))
    for name, brow in (("right_brow", points[_RIGHT_BROW]), ("left_brow", points[_LEFT_BROW])):
        thickness = max(1, round(_BROW_THICKNESS * unit))
        cv2.polylines(canvas, [_pixels(brow)], isClosed=False, color=CLASSES.index(name), thickness=thickness)
    _fill(canvas, "right_eye", points[_RIGHT_EYE])
    _fill(canvas, "left_eye", points[_LEFT_EYE])
    _fill(canvas, "nose", _nose(points, across * unit))
    _fill(canvas, "upper_lip", points[list(_UPPER_LIP)])
    _fill(canvas, "lower_lip", points[list(_LOWER_LIP)])
    _fill(canvas, "inner_mouth", points[list(_INNER_MOUTH)])
    return canvas


def _axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the face: from its right to its left eye, and from chin to forehead."""
    across = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
    across = across / max(float(np.linalg.norm(across)), 1e-9)
    return across, np.array([across[1], -across[0]])


def _forehead(points: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Edge of the forehead from the left temple to the right one."""
    if len(points) == 81:
        edge = points[_FOREHEAD]
        along = (edge - points[27]) @ np.array([up[1], -up[0]])  # the model does not number them along the edge
        return edge[np.argsort(along)]
    left, right = points[16], points[0]
    middle, half = (left + right) / 2, (left - right) / 2
    brows = np.concatenate([points[_RIGHT_BROW], points[_LEFT_BROW]]).mean(axis=0)
    top = brows + up * _FOREHEAD_HEIGHT - middle
    angles = np.linspace(0, np.pi, 15)[1:-1, None]
    return middle + half * np.cos(angles) + top * np.sin(angles)


def _cap(points: np.ndarray, forehead: np.ndarray, across: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Outline of the hair: from ear to ear over the forehead, wider and higher than it."""
    left, right = points[16], points[0]
    middle = (left + right) / 2
    half = (left - right) / 2 + across * _HAIR_SIDE
    highest = float(((forehead - middle) @ up).max()) / max(float(up @ up), 1e-9)
    top = up * (highest + _HAIR_HEIGHT)
    angles = np.linspace(0, np.pi, 25)[:, None]
    return middle + half * np.cos(angles) + top * np.sin(angles)


def _nose(points: np.ndarray, across: np.ndarray) -> np.ndarray:
    base = points[_NOSE_BASE].copy()
    base[0] -= across * _NOSE_WING
    base[-1] += across * _NOSE_WING
    sides = np.stack([points[27] + across * _NOSE_WING, points[27] - across * _NOSE_WING])
    return np.concatenate([base, sides])


def _fill(canvas: np.ndarray, name: str, outline: np.ndarray) -> None:
    cv2.fillPoly(canvas, [_pixels(outline)], CLASSES.index(name))


def _pixels(outline: np.ndarray) -> np.ndarray:
    return np.round(outline).astype(np.int32).reshape(-1, 1, 2)
