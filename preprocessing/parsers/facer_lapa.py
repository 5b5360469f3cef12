"""FaRL's LaPa parser through the facer package: the maps FSFM was pre-trained with.

As in the published pre-processing: the crop is resized to 224 pixels (Pillow, bicubic), RetinaFace (mobilenet,
threshold 0.3) finds the face in it, the first face is parsed, the class of highest logit is taken per pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.registry import FACE_PARSERS
from preprocessing.faces.facer_tools import build_model, load_facer, pick_device, to_tensor
from preprocessing.parsers.base import FaceParser, FrameName
from preprocessing.versions import package_version

_NAME = "Face parser 'facer'"


@FACE_PARSERS.register("facer")
class FacerLaPa(FaceParser):
    """FaRL trained on LaPa, by facer (needs ``pip install pyfacer``, which downloads its weights on first use).

    Args:
        model: facer's name of the parser.
        detector: facer's name of the face detector that places the parser.
        threshold: lowest confidence of the detector.
        size: side to which the crop is resized first.
        device: torch device; ``auto`` is a GPU when there is one.
    """

    def __init__(
        self,
        model: str = "farl/lapa/448",
        detector: str = "retinaface/mobilenet",
        threshold: float = 0.3,
        size: int = 224,
        device: str = "auto",
    ) -> None:
        self._facer = load_facer(_NAME)
        self._device = pick_device(device)
        make_detector, make_parser = self._facer.face_detector, self._facer.face_parser
        self._detector = build_model(_NAME, make_detector, detector, self._device, threshold=threshold)
        self._parser = build_model(_NAME, make_parser, model, self._device)
        self._size = size
        self._settings = {"model": model, "detector": detector, "threshold": threshold, "size": size}

    def parse(self, image: np.ndarray, landmarks: np.ndarray | None, name: FrameName) -> np.ndarray | None:
        """See ``FaceParser.parse``; None when the detector sees no face in the crop."""
        import torch
        from PIL import Image

        resized = np.array(Image.fromarray(image).resize((self._size, self._size), Image.Resampling.BICUBIC))
        tensor = to_tensor(self._facer, resized, self._device)
        with torch.inference_mode():
            faces = self._detector(tensor)
            if len(faces["rects"]) == 0:  # facer's parser fails on an empty list
                return None
            logits = self._parser(tensor, _first(faces))["seg"]["logits"]  # (1, 11, H, W)
        return logits[0].argmax(dim=0).to(torch.uint8).cpu().numpy()

    def settings(self) -> Mapping[str, Any]:
        """Networks, threshold and size."""
        return self._settings

    def versions(self) -> Mapping[str, str]:
        """Versions of facer, torch and Pillow."""
        return {name: package_version(name) for name in ("pyfacer", "torch", "Pillow")}


def _first(faces: Mapping[str, Any]) -> dict[str, Any]:
    """The first face of facer's result (it sorts by falling score)."""
    return {key: values[:1] for key, values in faces.items()}
