"""The contract of a dataset layout: it says what is where, which label, which split, which video.

A layout reads names and small lists, never pixels. Adding a dataset is one file with one class::

    @LAYOUTS.register("MyFaces")
    class MyFaces(Layout):
        \"\"\"My faces: 49 real and 49 fake videos, no official split.\"\"\"

        name = "MyFaces"
        classes = {"MyFaces_real": 0, "MyFaces_fake": 1}
        official = {("MyFaces_real", "test"): 49, ("MyFaces_fake", "test"): 49}

        def find(self, root, levels):
            for cls, folder in (("MyFaces_real", "real"), ("MyFaces_fake", "fake")):
                for path, reason in list_files(root / folder, VIDEO_SUFFIXES):
                    if reason:
                        yield Remark("left out", str(path.relative_to(root)), reason)
                    else:
                        yield Item(cls, "test", folder, path.stem, VideoFile(path))

Everything that is the same for all datasets (safe names, duplicates, order, counting) is done by ``scan``; finding
files and reading lists is in ``files.py``. A constructor may take keyword options, all with defaults.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from benchmark.errors import DataError, did_you_mean
from preprocessing.layouts.derived import Part
from preprocessing.layouts.fsfm_tree import FsfmTree
from preprocessing.video import FrameSource

MAX_KEY_BYTES = 511  # LMDB's limit
_LONGEST_FILE_NAME = "/landmarks/000000.webp"


@dataclass(frozen=True, slots=True)
class Item:
    """One video, still image or frame sequence of a dataset.

    Attributes:
        cls: class string of the index, a key of ``Layout.classes``.
        split: ``train``, ``val`` or ``test``. A dataset without splits puts everything into one of them.
        folder: slash path inside the dataset under which ``frames/``, ``masks/``, ``landmarks/`` appear, e.g.
            ``manipulated_sequences/Deepfakes/c23``.
        video: its name there and in the index; unique within ``folder`` and within class and level.
        source: where its frames come from.
        level: compression level (``raw``, ``c23``, ``c40``), or None when the dataset has none.
        mask: where its manipulation masks come from, frame for frame as ``source``, or None.
        is_cropped: the frames are face crops already; nothing is searched, the whole image is stored.
        facts: further labels the dataset gives (attack type, identity, ...), copied into the index.
    """

    cls: str
    split: str
    folder: str
    video: str
    source: FrameSource
    level: str | None = None
    mask: FrameSource | None = None
    is_cropped: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Identity inside the dataset."""
        return f"{self.folder}/{self.video}"


def store_key(dataset: str, folder: str, video: str, number: int, suffix: str, kind: str = "frames") -> str:
    """Key of one stored file, e.g. ``FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/519_515/012.png``.

    Args:
        dataset: ``Layout.name``.
        folder: ``Item.folder``.
        video: ``Item.video``.
        number: frame number in the source.
        suffix: file suffix with its dot.
        kind: ``frames``, ``masks``, ``landmarks`` or ``parsing``.
    """
    return f"{dataset}/{folder}/{kind}/{video}/{number:03d}{suffix}"


@dataclass(frozen=True, slots=True)
class Remark:
    """Something found, or not found, that does not become an item.

    Attributes:
        kind: ``left out`` for a file that is not used, ``missing`` for a part of the release that is not there.
        place: path relative to the root.
        reason: why it is left out, or what the missing part is.
    """

    kind: Literal["left out", "missing"]
    place: str
    reason: str


@dataclass(frozen=True)
class Scan:
    """What a layout found under a root: items in index order, and remarks."""

    items: tuple[Item, ...]
    remarks: tuple[Remark, ...]


