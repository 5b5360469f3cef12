"""The published crop rule: a square 1.3 times the larger box side, clipped at the border, not aligned, not resized."""

from __future__ import annotations

import cv2
import numpy as np

Crop = tuple[int, int, int]
RESIZE_FILTER = "OpenCV area when shrinking, cubic when enlarging"


def face_square(box: tuple[int, int, int, int], width: int, height: int, margin: float = 1.3) -> Crop | None:
    """Square around a face (FaceForensics++'s rule, as FSFM and others use it).

    At the left and top border the square moves inside; at the right and bottom it shrinks instead.

    Args:
        box: left, top, right, bottom in pixels.
        width: of the image.
        height: of the image.
        margin: side of the square over the larger side of the box.

    Returns:
        (x, y, size) in pixels, or None when the box lies outside the image.
    """
    left, top, right, bottom = box
    size = int(max(right - left, bottom - top) * margin)
    x = max((left + right) // 2 - size // 2, 0)
    y = max((top + bottom) // 2 - size // 2, 0)
    size = min(width - x, height - y, size)
    return (x, y, size) if size > 0 else None


def cut(image: np.ndarray, crop: Crop) -> np.ndarray:
    """(size, size, 3) view of the image inside ``crop``."""
    x, y, size = crop
    return image[y : y + size, x : x + size]


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) copy; area filter when shrinking, cubic when enlarging."""
    shrinks = min(image.shape[:2]) > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
