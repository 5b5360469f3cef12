"""Deepfake Detection Challenge: the full dataset (DFDC) and its preview (DFDCP).

Both come with lists that say what is fake: ``test/labels.csv`` and a ``metadata.json`` per training part in the full
release, one ``dataset.json`` in the preview. A video's name is its stem, as in DeepfakeBench's indexes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.errors import DataError
from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark, natural
from preprocessing.layouts.files import (
    Found,
    absent,
    by_label,
    each,
    find_videos,
    place,
    present,
    read_json,
    read_table,
    without_suffix,
)  # fmt: skip
from preprocessing.layouts.fsfm_tree import FsfmTree, own_name

LABELS = {"0": 0, "1": 1}
TRAIN_LABELS = {"REAL": 0, "FAKE": 1, "real": 0, "fake": 1}
HINT = "It comes with the videos of the Deepfake Detection Challenge."


@LAYOUTS.register("DFDC")
class DFDC(Layout):
    """Deepfake Detection Challenge: 5,000 test videos and up to 50 parts of training videos; no val split."""

    name = "DFDC"
    home = "ai.meta.com/datasets/dfdc"
    tree = """
        test/labels.csv  # filename,label
        test/aassnaulhq.mp4  # any sub-folders
        train/dfdc_train_part_0/metadata.json
        train/dfdc_train_part_0/owxbbpjpch.mp4
    """
    classes = {"DFDC_Real": 0, "DFDC_Fake": 1}
    official = {("DFDC_Real", "test"): 2500, ("DFDC_Fake", "test"): 2500}
    fsfm = FsfmTree(video=own_name)

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``."""
        folders, missing = present(self.name, root, ("test", "train"))
        yield from missing
        if "test" in folders:
            table = root / "test" / "labels.csv"
            rows = read_table(table, self.name, ("filename", "label"), HINT)
            labels = {without_suffix(row["filename"]): by_label(row["label"], LABELS, str(table)) for row in rows}
            yield from self._videos(root, "test", "test", {name: (label, {}) for name, label in labels.items()})
        if "train" in folders:
            for part in sorted((path for path in (root / "train").iterdir()), key=lambda path: natural(path.name)):
                if part.is_dir():
                    yield from self._videos(root, f"train/{part.name}", "train", self._metadata(part))

    def _metadata(self, part: Path) -> dict[str, tuple[int, dict[str, Any]]]:
        path = part / "metadata.json"
        entries = read_json(path, self.name, HINT)
        known = {}
        for name, entry in entries.items():
            facts = {"original": entry["original"]} if entry.get("original") else {}
            known[without_suffix(name)] = (by_label(entry.get("label"), TRAIN_LABELS, f"{path}, {name}"), facts)
        return known

    def _videos(
        self, root: Path, folder: str, split: str, known: Mapping[str, tuple[int, dict[str, Any]]]
    ) -> Iterator[Item | Remark]:
        seen = set()

        def item(found: Found) -> Item | Remark:
            if found.name not in known:
                return Remark("left out", place(found.path, root), "the list of labels does not name it")
            seen.add(found.name)
            label, facts = known[found.name]
            return found.item(("DFDC_Real", "DFDC_Fake")[label], split, folder, found.name, facts)

        ignore = {".json", ".csv"}
        yield from each(find_videos(root, root / folder, crops_only=self.crops_only, ignore=ignore), item)
        yield from absent(known, seen, f"{folder}'s list")


@LAYOUTS.register("DFDCP")
class DFDCP(Layout):
    """Deepfake Detection Challenge preview: real videos and two methods, train and test by dataset.json."""

    name = "DFDCP"
    home = "ai.meta.com/datasets/dfdc"
    tree = """
        dataset.json  # labels and sets
        original_videos/643/643_A_001.mp4
        method_A/643/1229/643_1229_A_001.mp4
        method_B/643/1229/643_1229_B_001.mp4
    """
    classes = {"DFDCP_Real": 0, "DFDCP_FakeA": 1, "DFDCP_FakeB": 1}
    folders = {"original_videos": "DFDCP_Real", "method_A": "DFDCP_FakeA", "method_B": "DFDCP_FakeB"}

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``. The first folder of a path decides the class; it must agree with the list's label."""
        folders, missing = present(self.name, root, self.folders)
        yield from missing
        path = root / "dataset.json"
        entries = {without_suffix(name): entry for name, entry in read_json(path, self.name, HINT).items()}
        by_stem = {(name.split("/")[0], name.rpartition("/")[2]): entry for name, entry in entries.items()}
        if len(by_stem) < len(entries):
            raise DataError(f"{path}: two videos of one class have the same file name, so their names would clash.")
        seen = set()

        def item(folder: str, found: Found) -> Item | Remark:
            seen.add((folder, found.name))
            entry = by_stem.get((folder, found.name), {})
            reason = self._refuse(entry, self.folders[folder], f"{path}, {found.name}")
            if reason:
                return Remark("left out", place(found.path, root), reason)
            facts = {key: entry[key] for key in ("target_id", "swapped_id") if entry.get(key)}
            return found.item(self.folders[folder], entry["set"], folder, found.name, facts)

        for folder in folders:
            yield from each(find_videos(root, root / folder, crops_only=self.crops_only), partial(item, folder))
        listed = {"/".join(key): key for key in by_stem}
        yield from absent(listed, {"/".join(key) for key in seen}, "dataset.json")

    def _refuse(self, entry: Mapping[str, Any], cls: str, where: str) -> str:
        """Why a video cannot be used, or an empty string."""
        if not entry:
            return "dataset.json does not name it"
        if by_label(entry.get("label"), TRAIN_LABELS, where) != self.classes[cls]:
            return f"dataset.json calls it {entry['label']}, but its folder says {cls}"
        return "" if entry.get("set") in ("train", "test") else f"dataset.json puts it into '{entry.get('set')}'"
