"""RetinaFace through the facer package: finds profiles and odd faces that HOG misses, with five landmarks each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.errors import ConfigError
from benchmark.registry import FACE_FINDERS
from preprocessing.faces.base import Face, FaceFinder
from preprocessing.faces.facer_tools import build_model, load_facer, pick_device, to_tensor
from preprocessing.versions import package_version

_NAME = "Face finder 'retinaface'"


@FACE_FINDERS.register("retinaface")
class RetinaFace(FaceFinder):
    """RetinaFace by facer (needs ``pip install pyfacer``; the package downloads its weights on first use).

    Args:
        model: facer's name of the network.
        threshold: lowest confidence.
        device: torch device; ``auto`` is a GPU when there is one.
    """

    gives_points = True

    def __init__(self, model: str = "retinaface/mobilenet", threshold: float = 0.5, device: str = "auto") -> None:
        if not 0 < threshold < 1:
            raise ConfigError(f"{_NAME}: threshold must be between 0 and 1, not {threshold!r}.")
        self._facer = load_facer(_NAME)
        self._device = pick_device(device)
        self._detector = build_model(_NAME, self._facer.face_detector, model, self._device, threshold=threshold)
        self.model, self.threshold = model, threshold

    def find(self, image: np.ndarray) -> list[Face]:
        """See ``FaceFinder.find``; boxes are rounded to pixels, points are eyes, nose, mouth corners, left first."""
        import torch

        with torch.inference_mode():
            found = self._detector(to_tensor(self._facer, image, self._device))
        boxes, scores, points = (np.asarray(found[key].cpu(), np.float32) for key in ("rects", "scores", "points"))
        faces = [_face(*values) for values in zip(boxes, scores, points, strict=True)]
        return sorted(faces, key=lambda face: -face.score)

    def settings(self) -> Mapping[str, Any]:
        """Network and threshold; the device is not part of it."""
        return {"model": self.model, "threshold": self.threshold}

    def versions(self) -> Mapping[str, str]:
        """Versions of facer and torch."""
        return {"pyfacer": package_version("pyfacer"), "torch": package_version("torch")}


def _face(box: np.ndarray, score: np.ndarray, points: np.ndarray) -> Face:
    left, top, right, bottom = (round(float(edge)) for edge in box)
    return Face((left, top, right, bottom), float(score), points.reshape(5, 2))
