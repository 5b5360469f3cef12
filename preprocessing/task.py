"""One item to encoded face crops: the task every engine (this process, a pool, Ray) runs.

``process_item`` depends on its argument only, touches no store, and can be pickled; the parent process writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from benchmark.errors import ConfigError
from benchmark.registry import FACE_FINDERS
from preprocessing.faces.base import FaceFinder
from preprocessing.faces.landmarks import build_predictor
from preprocessing.frames import NO_FACE, FrameWorker, StoredFrame
from preprocessing.layouts.base import Item
from preprocessing.parsers.base import FrameName, build_parser
from preprocessing.settings import Options, Settings, Tools
from preprocessing.video import FrameReader, FrameSource, UnreadableError


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
        matrices: per stored frame the 2 x 3 matrix from the frame to the crop, row by row; for aligned crops only.
        faceless: numbers of frames in which no face was found.
        dropped: numbers of frames that are not stored for another reason, by reason.
        parts: numbers of frames with a stored mask, landmarks or parsing map, by kind.
        unreadable: numbers of wanted frames that could not be decoded.
        notes: what was odd about the source.
        problem: why nothing could be read at all, or an empty string.
        source: ``file`` relative to the root, ``bytes``, ``sha256`` and announced ``frame_count``.
        facts: further labels from the layout.
        digest: sha256 over the stored bytes, in order.
        images: encoded crops, one per stored frame; empty once they are in the store.
        blobs: encoded parts by kind, one per number in ``parts``; empty once they are in the store.
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
    matrices: list[list[float]] = field(default_factory=list)
    faceless: list[int] = field(default_factory=list)
    dropped: dict[str, list[int]] = field(default_factory=dict)
    parts: dict[str, list[int]] = field(default_factory=dict)
    unreadable: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problem: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    images: list[bytes] = field(default_factory=list)
    blobs: dict[str, list[bytes]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """``Item.id``."""
        return f"{self.folder}/{self.video}"

    def record(self) -> dict[str, Any]:
        """Plain mapping without the stored bytes, for the journal."""
        record = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        del record["images"], record["blobs"]
        return record

    def add(self, number: int, frame: StoredFrame) -> None:
        """Take what is stored of one frame."""
        self.numbers.append(number)
        self.images.append(frame.image)
        if frame.crop is not None:
            self.crops.append(frame.crop)
        if frame.matrix is not None:
            self.matrices.append(frame.matrix)
        if frame.boxes is not None:
            self.boxes.append(frame.boxes)
        for kind, blob in frame.parts.items():
            self.parts.setdefault(kind, []).append(number)
            self.blobs.setdefault(kind, []).append(blob)

    def leave_out(self, number: int, reason: str) -> None:
        """Note a decoded frame of which nothing is stored."""
        if reason == NO_FACE:
            self.faceless.append(number)
        else:
            self.dropped.setdefault(reason, []).append(number)

    def clear(self) -> None:
        """Forget everything stored."""
        self.numbers, self.crops, self.matrices, self.boxes = [], [], [], []
        self.parts = {}
        self.release()

    def content(self) -> Iterator[bytes]:
        """All stored bytes in a fixed order."""
        yield from self.images
        for kind in sorted(self.blobs):
            yield from self.blobs[kind]

    def release(self) -> None:
        """Free the stored bytes, which are in the store now."""
        self.images, self.blobs = [], {}

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
        result.clear()
    digest = hashlib.sha256()
    for content in result.content():
        digest.update(content)
    result.digest = digest.hexdigest()
    return result


def _store_faces(reader: FrameReader, task: Task, result: ItemResult) -> None:
    settings, item = task.settings, task.item
    wanted = settings.rule(task.label).select(reader.count)
    worker = FrameWorker(settings, build_tools(settings))
    masks = _Masks(item.mask if settings.masks or settings.uses_masks else None, wanted)
    seen: set[int] = set()
    worker.tools.finder.start_source()
    for number, image in reader.read(wanted):
        seen.add(number)
        name = FrameName(item.folder, item.video, number)
        process = worker.process_crop if item.is_cropped else worker.process
        stored = process(image, masks.of(number, image), name)
        if isinstance(stored, str):
            result.leave_out(number, stored)
        else:
            result.add(number, stored)
    expected = range(reader.count) if wanted is None else wanted
    result.unreadable = [number for number in expected if number not in seen]
    result.notes = [*reader.notes, *masks.notes]
    result.source.update(reader.facts)
    if not seen:
        result.problem = "none of its frames can be decoded"


class _Masks:
    """Masks of the frames of one item, read along with them.

    Attributes:
        notes: what was wrong with the mask file.
    """

    def __init__(self, source: FrameSource | None, wanted: list[int] | None) -> None:
        self.notes: list[str] = []
        self._frames: Iterator[tuple[int, np.ndarray]] = iter(())
        self._next: tuple[int, np.ndarray] | None = None
        self._has_source = source is not None
        if source is None:
            return
        try:
            self._frames = source.open().read(wanted)
            self._next = next(self._frames, None)
        except (UnreadableError, OSError) as error:
            self.notes.append(f"its mask cannot be read: {error}")

    def of(self, number: int, image: np.ndarray) -> np.ndarray | None:
        """(H, W) uint8 grey mask of a frame; numbers must rise. None, noted once, when there is none."""
        while self._next is not None and self._next[0] < number:
            self._next = next(self._frames, None)
        if self._next is None or self._next[0] != number:
            if self._has_source and not self.notes:
                self.notes.append(f"its mask has no frame {number}; frames from there on are stored without masks")
            return None
        mask = cv2.cvtColor(self._next[1], cv2.COLOR_RGB2GRAY)
        if mask.shape == image.shape[:2]:
            return mask
        if not self.notes:
            size, other = (f"{array.shape[1]}x{array.shape[0]}" for array in (mask, image))
            self.notes.append(f"its mask is {size}, its frames are {other}; masks are not stored")
        return None


def build_tools(settings: Settings) -> Tools:
    """The plugins and models that settings name; each is made once per process.

    Raises:
        BenchmarkError: an unknown name, a missing package or file, a wrong option.
    """
    return Tools(
        build_finder(settings.face_finder, settings.face_options),
        build_predictor(settings.predictor) if settings.predictor else None,
        build_parser(settings.parser, settings.parse_options) if settings.parser else None,
    )


@lru_cache(maxsize=8)
def build_finder(name: str, options: Options = ()) -> FaceFinder:
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
