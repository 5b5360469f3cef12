"""Parsing maps of a typical upright face: for machines without any landmark or parsing model.

Nothing of the picture is looked at. The 68 landmarks of a frontal face of common shape are laid into the crop as the
published crop rule (a square 1.3 times the dlib box) places it, and drawn as the ``landmarks`` parser draws them. On 43
hand-marked faces of dlib's examples they are 0.074 crop widths off on average; the best fixed face would be 0.068 off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.errors import ConfigError
from benchmark.registry import FACE_PARSERS
from preprocessing.parsers.base import FaceParser, FrameName
from preprocessing.parsers.landmark_polygons import draw_map

# x and y in parts of the side, iBUG order: the mean face of the demo worlds, made wider, and longer below the nose.
TYPICAL_FACE = np.array([
    # jaw
    (0.161, 0.399), (0.167, 0.489), (0.184, 0.584), (0.212, 0.680), (0.251, 0.763), (0.299, 0.833), (0.355, 0.886),
    (0.420, 0.919), (0.500, 0.930), (0.580, 0.919), (0.645, 0.886), (0.701, 0.833), (0.749, 0.763), (0.788, 0.680),
    (0.816, 0.584), (0.833, 0.489), (0.839, 0.399),
    # brows
    (0.258, 0.309), (0.304, 0.297), (0.349, 0.293), (0.394, 0.301), (0.440, 0.317), (0.560, 0.317), (0.606, 0.301),
    (0.651, 0.293), (0.696, 0.297), (0.742, 0.309),
    # nose
    (0.500, 0.376), (0.500, 0.428), (0.500, 0.481), (0.500, 0.533), (0.440, 0.569), (0.469, 0.582), (0.500, 0.590),
    (0.531, 0.582), (0.560, 0.569),
    # eyes
    (0.289, 0.364), (0.328, 0.349), (0.376, 0.352), (0.414, 0.370), (0.375, 0.381), (0.329, 0.378), (0.586, 0.370),
    (0.624, 0.352), (0.672, 0.349), (0.711, 0.364), (0.671, 0.378), (0.625, 0.381),
    # lips
    (0.382, 0.710), (0.427, 0.687), (0.472, 0.677), (0.500, 0.681), (0.528, 0.677), (0.573, 0.687), (0.618, 0.710),
    (0.578, 0.745), (0.535, 0.758), (0.500, 0.760), (0.465, 0.758), (0.422, 0.745),
    # inner mouth
    (0.398, 0.710), (0.465, 0.706), (0.500, 0.708), (0.535, 0.706), (0.602, 0.710), (0.536, 0.719), (0.500, 0.720),
    (0.464, 0.719),
])  # fmt: skip


@FACE_PARSERS.register("template")
class TypicalFace(FaceParser):
    """A typical upright face in every crop, whatever the picture shows (needs no model and no landmarks).

    Args:
        hair: 1 draws the cap of hair, 0 leaves it out.
    """

    def __init__(self, hair: int = 1) -> None:
        if hair not in (0, 1):
            raise ConfigError(f"Face parser template: hair must be 0 or 1, not {hair!r}.")
        self.hair = hair

    def parse(self, image: np.ndarray, landmarks: np.ndarray | None, name: FrameName) -> np.ndarray | None:
        """See ``FaceParser.parse``."""
        height, width = image.shape[:2]
        return draw_map(TYPICAL_FACE * (width, height), height, width, has_hair=bool(self.hair))

    def settings(self) -> Mapping[str, Any]:
        """Whether hair is drawn, and that nothing is seen."""
        return {"hair": self.hair, "by_rule": "everything: the map does not depend on the picture"}
