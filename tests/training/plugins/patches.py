"""A face finder for tests: every bright patch of a frame is a face, best (largest) first."""

import cv2
import numpy as np

from benchmark.registry import FACE_FINDERS
from preprocessing.faces.base import Face, FaceFinder


@FACE_FINDERS.register("patches")
class Patches(FaceFinder):
    """Boxes of the connected regions brighter than a threshold."""

    def __init__(self, threshold: int = 150) -> None:
        self.threshold = threshold

    def find(self, image: np.ndarray) -> list[Face]:
        bright = (cv2.GaussianBlur(image, (0, 0), 1.5).min(axis=2) > self.threshold).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(bright)
        boxes = [(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h, area in stats[1:] if area > 60]
        return [Face(box) for box in sorted(boxes, key=lambda box: -(box[2] - box[0]))]

    def settings(self) -> dict[str, object]:
        return {"threshold": self.threshold, "sha256": "of a model: recorded, but no option"}
