"""The contract of a face parser, and LaPa's classes as FaRL numbers them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

CLASSES = (
    "background", "skin", "right_brow", "left_brow", "right_eye", "left_eye",
    "nose", "upper_lip", "inner_mouth", "lower_lip", "hair",
)  # fmt: skip
"""Class names by id; right and left are the person's own."""


@dataclass(frozen=True, slots=True)
class FrameName:
    """Which frame a crop was cut from.

    Attributes:
        folder: ``Item.folder``.
        video: ``Item.video``.
        number: frame number.
        image: stem of the image file behind the number, for items whose images have names of their own.
    """

    folder: str
    video: str
    number: int
    image: str = ""


class FaceParser(ABC):
    """Turns a face crop into a map of class ids. One instance lives in each worker process.

    Options are keyword arguments of the constructor (numbers or strings, from ``--parse-option``).

    Class attributes:
        needs_landmarks: ``parse`` is given 68 or 81 points, and is not called without them.
    """

    needs_landmarks = False

    @abstractmethod
    def parse(self, image: np.ndarray, landmarks: np.ndarray | None, name: FrameName) -> np.ndarray | None:
        """The map of one stored crop.

        Args:
            image: (H, W, 3) uint8 RGB, the crop as it is stored.
            landmarks: (68 or 81, 2) float32 in pixels of the crop, or None.
            name: where it comes from.

        Returns:
            (h, w) uint8 ids of ``CLASSES``, resized to the crop by the caller; None when there is no map.
        """

    def settings(self) -> Mapping[str, Any]:
        """Everything that changes the map; part of the dataset's fingerprint."""
        return {}

    def versions(self) -> Mapping[str, str]:
        """Versions of the libraries that decide the map."""
        return {}
