"""A face finder for tests: the bright patch of a frame is the face. Quick, exact, and able to be slow on demand."""

import os
import time

import cv2
import numpy as np

from benchmark.registry import FACE_FINDERS
from preprocessing.faces.base import Face, FaceFinder


@FACE_FINDERS.register("bright")
class Bright(FaceFinder):
    """Bounding boxes of the patches brighter than a threshold, from left to right."""

    def __init__(self, threshold: int = 200) -> None:
        self.threshold = threshold

    def find(self, image: np.ndarray) -> list[Face]:
        time.sleep(float(os.environ.get("BRIGHT_DELAY", "0")))
        mask = (image.min(axis=2) > self.threshold).astype(np.uint8)
        _, _, patches, _ = cv2.connectedComponentsWithStats(mask)
        boxes = [(int(x), int(y), int(x + w - 1), int(y + h - 1)) for x, y, w, h, area in patches[1:] if area >= 100]
        return [Face(box) for box in sorted(boxes)]

    def settings(self) -> dict[str, int]:
        return {"threshold": self.threshold}
