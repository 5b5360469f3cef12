"""dlib's frontal HOG face detector, as the published face extraction uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.errors import ConfigError, RegistryError
from benchmark.registry import FACE_FINDERS
from preprocessing.faces.base import Face, FaceFinder


def load_dlib(name: str) -> Any:
    """The dlib module, for the face finder called ``name``.

    Raises:
        RegistryError: it is not installed; the message says how to get it.
    """
    try:
        import dlib
    except ImportError as error:
        raise RegistryError(
            f"Face finder '{name}' needs the dlib package, which is not installed. "
            "Install it as a wheel: pip install 'face-security-benchmark[preprocessing]'"
        ) from error
    return dlib


@FACE_FINDERS.register("dlib")
class DlibHog(FaceFinder):
    """dlib frontal HOG on the full RGB frame, one upsampling step: the published procedure.

    Args:
        upsample: times the frame is doubled before the search; 1 finds faces from about 40 pixels on.
    """

    def __init__(self, upsample: int = 1) -> None:
        if not isinstance(upsample, int) or upsample < 0:
            raise ConfigError(f"Face finder dlib: upsample must be a whole number from 0 on, not {upsample!r}.")
        dlib = load_dlib("dlib")
        self._detector = dlib.get_frontal_face_detector()
        self._version = str(dlib.__version__)
        self.upsample = upsample

    def find(self, image: np.ndarray) -> list[Face]:
        """See ``FaceFinder.find``; dlib orders by confidence, and its boxes may reach outside the frame."""
        boxes, scores, _ = self._detector.run(image, self.upsample)
        return [
            Face((box.left(), box.top(), box.right(), box.bottom()), float(score))
            for box, score in zip(boxes, scores, strict=True)
        ]

    def settings(self) -> Mapping[str, Any]:
        """Number of upsampling steps."""
        return {"upsample": self.upsample}

    def versions(self) -> Mapping[str, str]:
        """The dlib version."""
        return {"dlib": self._version}
