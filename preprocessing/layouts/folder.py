"""Anybody's own files: class folders, or a table that names every file with its label.

``ROOT/[train|val|test/]CLASS/...`` where the class folder's name says what it is (real, live, bona_fide; fake, spoof,
attack; or ends so, ``demorphed_fake``). A video is an item; so is an image directly in the class folder; a sub-folder
that holds images is one video. Without split folders everything is ``test``.

Or ``ROOT/labels.csv`` with the columns path and label (0 real, 1 fake) and, if wanted, split, video and more, which
become facts. Rows with the same ``video`` are the frames of one video.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath

from benchmark.data.index import SPLITS, label_of
from benchmark.data.readers import video_name
from benchmark.errors import DataError
from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark, list_files
from preprocessing.layouts.files import absent, by_label, find_image_folders, find_videos, read_table
from preprocessing.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES, FrameSource, ImageFiles, VideoFile

TABLE = "labels.csv"
LABELS = {"0": 0, "1": 1, "real": 0, "fake": 1, "live": 0, "spoof": 1}
CLASSES = ("real", "fake")


@LAYOUTS.register("folder")
class Folder(Layout):
    """Class folders, or files named by a table labels.csv with path and label.

    Args:
        name: what the dataset is called.
        crops: 1 says that images in class folders are face crops already; those named ``VIDEO_frame_NUMBER`` (FSFM's
            trees) are one video.
    """

    name = "folder"
    home = "your own files"
    tree = """
        train/real/a.mp4  # without train, val, test folders everything is test
        train/my_fake/clip/0.png  # a sub-folder of images is one video
        test/fake_four/b.png
    """
    classes: Mapping[str, int] = {"real": 0, "fake": 1}

    def __init__(self, name: str = "folder", crops: int = 0) -> None:
        self.name = name
        self.has_crops = bool(crops)

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``."""
        return self._from_table(root) if (root / TABLE).is_file() else self._from_folders(root)

    def _from_folders(self, root: Path) -> Iterator[Item | Remark]:
        splits = [name for name in SPLITS if (root / name).is_dir()]
        tops = [(split, root / split, f"{split}/") for split in splits] or [("test", root, "")]
        for split, top, prefix in tops:
            for path in sorted(top.iterdir()):
                if path.is_dir() and not path.name.startswith("."):
                    label = label_of(path.name, {}, f"{path} (name class folders real, fake, live, spoof or ..._fake)")
                    self.classes = {**self.classes, path.name: label}
                    yield from self._class_folder(root, path, split, f"{prefix}{path.name}")

    def _class_folder(self, root: Path, path: Path, split: str, folder: str) -> Iterator[Item | Remark]:
        for found in find_videos(root, path, ignore=IMAGE_SUFFIXES):
            if isinstance(found, Remark):
                yield found
            else:
                yield Item(path.name, split, folder, found.flat_name, found.source, is_cropped=found.is_cropped)
        videos: dict[str, list[Path]] = {}
        for image, reason in list_files(path, IMAGE_SUFFIXES):
            if not reason:
                is_frame = self.has_crops and "_frame_" in image.name
                name = video_name(image.name) if is_frame else image.name.replace(".", "_")
                videos.setdefault(name, []).append(image)
        for name, images in videos.items():
            yield Item(path.name, split, folder, name, ImageFiles(tuple(images)), is_cropped=self.has_crops)
        for frames in find_image_folders(root, path, ignore=VIDEO_SUFFIXES):
            if not isinstance(frames, Remark) and "frames" not in frames.inner:
                yield Item(path.name, split, folder, frames.flat_name, frames.source, is_cropped=self.has_crops)

    def _from_table(self, root: Path) -> Iterator[Item | Remark]:
        table = root / TABLE
        rows = read_table(table, self.name, ("path", "label"), "")
        videos: dict[tuple[str, str, str], list[dict[str, str]]] = {}
        for number, row in enumerate(rows, 2):
            label = by_label(row["label"].lower(), LABELS, f"{table}, line {number}")
            split = row.get("split") or "test"
            if split not in SPLITS:
                raise DataError(f"{table}, line {number}: split '{split}' is not one of {', '.join(SPLITS)}.")
            stem = str(PurePosixPath(row["path"].replace("\\", "/"))).lstrip("/").replace("/", "_").replace(".", "_")
            videos.setdefault((CLASSES[label], split, row.get("video") or stem), []).append(row)
        seen = {row["path"] for row in rows if _file(root, row).is_file()}
        for (cls, split, video), frames in videos.items():
            there = [_file(root, row) for row in frames if row["path"] in seen]
            facts = {key: value for key, value in frames[0].items() if key not in ("path", "label", "split", "video")}
            if there:
                yield Item(cls, split, f"{split}/{cls}", video, _source(there, table), facts=facts)
        yield from absent([row["path"] for row in rows], seen, TABLE)


def _file(root: Path, row: Mapping[str, str]) -> Path:
    return root / row["path"].replace("\\", "/").lstrip("/")


def _source(paths: list[Path], table: Path) -> FrameSource:
    if all(path.suffix.lower() in IMAGE_SUFFIXES for path in paths):
        return ImageFiles(tuple(paths))
    if len(paths) == 1:
        return VideoFile(paths[0])
    raise DataError(f"{table}: {paths[0]} and {paths[1]} have one 'video', but only images can be its frames.")
