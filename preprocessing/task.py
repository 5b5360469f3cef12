"""One item to encoded face crops: the task every engine (this process, a pool, later Ray) runs.

``process_item`` depends on its argument only, touches no store, and can be pickled; the parent process writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from benchmark.errors import ConfigError, did_you_mean
from benchmark.registry import FACE_FINDERS
from preprocessing.faces.base import FACE_CHOICES, Face, FaceFinder
from preprocessing.faces.crop import RESIZE_FILTER, Crop, cut, face_square, resize
from preprocessing.layouts.base import Item
from preprocessing.video import FrameReader, FrameRule, UnreadableError

SUFFIXES = {"png": ".png", "jpeg": ".jpg"}
PNG_COMPRESSION = 3
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Settings:
    """Everything that decides which bytes are stored.

    Attributes:
        frames: which frames are taken.
        frames_real: another rule for real videos (FSFM takes 128 of them, to balance four manipulations of 32).
        face_finder: registered name.
        face_options: keyword arguments of the finder, sorted pairs.
        face_choice: a key of ``FACE_CHOICES``.
        margin: side of the crop over the larger side of the face box.
        size: side of the stored crops in pixels, or None for the crop as it is (the published way).
        image_format: ``png`` or ``jpeg``.
        quality: JPEG quality 1-100; None for PNG.
    """

    frames: FrameRule = field(default_factory=lambda: FrameRule("uniform", 32))
    frames_real: FrameRule | None = None
    face_finder: str = "dlib"
    face_options: tuple[tuple[str, Any], ...] = ()
    face_choice: str = "first"
    margin: float = 1.3
    size: int | None = None
    image_format: str = "png"
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.face_choice not in FACE_CHOICES:
            allowed = ", ".join(FACE_CHOICES)
            hint = did_you_mean(self.face_choice, FACE_CHOICES)
            raise ConfigError(f"--face-choice {self.face_choice} is not known. Allowed: {allowed}.{hint}")
        if not 1.0 <= self.margin <= 10.0:
            raise ConfigError(f"--margin {self.margin} must be between 1 (the bare face box) and 10.")
        if self.size is not None and self.size < 1:
            raise ConfigError(f"--size {self.size} must be at least 1 pixel.")
        if self.image_format not in SUFFIXES:
            raise ConfigError(f"--format {self.image_format} is not known. Allowed: {', '.join(SUFFIXES)}.")
        if self.image_format == "png" and self.quality is not None:
            raise ConfigError("--quality is for --format jpeg; PNG keeps every pixel as it is.")
        if self.image_format == "jpeg" and self.quality is None:
            object.__setattr__(self, "quality", JPEG_QUALITY)
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ConfigError(f"--quality {self.quality} must be between 1 and 100.")

    @property
    def suffix(self) -> str:
        """File suffix of the stored crops."""
        return SUFFIXES[self.image_format]

    def rule(self, label: int) -> FrameRule:
        """The frame rule for real (0) or fake (1) items."""
        return self.frames_real if label == 0 and self.frames_real else self.frames

    def record(self, dataset: str, finder: FaceFinder) -> dict[str, Any]:
        """Plain mapping for the index, the store and the fingerprint."""
        encoding = {"png_compression": PNG_COMPRESSION} if self.quality is None else {"quality": self.quality}
        return {
            "dataset": dataset,
            "frame_rule": str(self.frames),
            "frame_rule_real": str(self.frames_real or self.frames),
            "face_finder": {"name": self.face_finder, **finder.settings()},
            "face_choice": self.face_choice,
            "margin": self.margin,
            "size": self.size,
            "resize_filter": RESIZE_FILTER if self.size else None,
            "image_format": self.image_format,
            **encoding,
        }


@dataclass(frozen=True)
class Task:
    """One item, its label and the settings."""

    item: Item
    label: int
    place: str
    settings: Settings


@dataclass
class ItemResult:
    """What became of one item.

    Attributes:
        folder: ``Item.folder``.
        cls: class string; with ``label``, ``split``, ``level`` and ``video`` the item's place in the index.
        numbers: frame numbers stored, rising.
        crops: [x, y, size] per stored frame; empty for items that are face crops already.
        boxes: per stored frame every face found, [left, top, right, bottom] in the finder's order.
        faceless: numbers of frames in which no face was found.
        unreadable: numbers of wanted frames that could not be decoded.
        notes: what was odd about the source.
        problem: why nothing could be read at all, or an empty string.
        source: ``file`` relative to the root, ``bytes``, ``sha256`` and announced ``frame_count``.
        facts: further labels from the layout.
        digest: sha256 over the stored bytes, in order.
        images: encoded crops, one per stored frame; empty once they are in the store.
    """

    folder: str
    cls: str
    label: int
    split: str
    level: str | None
    video: str
    numbers: list[int] = field(default_factory=list)
    crops: list[list[int]] = field(default_factory=list)
    boxes: list[list[list[int]]] = field(default_factory=list)
    faceless: list[int] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problem: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    images: list[bytes] = field(default_factory=list)

    @property
    def id(self) -> str:
        """``Item.id``."""
        return f"{self.folder}/{self.video}"

    def record(self) -> dict[str, Any]:
        """Plain mapping without the images, for the journal."""
        record = asdict(self)
        del record["images"]
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ItemResult:
        """The inverse of ``record``."""
        known = {entry.name for entry in fields(cls)}
        return cls(**{key: value for key, value in record.items() if key in known})


def process_item(task: Task) -> ItemResult:
    """Read the wanted frames of one item, find the face in each, crop and encode it.

    A source that cannot be read gives a result with ``problem``; it never raises for the sake of one bad file.
    """
    item = task.item
    result = ItemResult(item.folder, item.cls, task.label, item.split, item.level, item.video)
    result.facts = dict(item.facts)
    result.source = {"file": task.place, "bytes": 0}
    try:
        result.source["bytes"] = item.source.size()
        reader = item.source.open()
        result.source.update(sha256=item.source.sha256(), frame_count=reader.count)
        _store_faces(reader, task, result)
    except UnreadableError as error:
        result.problem = str(error)
    except OSError as error:
        result.problem = f"it cannot be read ({error.strerror or error})"
        result.source["bytes"] = -1  # fits no file, so the next run tries again
    except cv2.error as error:
        result.problem = f"OpenCV fails on it ({error.err})"
    if result.problem:
        for values in (result.numbers, result.crops, result.boxes, result.images):
            values.clear()
    result.digest = hashlib.sha256(b"".join(result.images)).hexdigest()
    return result


def _store_faces(reader: FrameReader, task: Task, result: ItemResult) -> None:
    settings = task.settings
    wanted = settings.rule(task.label).select(reader.count)
    seen: set[int] = set()
    finder = None if task.item.is_cropped else build_finder(settings.face_finder, settings.face_options)
    if finder is not None:
        finder.start_source()
    for number, image in reader.read(wanted):
        seen.add(number)
        faces = finder.find(image) if finder is not None else None
        crop = None if faces is None else _choose_crop(faces, image, settings)
        if faces is not None and crop is None:
            result.faceless.append(number)
            continue
        result.numbers.append(number)
        result.images.append(encode(image if crop is None else cut(image, crop), settings))
        if crop is not None and faces is not None:
            result.crops.append(list(crop))
            result.boxes.append([list(face.box) for face in faces])
    expected = range(reader.count) if wanted is None else wanted
    result.unreadable = [number for number in expected if number not in seen]
    result.notes = list(reader.notes)
    if not seen:
        result.problem = "none of its frames can be decoded"


def _choose_crop(faces: list[Face], image: np.ndarray, settings: Settings) -> Crop | None:
    if not faces:
        return None
    height, width = image.shape[:2]
    return face_square(FACE_CHOICES[settings.face_choice](faces).box, width, height, settings.margin)


def encode(image: np.ndarray, settings: Settings) -> bytes:
    """A crop as the bytes of an image file.

    Args:
        image: (H, W, 3) uint8 RGB.
        settings: size, format and quality.
    """
    if settings.size is not None:
        image = resize(image, settings.size)
    if settings.quality is None:
        flags = [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION]
    else:
        flags = [cv2.IMWRITE_JPEG_QUALITY, settings.quality]
    is_done, content = cv2.imencode(settings.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    assert is_done, "OpenCV refused to encode a crop"
    return content.tobytes()


@lru_cache(maxsize=2)
def build_finder(name: str, options: tuple[tuple[str, Any], ...] = ()) -> FaceFinder:
    """A registered face finder; made once per process, so models are not loaded for every video.

    Raises:
        RegistryError: unknown name, or its package is not installed.
        ConfigError: an option the finder does not have.
    """
    maker = FACE_FINDERS.get(name)
    try:
        finder: FaceFinder = maker(**dict(options))
    except TypeError as error:
        raise ConfigError(f"Face finder '{name}' does not take these options ({error}).") from error
    return finder
