"""One item to encoded face crops: the task every engine (this process, a pool, Ray) runs.

``process_item`` depends on its argument only, touches no store, and can be pickled; the parent process writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from preprocessing.frames import NO_FACE, FrameWorker, StoredFrame
from preprocessing.layouts.base import Item
from preprocessing.parsers.base import FrameName
from preprocessing.settings import Settings
from preprocessing.tools import build_tools
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
    """Fill a result with what is stored of the wanted frames, in rising order, and with what is not."""
    rule, item = task.settings.rule(task.label), task.item
    chooses = not (item.is_cropped and rule.is_for_videos)
    wanted = rule.select(reader.count) if chooses else None
    if wanted == []:
        result.problem = f"it has {reader.count} frames, too few for the frame rule {rule}"
        return
    notes: list[str] = []
    outcomes = dict(_frames(task, reader, wanted, notes))
    result.notes = [*reader.notes, *notes]
    result.source.update(reader.facts)
    if not outcomes:
        result.problem = "none of its frames can be decoded"
        return
    expected = range(reader.count) if wanted is None else wanted
    result.unreadable = [number for number in expected if number not in outcomes]
    for window in rule.windows(reader.count) if chooses else ():
        if not isinstance(outcomes.get(window.start), StoredFrame):
            outcomes.update(_until_stored(task, window[1:]))
    for number in sorted(outcomes):
        stored = outcomes[number]
        if isinstance(stored, str):
            result.leave_out(number, stored)
        else:
            result.add(number, stored)


def _frames(
    task: Task, reader: FrameReader, wanted: Sequence[int] | None, notes: list[str]
) -> Iterator[tuple[int, StoredFrame | str]]:
    """What is stored of each decoded frame, or the reason why nothing is; what is wrong with masks goes to notes."""
    settings, item = task.settings, task.item
    worker = FrameWorker(settings, build_tools(settings))
    process = worker.process_crop if item.is_cropped else worker.process
    masks = _Masks(item.mask if settings.masks or settings.uses_masks else None, wanted, notes)
    worker.tools.finder.start_source()
    for number, image in reader.read(wanted):
        yield number, process(image, masks.of(number, image), _frame_name(item, number))


def _frame_name(item: Item, number: int) -> FrameName:
    images = item.facts.get("images")
    return FrameName(item.folder, item.video, number, Path(images[number]).stem if images else "")


def _until_stored(task: Task, window: range) -> Iterator[tuple[int, StoredFrame | str]]:
    """The frames of a window up to the first of which something is stored; decodes the source once more."""
    for number, stored in _frames(task, task.item.source.open(), window, []) if window else ():
        yield number, stored
        if isinstance(stored, StoredFrame):
            return


class _Masks:
    """Masks of the frames of one item, read along with them.

    Args:
        source: the mask file, or None.
        wanted: rising frame numbers, or None for all.
        notes: takes what is wrong with the mask file.
    """

    def __init__(self, source: FrameSource | None, wanted: Sequence[int] | None, notes: list[str]) -> None:
        self.notes = notes
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
