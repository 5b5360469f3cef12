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
    """

    @abstractmethod
    def find(self, image: np.ndarray) -> list[Face]:
        """All faces of one frame in the finder's own order, best first.

        Args:
            image: (H, W, 3) uint8 RGB, C-contiguous.
        """

    def start_source(self) -> None:  # noqa: B027 - a hook, empty on purpose
        """Called before the first frame of each video or image; a tracking finder forgets the last one here."""

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


FACE_CHOICES: dict[str, Callable[[Sequence[Face]], Face]] = {"first": first_face, "largest": largest_face}
