"""The FaceForensics family, which shares one download: FaceForensics++, its real videos alone, DeepFakeDetection.

FaceForensics++ has 1000 real videos and 1000 of each manipulation, all at three compressions. Source:
github.com/ondyari/FaceForensics (README, ``dataset/splits``). DeepfakeBench's copy of the same folders keeps the split
files in the root; both places are accepted, and both spellings of the Deepfakes folder.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from benchmark.errors import DataError
from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark, list_files
from preprocessing.layouts.derived import Part
from preprocessing.layouts.files import Found, find_videos
from preprocessing.layouts.fsfm_tree import FsfmTree, last_folder, own_name
from preprocessing.layouts.pretraining import ready_images
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


class _Family(Layout):
    """What the datasets of the family have in common.

    Class attributes:
        folders: class strings to their folders.
    """

    folders: ClassVar[Mapping[str, str]]
    levels = ("raw", "c23", "c40")

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``."""
        places = {cls: _existing(root, folder) for cls, folder in self.folders.items()}
        if not any(places.values()):
            raise DataError(_not_here(self.name, root, self.folders.values()))
        splits = self.splits(root)
        wanted = [level for level in self.levels if level in (levels or self._levels_there(places))]
        for cls, place in places.items():
            if place is None:
                yield Remark("missing", self.folders[cls], f"the whole folder ({cls})")
                continue
            for level in wanted:
                yield from self._videos(root, cls, place, level, splits)

    def splits(self, root: Path) -> Mapping[str, str] | None:
        """First three characters of a video's name (the target) to its split; None puts every video into ``test``."""
        return read_splits(root)

    def _levels_there(self, places: Mapping[str, Path | None]) -> list[str]:
        return [level for level in self.levels if any((place / level).is_dir() for place in places.values() if place)]

    def _videos(
        self, root: Path, cls: str, place: Path, level: str, splits: Mapping[str, str] | None
    ) -> Iterator[Item | Remark]:
        folder = place / level / "videos"
        if not folder.is_dir() and not (place / level / "frames").is_dir():
            yield Remark("missing", folder.relative_to(root).as_posix(), f"{cls} at {level}")
            return
        for found in _sources(root, place / level, self.crops_only):
            if isinstance(found, Remark):
                yield found
                continue
            split = "test" if splits is None else splits.get(found.name[:3], "")
            if not split:
                yield Remark("left out", found.path.relative_to(root).as_posix(), f"'{found.name[:3]}' is in no split")
                continue
            mask = place / "masks" / "videos" / found.path.name
            yield Item(
                cls=cls,
                split=split,
                folder=f"{self.folders[cls]}/{level}",
                video=found.name,
                source=found.source,
                level=level,
                mask=VideoFile(mask) if mask.is_file() else None,
                is_cropped=found.is_cropped,
            )


@LAYOUTS.register("FF++")
class FaceForensics(_Family):
    """FaceForensics++: real videos, five manipulations (FaceShifter included), raw / c23 / c40."""

    name = "FaceForensics++"
    home = "github.com/ondyari/FaceForensics"
    tree = """
        original_sequences/youtube/c23/videos/000.mp4  # levels: raw, c23, c40
        manipulated_sequences/Deepfakes/c23/videos/000_003.mp4  # Face2Face, FaceSwap, NeuralTextures, FaceShifter alike
        manipulated_sequences/Deepfakes/masks/videos/000_003.mp4  # masks, where you have them
        dataset/splits/train.json  # the official lists of pairs; DeepfakeBench's copy has them in the root
        dataset/splits/val.json
        dataset/splits/test.json
    """
    folders = FOLDERS
    classes = {cls: int(cls != "FF-real") for cls in FOLDERS}
    official = {(cls, split): size for cls in FOLDERS for split, size in SPLIT_SIZES.items()}
    parts = {
        **{cls: Part(classes=("FF-real", cls)) for cls in ("FF-DF", "FF-F2F", "FF-FS", "FF-NT")},
        "FaceShifter": Part(classes=("FF-real", "FF-FH", "FF-SH")),
    }
    fsfm = FsfmTree(
        {"FF-real": "real_youtube", **dict.fromkeys(("FF-DF", "FF-F2F", "FF-FS", "FF-NT"), "fake_four")},
        left_out=("FF-FH",),
        video=last_folder,
    )