class Layout(ABC):
    """Base of every dataset layout.

    Class attributes:
        name: dataset folder in store keys, top key and file stem of the index.
        home: page where the dataset is had, without ``https://``.
        tree: a path a line of the raw tree expected, with a comment behind `` # `` where one is needed.
        classes: class strings to 0 (real) or 1 (fake), as ``benchmark.data.index.label_of`` reads them.
        levels: compression levels the release has; empty when it has none.
        official: (class, split) -> number of videos in the complete release, at each level. The split is ``all``
            where only the class's total is established.
        frames: default frame rule (see ``preprocessing.frame_rules.FrameRule.parse``).
        parts: further indexes over the same store, by file stem (``python -m preprocessing.layouts.derived INDEX``).
        fsfm: names in FSFM's own tree of folders.
        crops_only: read the crops that DeepfakeBench left in ``frames/`` even if the videos are there.
    """

    name: str
    home: ClassVar[str] = ""
    tree: ClassVar[str] = ""
    classes: Mapping[str, int]
    levels: ClassVar[tuple[str, ...]] = ()
    official: ClassVar[Mapping[tuple[str, str], int]] = {}
    frames: ClassVar[str] = "32"
    parts: ClassVar[Mapping[str, Part]] = {}
    fsfm: ClassVar[FsfmTree] = FsfmTree()
    crops_only: bool = False

    @abstractmethod
    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """Go through a copy of the dataset.

        Args:
            root: existing folder given by the user.
            levels: compression levels wanted; empty means all that are there.

        Raises:
            DataError: the folder is not this dataset, or a list that decides labels or splits is missing.
        """

    def scan(self, root: Path, levels: Sequence[str] = ()) -> Scan:
        """Items in a fixed order with names that are safe as keys, and remarks about everything else.

        Raises:
            DataError: no such root, an unknown or absent level, two items of one name, or nothing usable.
        """
        if not root.is_dir():
            raise DataError(f"{self.name}: no folder at --root {root}.")
        self._check_levels(levels)
        items: list[Item] = []
        remarks: list[Remark] = []
        for found in self.find(root, levels):
            reason = "" if isinstance(found, Remark) else self._unsafe(found, root)
            if isinstance(found, Remark):
                remarks.append(found)
            elif reason:
                remarks.append(Remark("left out", self.place(found, root), reason))
            else:
                items.append(found)
        self._check_items(items, remarks, root)
        items.sort(key=lambda item: (item.cls, item.split, item.level or "", natural(item.video), item.folder))
        return Scan(tuple(items), tuple(remarks))

    def label(self, item: Item) -> int:
        """0 real, 1 fake."""
        return self.classes[item.cls]

    @staticmethod
    def place(item: Item, root: Path) -> str:
        """The item's first source file relative to the root, with slashes."""
        files = item.source.files
        return files[0].relative_to(root).as_posix() if files and files[0].is_relative_to(root) else item.id

    def _check_levels(self, levels: Sequence[str]) -> None:
        for level in levels:
            if level not in self.levels:
                allowed = f"It has {', '.join(self.levels)}." if self.levels else "It has none."
                raise DataError(
                    f"{self.name} has no compression level '{level}'. {allowed}{did_you_mean(level, self.levels)}"
                )

    def _unsafe(self, item: Item, root: Path) -> str:
        """Why the item's name cannot be a key or its files must not be read, or an empty string.

        Links inside the root may point elsewhere; names (in the dataset's own lists, say) may not.
        """
        for path in (*item.source.files, *(item.mask.files if item.mask else ())):
            if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
                return "its file lies outside the root"
        name = f"{item.folder}/{item.video}"
        if any(part in ("", ".", "..") for part in name.split("/")) or re.search(r"[\\\x00-\x1f]", name):
            return "its name would leave its folder or cannot be a key"
        try:
            size = len(f"{self.name}/{name}{_LONGEST_FILE_NAME}".encode())
        except UnicodeEncodeError:
            return "its name is not valid text in this file system's encoding"
        return f"its name is too long for a key ({size} bytes)" if size > MAX_KEY_BYTES else ""

    def _check_items(self, items: Sequence[Item], remarks: Sequence[Remark], root: Path) -> None:
        for item_id, count in Counter(item.id for item in items).items():
            if count > 1:
                places = [self.place(item, root) for item in items if item.id == item_id]
                raise DataError(f"{self.name}: two sources have one name: {', '.join(places)}. Rename or remove one.")
        in_index: dict[tuple[str, str, str | None, str], Item] = {}
        for item in items:
            other = in_index.setdefault((item.cls, item.split, item.level, item.video), item)
            if other is not item:
                places = [self.place(other, root), self.place(item, root)]
                raise DataError(
                    f"{self.name}: two videos of class {item.cls} are called '{item.video}': {', '.join(places)}. "
                    "Rename or remove one."
                )
        if not items:
            first = "; ".join(f"{remark.place}: {remark.reason}" for remark in remarks[:3])
            raise DataError(f"{self.name}: nothing usable under {root}. {first or 'The folders are empty.'}")


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which ``2`` comes before ``10``."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def list_files(folder: Path, suffixes: Collection[str]) -> Iterator[tuple[Path, str]]:
    """Files of a folder in natural order, each with the reason not to use it (empty: use it).

    Hidden files (a leading dot, as macOS and some download tools leave them) are passed over.
    """
    for path in sorted(folder.iterdir(), key=lambda path: natural(path.name)):
        if path.name.startswith("."):
            continue
        if not path.is_file():
            yield path, "not a file"
        elif path.suffix.lower() not in suffixes:
            yield path, f"not one of {' '.join(sorted(suffixes))}"
        else:
            yield path, ""
