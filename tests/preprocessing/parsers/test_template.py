from __future__ import annotations

import numpy as np
import pytest

from benchmark.errors import ConfigError
from preprocessing.parsers.base import CLASSES, FrameName
from preprocessing.parsers.template import TYPICAL_FACE
from preprocessing.tools import build_parser

NAME = FrameName("f", "v", 0)


def test_the_typical_face_is_symmetric_and_has_every_class() -> None:
    parser = build_parser("template")
    parsing = parser.parse(np.zeros((224, 224, 3), np.uint8), None, NAME)
    assert parsing.shape == (224, 224)
    assert set(np.unique(parsing)) == set(range(11))
    swap = np.array([0, 1, 3, 2, 5, 4, 6, 7, 8, 9, 10], np.uint8)
    assert (swap[parsing[:, ::-1]] != parsing).mean() < 0.02
    assert CLASSES[parsing[round(0.55 * 224), 112]] == "nose"
    assert not parser.needs_landmarks


def test_it_is_drawn_at_the_crops_size_and_hair_can_be_left_out() -> None:
    small = build_parser("template", (("hair", 0),)).parse(np.zeros((64, 96, 3), np.uint8), None, NAME)
    assert small.shape == (64, 96)
    assert CLASSES.index("hair") not in small
    with pytest.raises(ConfigError, match="hair must be 0 or 1, not 2"):
        build_parser("template", (("hair", 2),))


def test_hand_marked_faces_are_near_it(shared) -> None:
    """On dlib's examples the landmarks lie about 0.07 crop widths from it on average; its docstring says so."""
    pytest.importorskip("dlib")
    import xml.etree.ElementTree as ElementTree

    import cv2

    from preprocessing.faces.crop import face_square
    from preprocessing.faces.dlib_hog import DlibHog

    folder, finder, distances = shared / "data" / "real" / "faces68", DlibHog(), []
    for entry in ElementTree.parse(folder / "testing_with_face_landmarks.xml").getroot().iter("image"):
        image = cv2.cvtColor(cv2.imread(str(folder / entry.get("file").rpartition("/")[2])), cv2.COLOR_BGR2RGB)
        faces = finder.find(np.ascontiguousarray(image))
        for box in entry.iter("box"):
            points = np.array([[float(part.get("x")), float(part.get("y"))] for part in box.iter("part")])
            for face in faces:
                left, top, right, bottom = face.box
                middle = points.mean(0)
                if left < middle[0] < right and top < middle[1] < bottom:
                    x, y, size = face_square(face.box, image.shape[1], image.shape[0])
                    distances.append(np.linalg.norm((points - (x, y)) / size - TYPICAL_FACE, axis=1).mean())
    assert len(distances) >= 5
    assert np.mean(distances) < 0.09
