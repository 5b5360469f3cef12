"""FaceForensics++ in its official folders: 1000 real videos and 1000 of each manipulation, three compressions.

Source: github.com/ondyari/FaceForensics (README, ``dataset/splits``). DeepfakeBench's copy of the same folders keeps
the split files in the root; both places are accepted, and both spellings of the Deepfakes folder.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from benchmark.errors import DataError
from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark, list_files
from preprocessing.video import VIDEO_SUFFIXES, VideoFile

SPLIT_SIZES = {"train": 720, "val": 140, "test": 140}  # 360, 70 and 70 pairs of videos
FOLDERS = {
    "FF-real": "original_sequences/youtube",
    "FF-DF": "manipulated_sequences/Deepfakes",
    "FF-F2F": "manipulated_sequences/Face2Face",
    "FF-FS": "manipulated_sequences/FaceSwap",
    "FF-NT": "manipulated_sequences/NeuralTextures",
    "FF-FH": "manipulated_sequences/FaceShifter",
}


@LAYOUTS.register("FF++")
class FaceForensics(Layout):
    """FaceForensics++: real videos, five manipulations (FaceShifter included), raw / c23 / c40."""

    name = "FaceForensics++"
    classes = {cls: int(cls != "FF-real") for cls in FOLDERS}
    levels = ("raw", "c23", "c40")
    official = {(cls, split): size for cls in FOLDERS for split, size in SPLIT_SIZES.items()}

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``. A video belongs to the split that holds its first three characters (the target)."""
        places = {cls: _existing(root, folder) for cls, folder in FOLDERS.items()}
        if not any(places.values()):
            raise DataError(_not_here(root))
        split_of = read_splits(root)
        wanted = [level for level in self.levels if level in (levels or self._levels_there(places))]
        for cls, place in places.items():
            if place is None:
                yield Remark("missing", FOLDERS[cls], f"the whole folder ({cls})")
                continue
            for level in wanted:
                yield from _videos(root, cls, place, level, split_of)

    def _levels_there(self, places: Mapping[str, Path | None]) -> list[str]:
        return [level for level in self.levels if any((place / level).is_dir() for place in places.values() if place)]


def _videos(root: Path, cls: str, place: Path, level: str, split_of: Mapping[str, str]) -> Iterator[Item | Remark]:
    folder = place / level / "videos"
    if not folder.is_dir():
        yield Remark("missing", folder.relative_to(root).as_posix(), f"{cls} at {level}")
        return
    for path, reason in list_files(folder, VIDEO_SUFFIXES):
        split = split_of.get(path.stem[:3], "")
        reason = reason or ("" if split else f"'{path.stem[:3]}' is in no split")
        if reason:
            yield Remark("left out", path.relative_to(root).as_posix(), reason)
            continue
        mask = place / "masks" / "videos" / path.name
        yield Item(
            cls=cls,
            split=split,
            folder=f"{FOLDERS[cls]}/{level}",
            video=path.stem,
            source=VideoFile(path),
            level=level,
            mask=VideoFile(mask) if mask.is_file() else None,
        )


def _existing(root: Path, folder: str) -> Path | None:
    """The folder under ``root``, whatever the case of its last part (``Deepfakes``, ``DeepFakes``)."""
    parent, _, name = folder.rpartition("/")
    if not (root / parent).is_dir():
        return None
    found = [path for path in sorted((root / parent).iterdir()) if path.name.lower() == name.lower() and path.is_dir()]
    if len(found) > 1:
        raise DataError(f"Two folders for one class: {found[0]} and {found[1]}. Merge them or move one away.")
    return found[0] if found else None


def read_splits(root: Path) -> dict[str, str]:
    """Video id (three digits) to split, from the official lists of pairs.

    Raises:
        DataError: a list is missing, is not a list of pairs of names, or an id is in two splits.
    """
    folder = next((place for place in (root / "dataset" / "splits", root) if (place / "train.json").is_file()), None)
    if folder is None:
        raise DataError(
            f"FaceForensics++: no split files. Looked for {root}/dataset/splits/train.json and {root}/train.json. "
            "Get train.json, val.json and test.json from github.com/ondyari/FaceForensics, folder dataset/splits."
        )
    split_of: dict[str, str] = {}
    for split in SPLIT_SIZES:
        path = folder / f"{split}.json"
        for name in _ids(path):
            if split_of.setdefault(name, split) != split:
                raise DataError(f"{path}: video '{name}' is in split {split_of[name]} too.")
    return split_of


def _ids(path: Path) -> list[str]:
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"FaceForensics++: the split file {path} is missing; train, val and test are needed.") from None
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}).") from error
    if not isinstance(pairs, list) or not all(isinstance(pair, list) for pair in pairs):
        raise DataError(f'{path}: expected a list of pairs such as ["071", "054"].')
    names = [name for pair in pairs for name in pair]
    if not all(isinstance(name, str) and len(name) == 3 for name in names):
        raise DataError(f'{path}: expected names of three characters such as "071"; the leading zeros matter.')
    return names


def _not_here(root: Path) -> str:
    inner = next((place for place in sorted(root.glob("*/")) if (place / "original_sequences").is_dir()), None)
    hint = f" Did you mean --root {inner}?" if inner else ""
    return (
        f"FaceForensics++: {root} has neither original_sequences/youtube nor a folder of manipulated_sequences. "
        f"Give the folder that holds both.{hint}"
    )
