"""YuNet through OpenCV: small, quick on a CPU, with five landmarks; the model file is the user's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmark.errors import ConfigError
from benchmark.registry import FACE_FINDERS
from preprocessing.faces.base import Face, FaceFinder
from preprocessing.versions import file_sha256

_ORIGIN = "face_detection_yunet_*.onnx from github.com/opencv/opencv_zoo, folder models/face_detection_yunet"


@FACE_FINDERS.register("yunet")
class YuNet(FaceFinder):
    """YuNet by OpenCV (needs ``--face-option model=FILE.onnx``).

    Args:
        model: the ONNX file.
        threshold: lowest confidence.
        nms: overlap above which the weaker of two boxes is dropped.
        max_side: larger frames are searched at this longer side.
    """

    gives_points = True

    def __init__(self, model: str = "", threshold: float = 0.6, nms: float = 0.3, max_side: int = 1280) -> None:
        if not model:
            raise ConfigError(f"Face finder yunet needs its model file: --face-option model=PATH ({_ORIGIN}).")
        path = Path(model)
        if not path.is_file():
            raise ConfigError(f"Face finder yunet: no model file at {path} ({_ORIGIN}).")
        if not hasattr(cv2, "FaceDetectorYN"):
            raise ConfigError(f"Face finder yunet needs OpenCV 4.5.4 or later; this is {cv2.__version__}.")
        try:
            self._detector = cv2.FaceDetectorYN.create(str(path), "", (320, 320), threshold, nms, 5000)
        except cv2.error as error:
            raise ConfigError(f"Face finder yunet: OpenCV cannot load {path} ({error.err}). {_ORIGIN}.") from error
        self._options = {"threshold": threshold, "nms": nms, "max_side": max_side}
        self._sha256 = file_sha256(path)
        self._max_side = max_side

    def find(self, image: np.ndarray) -> list[Face]:
        """See ``FaceFinder.find``; points are eyes, nose, mouth corners, left in the image first."""
        height, width = image.shape[:2]
        scale = min(1.0, self._max_side / max(height, width))
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if scale < 1:
            bgr = cv2.resize(bgr, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        self._detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, rows = self._detector.detect(bgr)
        faces = [_face(row, scale) for row in (() if rows is None else rows)]
        return sorted(faces, key=lambda face: -face.score)

    def settings(self) -> Mapping[str, Any]:
        """Thresholds and the hash of the model file."""
        return {**self._options, "model_sha256": self._sha256}


def _face(row: np.ndarray, scale: float) -> Face:
    """One row of OpenCV's result: x, y, width, height, five points, score."""
    x, y, width, height = (float(value) / scale for value in row[:4])
    points = np.asarray(row[4:14], np.float32).reshape(5, 2) / scale
    return Face((round(x), round(y), round(x + width), round(y + height)), float(row[14]), points.astype(np.float32))
