"""UADFV: 49 real and 49 fake videos, without a split."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark
from preprocessing.layouts.files import Found, each, find_videos, present


@LAYOUTS.register("UADFV")
class UADFV(Layout):
    """UADFV: 49 real and 49 fake videos, all for testing."""

    name = "UADFV"
    home = "github.com/danmohaha/WIFS2018_In_Ictu_Oculi"
    tree = """
        real/0000.mp4
        fake/0000_fake.mp4
    """
    classes = {"UADFV_Real": 0, "UADFV_Fake": 1}
    official = {("UADFV_Real", "test"): 49, ("UADFV_Fake", "test"): 49}

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``."""
        folders, missing = present(self.name, root, ("real", "fake"))
        yield from missing
        for folder in folders:
            yield from each(find_videos(root, root / folder, crops_only=self.crops_only), partial(_item, folder))


def _item(folder: str, found: Found) -> Item:
    return found.item(f"UADFV_{folder.capitalize()}", "test", folder, found.name)
