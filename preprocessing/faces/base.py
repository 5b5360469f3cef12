"""The contract of a face finder, and the rules that choose one face among several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Face:
    """One face found in a frame.

    Attributes:
        box: left, top, right, bottom in pixels of the frame; may reach outside it.
        score: the finder's confidence, higher is better; comparable within one finder only.
        points: (P, 2) float32 landmarks, x and y in pixels of the frame, for finders that give them.
    """

    box: tuple[int, int, int, int]
    score: float = 0.0
    points: np.ndarray | None = None


class FaceFinder(ABC):
    """Finds faces in frames. One instance lives in each worker process and sees whole sources, frame by frame.

    Options of a finder are keyword arguments of its constructor (numbers or strings, from ``--face-option``).

    Class attributes:
        gives_points: its faces have five ``points``, so that alignment needs no landmark model.
    """

    gives_points = False

    @abstractmethod
    def find(self, image: np.ndarray) -> list[Face]:
        """All faces of one frame in the finder's own order, best first.

        Args:
            image: (H, W, 3) uint8 RGB, C-contiguous.
        """

    def start_source(self) -> None:  # noqa: B027 - a hook, empty on purpose
        """Called before the first frame of each video or image; a tracking finder forgets the last one here."""

    def find_still(self, image: np.ndarray) -> list[Face]:
        """All faces of an image that is not the next frame of the source, such as an aligned crop.

        Args:
            image: (H, W, 3) uint8, C-contiguous.
        """
        return self.find(image)

    def settings(self) -> Mapping[str, Any]:
        """Everything that changes what is found; part of the dataset's fingerprint."""
        return {}

    def versions(self) -> Mapping[str, str]:
        """Versions of the libraries that decide what is found."""
        return {}


def first_face(faces: Sequence[Face]) -> Face:
    """The finder's first, that is its most confident face: the published rule, whatever its comments say."""
    return faces[0]


def largest_face(faces: Sequence[Face]) -> Face:
    """The face with the largest box; the first of equals."""
    return max(faces, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))


def most_forged_face(faces: Sequence[Face], mask: np.ndarray | None) -> Face:
    """The face with most manipulated pixels in its box; the largest where there is no mask or nothing is masked.

    In videos with several people the largest face may be the one that was left as it was (DeepFakeDetection).

    Args:
        faces: at least one.
        mask: (H, W) uint8, not 0 where the frame is manipulated, or None.
    """
    if mask is None:
        return largest_face(faces)
    counts = [_count_inside(mask, face.box) for face in faces]
    return faces[int(np.argmax(counts))] if max(counts) else largest_face(faces)


def _count_inside(mask: np.ndarray, box: tuple[int, int, int, int]) -> int:
    left, top, right, bottom = (max(edge, 0) for edge in box)
    return int(np.count_nonzero(mask[top:bottom, left:right]))


MASK_CHOICE = "largest_mask_overlap"
FACE_CHOICES: dict[str, Callable[[Sequence[Face]], Face]] = {
    "first": first_face,
    "largest": largest_face,
    MASK_CHOICE: largest_face,  # where a frame has a mask, most_forged_face decides
}


def overlap(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom); 0 when they do not meet."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return both / (sum(areas) - both)
