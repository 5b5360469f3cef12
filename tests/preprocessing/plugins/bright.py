"""A face finder for tests: the bright patch of a frame is the face. Quick, exact, and able to be slow on demand."""

import os
import time

import numpy as np

from benchmark.registry import FACE_FINDERS
from preprocessing.faces.base import Face, FaceFinder


@FACE_FINDERS.register("bright")
class Bright(FaceFinder):
    """Bounding box of all pixels brighter than a threshold."""

    def __init__(self, threshold: int = 200) -> None:
        self.threshold = threshold

    def find(self, image: np.ndarray) -> list[Face]:
        time.sleep(float(os.environ.get("BRIGHT_DELAY", "0")))
        rows, columns = np.nonzero(image.min(axis=2) > self.threshold)
        if rows.size < 100:
            return []
        return [Face((int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())))]

    def settings(self) -> dict[str, int]:
        return {"threshold": self.threshold}
