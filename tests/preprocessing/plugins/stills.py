"""A layout for tests: still photographs, a folder of ready face crops as one video, no official split, extra labels."""

from collections.abc import Collection, Iterator
from pathlib import Path

from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark, list_files
from preprocessing.video import IMAGE_SUFFIXES, ImageFiles


@LAYOUTS.register("stills")
class Stills(Layout):
    """Photographs with an attack type in the file name, and sequences of crops."""

    name = "Stills"
    classes = {"stills_live": 0, "stills_spoof": 1}

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        for path, reason in list_files(root / "photos", IMAGE_SUFFIXES):
            if reason:
                yield Remark("left out", path.relative_to(root).as_posix(), reason)
                continue
            kind = int(path.stem[-1])
            cls = "stills_spoof" if kind else "stills_live"
            yield Item(cls, "test", "photos", path.stem, ImageFiles((path,)), facts={"attack": kind})
        for folder in sorted((root / "crops").iterdir()):
            frames = tuple(path for path, reason in list_files(folder, IMAGE_SUFFIXES) if not reason)
            yield Item("stills_spoof", "test", "crops", folder.name, ImageFiles(frames), is_cropped=True)
