"""One decoded frame to what is stored of it: crop, mask, landmarks, parsing map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from benchmark.data.store import encode_npy
from benchmark.errors import DataError
from preprocessing.faces.align import apply, chip_matrix, five_point_matrix, warp
from preprocessing.faces.base import FACE_CHOICES, MASK_CHOICE, Face, first_face, largest_face, most_forged_face
from preprocessing.faces.crop import Crop, cut, face_square, resize
from preprocessing.faces.landmarks import alignment_points, chip_points
from preprocessing.parsers.base import FrameName
from preprocessing.settings import PNG_COMPRESSION, Settings
from preprocessing.tools import Tools

NO_FACE = "no face"
NO_FACE_IN_CROP = "no face in the aligned crop"
NO_POINTS = "no landmarks to align by"
NO_LANDMARKS = "no landmarks"
NO_MAP = "no parsing map"
BROKEN_MAP = "unreadable parsing map"
MASK_THRESHOLD = 1
FaceRule = Callable[[Sequence[Face]], Face]
LANDMARKS, PARSING, MASKS = "landmarks", "parsing", "masks"
PART_SUFFIXES = {LANDMARKS: ".npy", MASKS: ".png", PARSING: ".png"}
"""Kinds of parts, with the file suffix of each."""


@dataclass
class StoredFrame:
    """What is stored of one frame.

    Attributes:
        image: encoded crop.
        crop: [x, y, size] in the frame, or None for aligned crops and for items that are crops already.
        matrix: the six numbers of the 2 x 3 matrix from the frame to the crop, row by row, for aligned crops.
        boxes: every face found, [left, top, right, bottom]; None when nothing was searched.
        parts: encoded parts by kind.
    """

    image: bytes
    crop: list[int] | None = None
    matrix: list[float] | None = None
    boxes: list[list[int]] | None = None
    parts: dict[str, bytes] = field(default_factory=dict)


@dataclass
class _View:
    """A crop before it is encoded."""

    image: np.ndarray
    mask: np.ndarray | None
    points: np.ndarray | None
    crop: Crop | None = None
    matrix: np.ndarray | None = None


class FrameWorker:
    """Turns frames into what is stored, under one set of settings.

    Args:
        settings: what to make.
        tools: its plugins, loaded.
    """

    def __init__(self, settings: Settings, tools: Tools) -> None:
        self.settings = settings
        self.tools = tools
        parser_needs = tools.parser is not None and tools.parser.needs_landmarks
        self._needs_points = settings.landmarks or parser_needs

    def process(self, image: np.ndarray, mask: np.ndarray | None, name: FrameName) -> StoredFrame | str:
        """One frame of a video or photograph.

        Args:
            image: (H, W, 3) uint8 RGB.
            mask: (H, W) uint8, or None.
            name: which frame it is.

        Returns:
            What is stored, or the reason why nothing is.
        """
        faces = self.tools.finder.find(image)
        if not faces:
            return NO_FACE
        return self.process_face(image, mask, name, self._choose(faces, mask), faces)

    def process_face(
        self, image: np.ndarray, mask: np.ndarray | None, name: FrameName, face: Face, faces: Sequence[Face]
    ) -> StoredFrame | str:
        """One face of a frame, chosen by the caller; ``faces`` are all that were found. See ``process``."""
        view = self._view(image, mask, face)
        if isinstance(view, str):
            return view
        return self._finish(view, name, [list(found.box) for found in faces])

    def process_crop(self, image: np.ndarray, mask: np.ndarray | None, name: FrameName) -> StoredFrame | str:
        """One frame that is a face crop already: stored whole; a face is searched only when landmarks are needed."""
        points = None
        if self._needs_points:
            points = self._points_inside(image, largest_face)
            if points is None:
                return NO_LANDMARKS
        return self._finish(_View(image, mask, points), name, None)

    def _choose(self, faces: Sequence[Face], mask: np.ndarray | None) -> Face:
        if self.settings.face_choice == MASK_CHOICE:
            return most_forged_face(faces, mask)
        return FACE_CHOICES[self.settings.face_choice](faces)

    def _view(self, image: np.ndarray, mask: np.ndarray | None, face: Face) -> _View | str:
        if self.settings.align:
            return self._aligned(image, mask, face)
        crop = face_square(face.box, image.shape[1], image.shape[0], self.settings.margin)
        if crop is None:
            return NO_FACE
        points = None
        if self._needs_points:
            assert self.tools.predictor is not None
            points = self.tools.predictor.predict(image, face.box) - np.array(crop[:2], np.float32)
        return _View(cut(image, crop), None if mask is None else cut(mask, crop), points, crop=crop)

    def _aligned(self, image: np.ndarray, mask: np.ndarray | None, face: Face) -> _View | str:
        size, predictor = self.settings.aligned_size, self.tools.predictor
        points = None if predictor is None else predictor.predict(image, face.box)
        is_chip = self.settings.align == "chip"
        five = chip_points(face, points) if is_chip else alignment_points(face, points)
        if five is None:
            return NO_POINTS
        matrix = chip_matrix(five, size) if is_chip else five_point_matrix(five, size, self.settings.margin)
        crop = warp(image, matrix, size)
        inside = None if points is None else apply(matrix, points)
        if not is_chip and predictor is not None:
            inside = self._second_detection(crop)
            if inside is None:
                return NO_FACE_IN_CROP
        warped_mask = None if mask is None else warp(mask, matrix, size)
        return _View(crop, warped_mask, inside if self._needs_points else None, matrix=matrix)

    def _second_detection(self, crop: np.ndarray) -> np.ndarray | None:
        """Landmarks found anew in the aligned crop, or None when no face is seen there (DeepfakeBench drops those)."""
        if self.settings.legacy_bgr:
            return self._points_inside(np.ascontiguousarray(crop[..., ::-1]), first_face)
        return self._points_inside(crop, largest_face)

    def _points_inside(self, image: np.ndarray, choose: FaceRule) -> np.ndarray | None:
        assert self.tools.predictor is not None
        faces = self.tools.finder.find_still(np.ascontiguousarray(image))
        return self.tools.predictor.predict(image, choose(faces).box) if faces else None

    def _finish(self, view: _View, name: FrameName, boxes: list[list[int]] | None) -> StoredFrame | str:
        image, points = view.image, view.points
        if self.settings.size is not None and view.matrix is None:
            image = resize(view.image, self.settings.size)
            points = None if points is None else _rescale(points, view.image, image)
        parts: dict[str, bytes] = {}
        if self.settings.landmarks and points is not None:
            parts[LANDMARKS] = encode_npy(points)
        if view.mask is not None and self.settings.masks:
            parts[MASKS] = encode_map(fit_map(binary_mask(view.mask), image))
        if self.tools.parser is not None:
            try:
                parsing = self.tools.parser.parse(np.ascontiguousarray(image), points, name)
            except DataError:
                return BROKEN_MAP
            if parsing is None:
                return NO_MAP
            parts[PARSING] = encode_map(fit_map(parsing, image))
        return StoredFrame(
            encode_image(image, self.settings),
            None if view.crop is None else list(view.crop),
            None if view.matrix is None else [round(float(value), 6) for value in view.matrix.ravel()],
            boxes,
            parts,
        )


def _rescale(points: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Points of one picture in another of other size; pixel centres are at whole numbers."""
    factor = np.array([new.shape[1] / old.shape[1], new.shape[0] / old.shape[0]])
    return ((points + 0.5) * factor - 0.5).astype(np.float32)


def binary_mask(mask: np.ndarray) -> np.ndarray:
    """(H, W) uint8 mask as 0 and 255: everything from 1 on is manipulated (DeepfakeBench's threshold)."""
    return np.where(mask >= MASK_THRESHOLD, np.uint8(255), np.uint8(0))


def fit_map(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(h, w) map at the size of the image; nearest neighbour, so that no new values appear."""
    height, width = image.shape[:2]
    if values.shape[:2] == (height, width):
        return values
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST)


def encode_image(image: np.ndarray, settings: Settings) -> bytes:
    """A crop (H, W, 3) uint8 RGB as the bytes of an image file in the settings' format."""
    if settings.quality is None:
        flags = [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION]
    else:
        flags = [cv2.IMWRITE_JPEG_QUALITY, settings.quality]
    is_done, content = cv2.imencode(settings.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    assert is_done, "OpenCV refused to encode a crop"
    return content.tobytes()


def encode_map(values: np.ndarray) -> bytes:
    """A map (H, W) uint8 as the bytes of a PNG file of one channel."""
    is_done, content = cv2.imencode(".png", values, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert is_done, "OpenCV refused to encode a map"
    return content.tobytes()
