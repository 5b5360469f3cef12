"""dlib's HOG detector, fast: a reduced first search, then only the surroundings of the last faces, at their size.

The exact mode scans a pyramid of the whole frame, doubled: from faces of 40 pixels up, at levels of ratio 5/6. Here

- the first frame of a source, and every ``every``-th after it, is searched whole at the pyramid level at which the
  smallest face looked for has ``smallest`` of the frame's shorter side;
- in the frames between, each face is looked for in a square around its last box, from one level finer on;
- a frame in which that finds nothing is searched whole, reduced; if that finds nothing either, exactly.

All of it samples the image on the grid of the exact pyramid (same scales, cells of 8 pixels in phase), which is what
keeps boxes near the exact ones: dlib's boxes move in steps of a cell, a ninth of the face. ``perf/preprocessing.py``
measures speed and overlap. The crop rule is the same as in exact mode.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from benchmark.errors import ConfigError
from benchmark.registry import FACE_FINDERS
from preprocessing.faces.base import Face, FaceFinder, overlap
from preprocessing.faces.dlib_hog import load_dlib

_STEP = 6 / 5  # dlib's pyramid: each level has 5/6 of the side of the one before
_BOX = 72.5  # side of a box of the detector at the level on which it was found
_CELL = 8
_PERIOD = 6 * _CELL  # an origin that is a multiple of this is in phase at the next coarser level too
_SHIFT = 0.25  # between OpenCV's sampling and dlib's pyramid, in pixels of the frame; measured
_BLUR = 0.5  # standard deviation in pixels of the reduced image, against aliasing
_SAME_FACE = 0.5


@FACE_FINDERS.register("dlib_fast")
class DlibFast(FaceFinder):
    """dlib HOG, fast: reduced search, then tracking between frames; near the boxes of ``dlib``, about 12 times faster.

    Args:
        every: a whole-frame search at least every so many frames, so that new faces are seen.
        around: side of the square searched for a face over the side of its last box.
        smallest: side of the smallest face of a whole-frame search over the shorter side of the frame.
    """

    def __init__(self, every: int = 16, around: float = 2.2, smallest: float = 0.1) -> None:
        if not isinstance(every, int) or every < 1:
            raise ConfigError(f"Face finder dlib_fast: every must be a whole number from 1 on, not {every!r}.")
        if not 1.2 <= around <= 10:
            raise ConfigError(f"Face finder dlib_fast: around must be between 1.2 and 10, not {around!r}.")
        if not 0 < smallest < 1:
            raise ConfigError(f"Face finder dlib_fast: smallest must be between 0 and 1, not {smallest!r}.")
        dlib = load_dlib("dlib_fast")
        self._detector = dlib.get_frontal_face_detector()
        self._version = str(dlib.__version__)
        self.every, self.around, self.smallest = every, around, smallest
        self.start_source()

    def start_source(self) -> None:
        """Forget the faces of the source before."""
        self._last: list[Face] = []
        self._age = 0

    def find(self, image: np.ndarray) -> list[Face]:
        """See ``FaceFinder.find``."""
        faces: list[Face] = []
        self._age += 1
        if self._last and self._age < self.every:
            faces = [face for last in self._last for face in self._search_near(image, last)]
        if not faces:
            faces = self._search_whole(image)
            self._age = 0
        self._last = best_of_each(faces)
        return self._last

    def find_still(self, image: np.ndarray) -> list[Face]:
        """Exact search, without touching the track."""
        boxes, scores, _ = self._detector.run(image, 1)
        return [
            Face((box.left(), box.top(), box.right(), box.bottom()), float(score))
            for box, score in zip(boxes, scores, strict=True)
        ]

    def settings(self) -> Mapping[str, Any]:
        """How often, how far and how finely it searches."""
        return {"every": self.every, "around": self.around, "smallest": self.smallest}

    def versions(self) -> Mapping[str, str]:
        """The dlib version."""
        return {"dlib": self._version}

    def _search_whole(self, image: np.ndarray) -> list[Face]:
        height, width = image.shape[:2]
        level = _level(self.smallest * min(height, width))
        faces = self._search(image, level, (0, 0, width, height)) if level > 0 else []
        return faces or self.find_still(image)

    def _search_near(self, image: np.ndarray, face: Face) -> list[Face]:
        left, top, right, bottom = face.box
        half = max(right - left, bottom - top) * self.around / 2
        x, y = (left + right) / 2, (top + bottom) / 2
        return self._search(image, _level(right - left) - 1, (x - half, y - half, x + half, y + half))

    def _search(self, image: np.ndarray, level: int, window: tuple[float, float, float, float]) -> list[Face]:
        """Faces inside a window of the frame, searched from one pyramid level on."""
        scale = 2 / _STEP ** max(level, 0)
        height, width = image.shape[:2]
        left, top = (max(0, math.floor(edge * scale / _PERIOD) * _PERIOD) for edge in window[:2])
        right = min(int(width * scale), int(window[2] * scale))
        bottom = min(int(height * scale), int(window[3] * scale))
        if right - left < _CELL or bottom - top < _CELL:
            return []
        small = _sample(image, scale, (left, top, right, bottom))
        boxes, scores, _ = self._detector.run(small, 0)
        return [
            Face(
                (
                    round((box.left() + left) / scale),
                    round((box.top() + top) / scale),
                    round((box.right() + left) / scale),
                    round((box.bottom() + top) / scale),
                ),
                float(score),
            )
            for box, score in zip(boxes, scores, strict=True)
        ]


def _level(side: float) -> int:
    """Pyramid level (0 = the doubled frame) on which a box of this side is found."""
    return round(math.log(max(2 * side / _BOX, 1e-3), _STEP))


def _sample(image: np.ndarray, scale: float, window: tuple[int, int, int, int]) -> np.ndarray:
    """A window of the frame at a scale; the window is given in pixels of the result."""
    left, top, right, bottom = window
    x, y = int(left / scale), int(top / scale)
    part = image[y : math.ceil(bottom / scale) + 1, x : math.ceil(right / scale) + 1]
    if scale < 1:
        part = cv2.GaussianBlur(part, (0, 0), _BLUR / scale)
    back = np.array([[1 / scale, 0, left / scale - x + _SHIFT], [0, 1 / scale, top / scale - y + _SHIFT]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(part, back, (right - left, bottom - top), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def best_of_each(faces: Sequence[Face]) -> list[Face]:
    """Faces by falling score, without those that overlap a better one."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(overlap(face.box, other.box) < _SAME_FACE for other in kept):
            kept.append(face)
    return kept
