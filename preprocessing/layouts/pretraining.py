"""Unlabelled faces for self-supervised pre-training: VGGFace2 photographs and YouTubeFaces frames.

All faces are real and all are for training; the release's own split is kept as a fact. One item is one person (or one
video), so that millions of images stay a few thousand items; ``images`` names the files behind the frame numbers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark
from preprocessing.layouts.files import Found, each, find_image_folders, find_images, place, present
from preprocessing.layouts.fsfm_tree import FsfmTree, image_name
from preprocessing.video import ImageFiles

FSFM_IMAGES = FsfmTree(stem=image_name, folders=lambda entry: ("facial_images",), is_for_pretraining=True)


def ready_images(root: Path, folder: str, cls: str, video: str, level: str | None = None) -> Iterator[Item | Remark]:
    """FSFM's pre-training folder: ``images/STEM.png`` (face crops) with ``parsing_maps/STEM.npy`` beside it.

    Args:
        root: the user's copy.
        folder: the folder ``images`` in it.
        cls: class string of all of them.
        video: pattern of stems, with the groups ``video`` and ``image``.
        level: compression level.
    """
    videos: dict[str, list[tuple[Path, str]]] = {}
    for found in find_images(root, root / folder):
        if isinstance(found, Remark):
            yield found
        elif match := re.fullmatch(video, found.path.stem):
            videos.setdefault(match["video"], []).append((found.path, match["image"] + found.path.suffix))
        else:
            yield Remark("left out", place(found.path, root), f"its name is not that of an image of {cls}")
    for name, images in videos.items():
        paths, names = zip(*images, strict=True)
        facts = {"images": list(names)}
        yield Item(cls, "train", folder, name, ImageFiles(paths), level=level, is_cropped=True, facts=facts)


@LAYOUTS.register("VGGFace2")
class VGGFace2(Layout):
    """VGGFace2: photographs of 9,131 people, a folder each; FSFM pre-trains on train and test together."""

    name = "VGGFace2"
    home = "github.com/ox-vgg/vgg_face2"
    tree = """
        train/n000002/0001_01.jpg  # or FSFM's images/train_n000002_0001_01.png and parsing_maps/
        test/n000001/0001_01.jpg
    """
    classes = {"VGGFace2_real": 0}
    official = {("VGGFace2_real", "train"): 9131}
    frames = "all"
    fsfm = FSFM_IMAGES

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """``{train,test}/n000002/0001_01.jpg``, or FSFM's ``images`` and ``parsing_maps``."""
        if (root / "images").is_dir():
            yield from ready_images(root, "images", "VGGFace2_real", r"(?P<video>(?:train|test)_n\d+)_(?P<image>.+)")
            return
        folders, missing = present(self.name, root, ("train", "test"))
        yield from missing
        for folder in folders:
            yield from each(find_image_folders(root, root / folder), partial(self._person, folder))

    def _person(self, folder: str, found: Found) -> Item:
        video = f"{folder}_{found.flat_name}"
        return _item("VGGFace2_real", folder, video, found, official_split=folder, subject=found.name)


@LAYOUTS.register("YTF")
class YouTubeFaces(Layout):
    """YouTubeFaces: 3,425 videos as folders of frames (frame_images_DB)."""

    name = "YouTubeFaces"
    home = "www.cs.tau.ac.il/~wolf/ytfaces"
    tree = """
        frame_images_DB/Aaron_Eckhart/0/0.555.jpg
    """
    classes = {"YTF_real": 0}
    official = {("YTF_real", "train"): 3425}
    frames = "all"
    fsfm = FSFM_IMAGES

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """``frame_images_DB/Aaron_Eckhart/0/0.555.jpg``, or FSFM's ``images`` and ``parsing_maps``."""
        if (root / "images").is_dir():
            yield from ready_images(root, "images", "YTF_real", r"(?P<video>.+_\d+)_(?P<image>[\d.]+)")
            return
        [folder], _ = present(self.name, root, ("frame_images_DB",))
        found = find_image_folders(root, root / folder, ignore={".txt"})
        yield from each(found, partial(self._video, root, folder))

    def _video(self, root: Path, folder: str, found: Found) -> Item | Remark:
        if not found.inner:
            return Remark("left out", place(found.path, root), "images that are in no video's folder")
        return _item("YTF_real", folder, found.flat_name, found, subject=found.inner[0])


def _item(cls: str, folder: str, video: str, found: Found, **facts: object) -> Item:
    facts["images"] = [path.name for path in found.source.files]
    return Item(cls, "train", folder, video, found.source, facts=facts)
