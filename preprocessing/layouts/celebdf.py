"""Celeb-DF v1, v2 and ++: real and fake videos of celebrities; the authors' list names the test videos.

The list begins every line with a digit of its own, 1 for real and 0 for fake. Labels here come from the folder; the
digit is kept as a fact. Train is everything the list does not name, from all folders. The variant without the YouTube
videos that FSFM's numbers use is a part (``Celeb-DF-v2-NYR``) over the same store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from benchmark.errors import DataError
from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark
from preprocessing.layouts.derived import Part
from preprocessing.layouts.files import Found, absent, each, find_videos, place, present, read_list, without_suffix

TEST_LIST = "List_of_testing_videos.txt"
HINT = "It comes with the dataset (github.com/yuezunli/celeb-deepfakeforensics) and decides what is test."
REAL_FOLDERS = ("Celeb-real", "YouTube-real")
FAKE_FOLDER = "Celeb-synthesis"


class _CelebDF(Layout):
    prefix: ClassVar[str]
    home = "github.com/yuezunli/celeb-deepfakeforensics"
    tree = """
        Celeb-real/id0_0000.mp4
        YouTube-real/00000.mp4
        Celeb-synthesis/id0_id1_0000.mp4
        List_of_testing_videos.txt  # decides what is test
    """

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``."""
        folders, missing = present(self.name, root, (*REAL_FOLDERS, FAKE_FOLDER))
        yield from missing
        digits = read_test_list(root / TEST_LIST, self.name)
        seen: set[str] = set()

        def item(folder: str, found: Found) -> Item | Remark:
            cls = self.cls(folder, found)
            if cls not in self.classes:
                return Remark("left out", place(found.path, root), f"'{cls}' is not a class of {self.name}")
            key = "/".join((folder, *found.inner, found.name))
            seen.add(key)
            facts = {"list_digit": digits[key]} if key in digits else {}
            return found.item(cls, "test" if key in digits else "train", folder, found.flat_name, facts)

        for folder in folders:
            yield from each(find_videos(root, root / folder, crops_only=self.crops_only), partial(item, folder))
        yield from absent(digits, seen, TEST_LIST)

    def cls(self, folder: str, found: Found) -> str:
        """Class string of a video."""
        return f"{self.prefix}_{'fake' if folder == FAKE_FOLDER else 'real'}"


@LAYOUTS.register("CDFv1")
class CelebDFv1(_CelebDF):
    """Celeb-DF v1: test list of 38 real and 62 fake videos."""

    name = "Celeb-DF-v1"
    prefix = "CelebDFv1"
    classes = {"CelebDFv1_real": 0, "CelebDFv1_fake": 1}
    official = {("CelebDFv1_real", "test"): 38, ("CelebDFv1_fake", "test"): 62}


@LAYOUTS.register("CDFv2")
class CelebDFv2(_CelebDF):
    """Celeb-DF v2: test list of 178 real (108 of celebrities, 70 from YouTube) and 340 fake videos."""

    name = "Celeb-DF-v2"
    prefix = "CelebDFv2"
    classes = {"CelebDFv2_real": 0, "CelebDFv2_fake": 1}
    official = {("CelebDFv2_real", "test"): 178, ("CelebDFv2_fake", "test"): 340}
    parts = {"Celeb-DF-v2-NYR": Part(without=("YouTube-real",))}


@LAYOUTS.register("CDF++")
class CelebDFPlus(_CelebDF):
    """Celeb-DF++: fakes of three kinds (face swap, reenactment, talking face) in a folder per method."""

    name = "Celeb-DF++"
    home = "github.com/OUC-VAS/Celeb-DF-PP"
    tree = """
        Celeb-real/id0_0000.mp4
        YouTube-real/00000.mp4
        Celeb-synthesis/FaceSwap/METHOD/id0_id1_0000.mp4
        List_of_testing_videos.txt  # decides what is test
    """
    prefix = "CelebDF++"
    classes = {
        "CelebDF++_real": 0,
        **{f"CelebDF++_{kind}_fake": 1 for kind in ("FaceSwap", "FaceReenact", "TalkingFace")},
    }
    parts = {"Celeb-DF++-NYR": Part(without=("YouTube-real",))}

    def cls(self, folder: str, found: Found) -> str:
        """See ``_CelebDF.cls``; the first folder of a fake is its kind."""
        kind = (*found.inner, "unsorted")[0]
        return f"{self.prefix}_{kind}_fake" if folder == FAKE_FOLDER else f"{self.prefix}_real"


def read_test_list(path: Path, dataset: str) -> Mapping[str, int]:
    """``folder/name`` of every test video to the list's own digit (1 real, 0 fake: the opposite of labels here).

    Raises:
        DataError: the list is missing, or a line is not ``digit path``.
    """
    digits = {}
    for number, line in enumerate(read_list(path, dataset, HINT), 1):
        digit, _, name = line.partition(" ")
        if digit not in ("0", "1") or "/" not in name.replace("\\", "/"):
            raise DataError(f"{path}, line {number}: expected '0|1 FOLDER/NAME.mp4', found '{line[:120]}'.")
        parts = without_suffix(name.strip()).split("/")
        digits["/".join(part for part in parts if part != "videos")] = int(digit)
    return digits
