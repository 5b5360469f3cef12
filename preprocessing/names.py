"""Where each stored file lies: the keys of our stores, and FSFM's own tree of folders."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.data.decode import decode_map
from benchmark.errors import ConfigError, DataError, did_you_mean
from preprocessing.frames import PART_SUFFIXES
from preprocessing.layouts.base import Item, Layout, Remark, store_key
from preprocessing.settings import Settings

if TYPE_CHECKING:
    from preprocessing.task import ItemResult

LMDB, FSFM = "lmdb", "fsfm"
STORES = {LMDB: "{}_lmdb", "folder": "{}", FSFM: "{}_fsfm"}
"""Kind of store -> name of its folder under ``--data``: one LMDB; plain files in DeepfakeBench's tree, or in FSFM's."""
Places = tuple[str, ...]


class KeyNames:
    """Keys as in DeepfakeBench's tree (``store_key``); a file has one key.

    Args:
        dataset: ``Layout.name``.
        suffix: file suffix of the crops, with its dot.
        kind: a key of ``STORES``.
    """

    def __init__(self, dataset: str, suffix: str, kind: str = LMDB) -> None:
        self.dataset = dataset
        self.suffix = suffix
        self.kind = kind

    def store(self, data_dir: Path) -> Path:
        """Where the store lies."""
        return data_dir / STORES[self.kind].format(self.dataset)

    def frames(self, result: ItemResult) -> list[Places]:
        """Per stored crop the keys it is written under; the index names the first."""
        return [
            (store_key(self.dataset, result.folder, result.video, number, self.suffix),) for number in result.numbers
        ]

    def parts(self, result: ItemResult, kind: str) -> list[Places]:
        """The same for the item's masks, landmarks or parsing maps."""
        suffix = PART_SUFFIXES[kind]
        numbers = result.parts.get(kind, ())
        return [(store_key(self.dataset, result.folder, result.video, number, suffix, kind),) for number in numbers]

    def all(self, result: ItemResult) -> list[Places]:
        """Keys of everything stored of an item, in the order of ``ItemResult.content``."""
        return [*self.frames(result), *(places for kind in sorted(result.parts) for places in self.parts(result, kind))]

    def convert(self, key: str, content: bytes) -> bytes:
        """The bytes that are written under a key."""
        return content

    def keep(self, items: Sequence[Item]) -> tuple[list[Item], list[Remark]]:
        """Items that have a place, and remarks about the others.

        Raises:
            DataError: two items would get the same file.
        """
        return list(items), []


class FsfmNames(KeyNames):
    """Paths in FSFM's tree (see ``layouts/fsfm_tree.py``).

    Args:
        layout: whose tree.
        settings: parsing maps turn the class tree into the pre-training tree.

    Raises:
        ConfigError: the tree has no place for what is to be stored.
    """

    def __init__(self, layout: Layout, settings: Settings) -> None:
        super().__init__(layout.name, settings.suffix, FSFM)
        self._layout = layout
        self._top = STORES[FSFM].format(layout.name)
        self._has_maps = settings.parser is not None
        if settings.landmarks:
            raise ConfigError("--store fsfm: that tree has no place for landmarks. Use --store lmdb or folder.")
        if self._has_maps and not layout.fsfm.is_for_pretraining:
            raise ConfigError(
                f"--store fsfm: FSFM has parsing maps for pre-training sets only, and {layout.name} is none of them. "
                "Leave --parse out, or use --store lmdb."
            )

    def frames(self, result: ItemResult) -> list[Places]:
        """See ``KeyNames.frames``; several where the tree repeats real images (DiFF)."""
        return [self._places(result, number, position) for position, number in enumerate(result.numbers)]

    def parts(self, result: ItemResult, kind: str) -> list[Places]:
        """See ``KeyNames.parts``."""
        places = dict(zip(result.numbers, self.frames(result), strict=True))
        return [tuple(map(_map_place, places[number])) for number in result.parts.get(kind, ())]

    def convert(self, key: str, content: bytes) -> bytes:
        """Parsing maps as FSFM has them: ``.npy`` of (1, H, W) int8."""
        if not key.endswith(".npy"):
            return content
        buffer = io.BytesIO()
        np.save(buffer, decode_map(content, key)[None].astype(np.int8))
        return buffer.getvalue()

    def keep(self, items: Sequence[Item]) -> tuple[list[Item], list[Remark]]:
        """See ``KeyNames.keep``."""
        kept = [item for item in items if self._folders(item)]
        _refuse_equal(self._layout.name, (place for item in kept for place in self._places(item, 0, 0)))
        left = Counter((item.cls, item.split) for item in items if not self._folders(item))
        return kept, [
            Remark("left out", f"{cls} {split}", f"{count} videos: FSFM's tree has no place for them")
            for (cls, split), count in sorted(left.items())
        ]

    def _folders(self, entry: Item | ItemResult) -> Places:
        if not self._has_maps:
            return self._layout.fsfm.places(entry, self._layout.classes[entry.cls])
        if entry.split != "train":  # the flat folder of pre-training images knows no splits
            return ()
        return ("/".join(part for part in (entry.level, "images") if part),)

    def _places(self, entry: Item | ItemResult, number: int, position: int) -> Places:
        stem = self._layout.fsfm.file(entry, number, position)
        return tuple(f"{self._top}/{folder}/{stem}{self.suffix}" for folder in self._folders(entry))


def _map_place(place: str) -> str:
    folder, _, name = place.rpartition("/")
    return f"{folder.removesuffix('images')}parsing_maps/{name.rpartition('.')[0]}.npy"


def _refuse_equal(dataset: str, places: Iterable[str]) -> None:
    for place, count in Counter(places).items():
        if count > 1:
            raise DataError(f"{dataset}: {count} videos would be one file {place} in FSFM's tree. Use --store lmdb.")


def make_names(kind: str, layout: Layout, settings: Settings) -> KeyNames:
    """The names of a kind of store.

    Raises:
        ConfigError: no such kind, or settings that it has no place for.
    """
    if kind not in STORES:
        raise ConfigError(f"--store {kind} is not known. Allowed: {', '.join(STORES)}.{did_you_mean(kind, STORES)}")
    return FsfmNames(layout, settings) if kind == FSFM else KeyNames(layout.name, settings.suffix, kind)
