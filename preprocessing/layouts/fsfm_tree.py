"""How FSFM's own folders name what a dataset holds, for ``--store fsfm``; a layout says where it differs.

For fine-tuning and tests ``[LEVEL/]SPLIT/CLASS/VIDEO_frame_NUMBER.png``, which torchvision's ImageFolder reads; for
pre-training with maps ``[LEVEL/]images/STEM.png`` and ``[LEVEL/]parsing_maps/STEM.npy``. Everything before the first
``_frame_`` is the video's name there, so it must be unique within its class folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Entry(Protocol):
    """What names are made of; items and results of items have it."""

    @property
    def cls(self) -> str:
        """Class string."""

    @property
    def split(self) -> str:
        """``train``, ``val`` or ``test``."""

    @property
    def level(self) -> str | None:
        """Compression level, or None."""

    @property
    def folder(self) -> str:
        """``Item.folder``."""

    @property
    def video(self) -> str:
        """``Item.video``."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Further labels of the dataset."""


def whole_path(entry: Entry) -> str:
    """Folders and name joined by underscores (Celeb-DF, DFDCP)."""
    return f"{entry.folder}/{entry.video}".replace("/", "_")


def own_name(entry: Entry) -> str:
    """The item's name alone (DFDC, WildDeepfake, DiFF)."""
    return entry.video


def last_folder(entry: Entry) -> str:
    """The folder above the compression level, and the name: ``youtube_519``, ``Deepfakes_519_515``."""
    parts = entry.folder.split("/")
    return f"{parts[-2]}_{entry.video}"


def image_name(entry: Entry, number: int, position: int) -> str:
    """The person or video and the stem of the image itself (VGGFace2, YouTubeFaces): ``train_n000002_0001_01``."""
    return f"{entry.video}_{entry.facts['images'][number].rpartition('.')[0]}"


@dataclass(frozen=True)
class FsfmTree:
    """The names of one dataset in FSFM's tree.

    Attributes:
        classes: class strings to class folders; ``real`` and ``fake`` where it is silent.
        left_out: class strings that the tree has no place for.
        video: an item's video name.
        stem: file name without suffix, of an item, a frame's number and its position among the item's stored frames;
            None for ``VIDEO_frame_NUMBER``.
        folders: folders of an item, where they are not ``[LEVEL/]SPLIT/CLASS``; each gets the item.
        is_for_pretraining: has parsing maps and no classes.
    """

    classes: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    video: Callable[[Entry], str] = whole_path
    stem: Callable[[Entry, int, int], str] | None = None
    folders: Callable[[Entry], tuple[str, ...]] | None = None
    is_for_pretraining: bool = False

    def places(self, entry: Entry, label: int) -> tuple[str, ...]:
        """Folders of an item of a class with this label (0 real, 1 fake); empty when the tree has none for it."""
        if entry.cls in self.left_out:
            return ()
        if self.folders is not None:
            return self.folders(entry)
        cls = self.classes.get(entry.cls, ("real", "fake")[label])
        return ("/".join(part for part in (entry.level, entry.split, cls) if part),)

    def file(self, entry: Entry, number: int, position: int) -> str:
        """File name without suffix of one frame."""
        return self.stem(entry, number, position) if self.stem else f"{self.video(entry)}_frame_{number}"
