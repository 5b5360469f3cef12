"""DiFF: diffusion-made facial images of four kinds, and real photographs that all four share.

Fakes lie in ``{train,val,test}/{T2I,I2I,FS,FE}/``, real images in ``DiFF_real/{train,val,test}/``. Classes are given by
name here: sorting the folders once made DiFF_real class 0 and turned published numbers upside down. Part of the images
are JPEG and part PNG; the file's own format is kept as a fact, because it can give the label away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark
from preprocessing.layouts.files import Found, each, find_images, present
from preprocessing.layouts.fsfm_tree import Entry, FsfmTree, own_name

SPLITS = ("train", "val", "test")
KINDS = ("T2I", "I2I", "FS", "FE")


def _folders(entry: Entry) -> tuple[str, ...]:
    """FSFM has a tree per kind, each with all the real images in it."""
    kinds = KINDS if entry.cls == "DiFF_real" else (entry.cls.split("_")[1],)
    cls = "real" if entry.cls == "DiFF_real" else "fake"
    return tuple(f"{entry.split}_subsets/{kind}/{entry.split}/{cls}" for kind in kinds)


@LAYOUTS.register("DiFF")
class DiFF(Layout):
    """DiFF: text-to-image, image-to-image, face swapping and face editing by diffusion, with shared real images."""

    name = "DiFF"
    home = "github.com/xaCheng1996/DiFF"
    tree = """
        test/T2I/SDXL/a.png  # I2I, FS, FE alike; train, val and test
        DiFF_real/test/b.jpg
    """
    classes = {"DiFF_real": 0, **{f"DiFF_{kind}_fake": 1 for kind in KINDS}}
    frames = "all"
    fsfm = FsfmTree(video=own_name, stem=lambda entry, number, position: entry.video, folders=_folders)
    folders = {
        **{f"{split}/{kind}": (f"DiFF_{kind}_fake", split) for split in SPLITS for kind in KINDS},
        **{f"DiFF_real/{split}": ("DiFF_real", split) for split in SPLITS},
    }

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``. Every image is an item; sub-folders become part of its name, so equal stems differ."""
        folders, missing = present(self.name, root, self.folders)
        yield from missing
        for folder in folders:
            yield from each(find_images(root, root / folder), partial(self._item, folder))

    def _item(self, folder: str, found: Found) -> Item:
        cls, split = self.folders[folder]
        name = "_".join((*found.inner, found.path.name)).replace(".", "_")  # a.jpg and a.png are two images
        facts = {"format": found.path.suffix.lower().lstrip(".")}
        if found.inner:
            facts["method"] = found.inner[0]
        return found.item(cls, split, folder, name, facts)