@LAYOUTS.register("FF++_o")
class FaceForensicsOriginals(_Family):
    """The real videos of FaceForensics++ for pre-training: 128 frames each; train is its train and val together."""

    name = "FF++_o"
    home = "github.com/ondyari/FaceForensics"
    tree = """
        original_sequences/youtube/c23/videos/000.mp4
        dataset/splits/train.json  # the official lists of pairs; DeepfakeBench's copy has them in the root
        dataset/splits/val.json
        dataset/splits/test.json
    """
    folders = {"FF-real": FOLDERS["FF-real"]}
    classes = {"FF-real": 0}
    official = {("FF-real", "train"): 860, ("FF-real", "test"): 140}
    frames = "128"
    fsfm = FsfmTree(video=own_name, folders=lambda entry: (f"{entry.level}/{entry.split}",), is_for_pretraining=True)

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``; FSFM's ``LEVEL/images`` and ``LEVEL/parsing_maps`` are read too."""
        ready = [
            level for level in self.levels if (root / level / "images").is_dir() and (not levels or level in levels)
        ]
        for level in ready:
            pattern = r"(?P<video>\d{3})_(?P<image>frame_\d+)"
            yield from ready_images(root, f"{level}/images", "FF-real", pattern, level=level)
        if not ready:
            yield from super().find(root, levels)

    def splits(self, root: Path) -> Mapping[str, str]:
        """FSFM pre-trains on train and val; test stays out of it."""
        return {name: "train" if split == "val" else split for name, split in read_splits(root).items()}


@LAYOUTS.register("DFD")
class DeepFakeDetection(_Family):
    """DeepFakeDetection (Google and Jigsaw), in the folders of FaceForensics++; every video is for testing."""

    name = "DeepFakeDetection"
    home = "github.com/ondyari/FaceForensics"
    tree = """
        original_sequences/actors/raw/videos/01__exit_phone_room.mp4
        manipulated_sequences/DeepFakeDetection/raw/videos/01_02__exit_phone_room__YVGY8LOK.mp4
        manipulated_sequences/DeepFakeDetection/masks/videos/01_02__exit_phone_room__YVGY8LOK.mp4
    """
    folders = {
        "DFD_real": "original_sequences/actors",
        "DFD_fake": "manipulated_sequences/DeepFakeDetection",
    }
    classes = {"DFD_real": 0, "DFD_fake": 1}
    official = {("DFD_real", "test"): 363, ("DFD_fake", "test"): 3068}
    fsfm = FsfmTree({"DFD_real": "real_actors", "DFD_fake": "fake_DeepFakeDetection"}, video=last_folder)

    def splits(self, root: Path) -> None:
        """No official split."""
        return


def _sources(root: Path, folder: Path, crops_only: bool) -> Iterator[Found | Remark]:
    """The videos, or DeepfakeBench's crops where the videos are not there or not wanted."""
    if crops_only or not (folder / "videos").is_dir():
        yield from find_videos(root, folder, crops_only=True)
        return
    for path, reason in list_files(folder / "videos", VIDEO_SUFFIXES):
        if reason:
            yield Remark("left out", path.relative_to(root).as_posix(), reason)
        else:
            yield Found(path, path.stem, (), VideoFile(path))


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


def _not_here(name: str, root: Path, folders: Iterable[str]) -> str:
    inner = next((place for place in sorted(root.glob("*/")) if (place / "original_sequences").is_dir()), None)
    hint = f" Did you mean --root {inner}?" if inner else ""
    return f"{name}: {root} has neither of {', '.join(folders)}. Give the folder that holds them.{hint}"
