"""WildDeepfake: face crops from the internet, sorted into folders; each folder that holds images is one video."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark
from preprocessing.layouts.files import Found, each, find_image_folders, present
from preprocessing.layouts.fsfm_tree import FsfmTree, own_name


@LAYOUTS.register("WDF")
class WildDeepfake(Layout):
    """WildDeepfake: ready face crops, official train and test folders."""

    name = "WildDeepfake"
    home = "github.com/OpenTAI/wild-deepfake"
    tree = """
        deepfake_in_the_wild/real_train/1/real/1/0.png  # face crops; each folder of images is one video
        deepfake_in_the_wild/fake_train/1/fake/1/0.png
        deepfake_in_the_wild/real_test/1/real/1/0.png
        deepfake_in_the_wild/fake_test/1/fake/1/0.png
    """
    classes = {"WDF_Real": 0, "WDF_Fake": 1}
    frames = "all"
    fsfm = FsfmTree(video=own_name)
    folders = {
        "real_train": ("WDF_Real", "train"),
        "fake_train": ("WDF_Fake", "train"),
        "real_test": ("WDF_Real", "test"),
        "fake_test": ("WDF_Fake", "test"),
    }

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``. Names are whole paths (``fake_test_1_fake_11``), as in FSFM."""
        inner = root / "deepfake_in_the_wild"
        top = inner if inner.is_dir() else root
        folders, missing = present(self.name, top, self.folders)
        yield from missing
        for folder in folders:
            yield from each(find_image_folders(root, top / folder), partial(self._item, folder))

    def _item(self, folder: str, found: Found) -> Item:
        cls, split = self.folders[folder]
        return found.item(cls, split, folder, f"{folder}_{found.flat_name}")
