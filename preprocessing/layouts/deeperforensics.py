"""DeeperForensics-1.0: 1,000 swapped videos, each also with perturbations, and the recordings of the actors.

Every perturbation is a folder of its own with the same file names, so a store holds one of them: ``end_to_end`` (none)
unless the constructor says otherwise. Only fakes have an official split; the recordings are put into test.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from benchmark.errors import DataError, did_you_mean
from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark
from preprocessing.layouts.files import Found, absent, each, find_videos, place, present, read_list

STANDARD = "end_to_end"
HINT = "It comes with the dataset, in lists/splits."


@LAYOUTS.register("DF-1.0")
class DeeperForensics(Layout):
    """DeeperForensics-1.0: face swaps by one method, split 7:1:2, and recordings of actors without a split."""

    name = "DeeperForensics-1.0"
    home = "github.com/EndlessSora/DeeperForensics-1.0"
    tree = """
        manipulated_videos/end_to_end/000_M101.mp4  # another perturbation: --layout-option perturbation=NAME
        source_videos/M101/light_left/anger/camera_up/M101_light_left_anger_camera_up.mp4
        lists/splits/train.txt
        lists/splits/val.txt
        lists/splits/test.txt
    """
    classes = {"DF_real": 0, "DF_fake": 1}
    official = {("DF_fake", "train"): 700, ("DF_fake", "val"): 100, ("DF_fake", "test"): 200}

    def __init__(self, perturbation: str = STANDARD) -> None:
        self.perturbation = perturbation
        if perturbation != STANDARD:
            self.name = f"{self.name}_{perturbation}"

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``."""
        folders, missing = present(self.name, root, ("manipulated_videos", "source_videos"))
        yield from missing
        if "manipulated_videos" in folders:
            yield from self._fakes(root)
        if "source_videos" in folders:
            yield from each(find_videos(root, root / "source_videos"), _real)

    def _fakes(self, root: Path) -> Iterator[Item | Remark]:
        there = sorted(path.name for path in (root / "manipulated_videos").iterdir() if path.is_dir())
        if self.perturbation not in there:
            raise DataError(
                f"{self.name}: no perturbation '{self.perturbation}' under {root / 'manipulated_videos'}; "
                f"there are {', '.join(there) or 'none'}.{did_you_mean(self.perturbation, there)}"
            )
        for other in there:
            if other != self.perturbation:
                yield Remark("left out", f"manipulated_videos/{other}", f"not the perturbation {self.perturbation}")
        split_of = {}
        for split in ("train", "val", "test"):
            for line in read_list(root / "lists" / "splits" / f"{split}.txt", self.name, HINT):
                split_of[Path(line.replace("\\", "/")).stem] = split
        folder = f"manipulated_videos/{self.perturbation}"
        seen = set()

        def item(found: Found) -> Item | Remark:
            if found.name not in split_of:
                return Remark("left out", place(found.path, root), "no list in lists/splits names it")
            seen.add(found.name)
            facts = {"perturbation": self.perturbation}
            return found.item("DF_fake", split_of[found.name], folder, found.name, facts)

        yield from each(find_videos(root, root / folder, crops_only=self.crops_only), item)
        yield from absent(split_of, seen, "lists/splits")


def _real(found: Found) -> Item:
    """Recordings are nested by actor, light, emotion and camera, with equal stems."""
    facts = {"subject": found.inner[0]} if found.inner else {}
    return found.item("DF_real", "test", "source_videos", found.flat_name, facts)
