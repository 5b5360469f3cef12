"""Landmarks by dlib's shape predictor (68 or 81 points), and the five points that alignment needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import ConfigError
from preprocessing.faces.base import Face
from preprocessing.faces.dlib_hog import load_dlib
from preprocessing.versions import file_sha256

AUTO = "auto"
NUMBERS_OF_POINTS = (68, 81)
# DeepfakeBench's five parts: left eye, right eye, nose, left and right of the mouth. 49 and 55 lie one beside the true
# corners 48 and 54; published crops depend on it.
ALIGNMENT_PARTS = (37, 44, 30, 49, 55)
_PACKAGED = (("face_recognition_models", "models/shape_predictor_68_face_landmarks.dat"),)
_NAMES = ("shape_predictor_81_face_landmarks.dat", "shape_predictor_68_face_landmarks.dat")


def find_predictor() -> Path | None:
    """A predictor file that an installed package brings, or None; the package is not imported."""
    for package, file in _PACKAGED:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (Path(folder) / file).is_file():
                return Path(folder) / file
    return None


def resolve_predictor(text: str) -> Path:
    """The predictor file a user means: a path, or ``auto`` for one that an installed package brings.

    Raises:
        ConfigError: there is none; the message says where such files come from.
    """
    path = find_predictor() if text == AUTO else Path(text)
    if path is None or not path.is_file():
        where = "no installed package brings one" if text == AUTO else f"there is no file {text}"
        raise ConfigError(
            f"--landmarks: a dlib landmark model is needed, but {where}. Give one: --landmarks FILE, with "
            f"{_NAMES[1]} (dlib.net/files, or pip install face_recognition_models; trained on iBUG 300-W, which "
            f"excludes commercial use) or {_NAMES[0]} (github.com/codeniko/shape_predictor_81_face_landmarks)."
        )
    return path


class Predictor:
    """dlib shape predictor.

    Args:
        path: its ``.dat`` file.

    Attributes:
        num_points: 68 or 81.

    Raises:
        ConfigError: not a predictor, or one with another number of points.
    """

    def __init__(self, path: Path) -> None:
        dlib = load_dlib("landmarks")
        try:
            self._predictor = dlib.shape_predictor(str(path))
        except RuntimeError as error:
            raise ConfigError(f"--landmarks {path}: not a dlib shape predictor ({error}).") from error
        self._rectangle = dlib.rectangle
        self._version = str(dlib.__version__)
        self._sha256 = file_sha256(path)
        self.num_points = len(self.predict(np.zeros((64, 64, 3), np.uint8), (8, 8, 56, 56)))
        if self.num_points not in NUMBERS_OF_POINTS:
            raise ConfigError(f"--landmarks {path}: has {self.num_points} points; 68 or 81 are needed.")

    def predict(self, image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
        """Landmarks of the face in a box.

        Args:
            image: (H, W, 3) uint8.
            box: left, top, right, bottom in pixels.

        Returns:
            (68 or 81, 2) float32, whole pixels of the image; may lie outside it.
        """
        shape = self._predictor(np.ascontiguousarray(image), self._rectangle(*box))
        return np.array([(part.x, part.y) for part in shape.parts()], np.float32)

    def settings(self) -> Mapping[str, Any]:
        """Number of points and the hash of the file; its path does not matter."""
        return {"points": self.num_points, "sha256": self._sha256}

    def versions(self) -> Mapping[str, str]:
        """The dlib version."""
        return {"dlib": self._version}


def alignment_points(face: Face, points: np.ndarray | None) -> np.ndarray | None:
    """The five points of DeepfakeBench's alignment, (5, 2), or None when neither predictor nor finder gives them."""
    return _five(face) if points is None else points[list(ALIGNMENT_PARTS)]


def chip_points(face: Face, points: np.ndarray | None) -> np.ndarray | None:
    """Eye centres, nose tip and mouth corners, (5, 2), as five-point finders give them; None when there are none."""
    if points is None:
        return _five(face)
    eyes = [points[36:42].mean(axis=0), points[42:48].mean(axis=0)]
    return np.stack([*eyes, points[30], points[48], points[54]])


def _five(face: Face) -> np.ndarray | None:
    return face.points if face.points is not None and face.points.shape == (5, 2) else None
