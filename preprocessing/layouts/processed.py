"""Index of face crops that are already on disk, without reading or copying a single one.

    python -m preprocessing.layouts.processed FF++ --root datasets/rgb/FaceForensics++ --index datasets_json

Takes the crops that DeepfakeBench's scripts left (``.../frames/VIDEO/012.png``) and releases that are crops themselves
(WildDeepfake, DF40, frames of few_shot_fas), gives them the labels and splits of the layout, and writes an index whose
frames are the files themselves. Readers find them under ``paths.data`` = the folder above the root.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmark.data.index import VideoRecord, fingerprint_of, write_index
from benchmark.errors import BenchmarkError, DataError
from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout


def index_crops(layout: Layout, root: Path, index: Path) -> Path:
    """Write the index of a folder of crops.

    Args:
        layout: which dataset it is.
        root: its folder.
        index: JSON file to write.

    Raises:
        DataError: there are no crops under the root, only videos or photographs.
    """
    layout.crops_only = True
    try:
        found = layout.scan(root)
    except DataError as error:
        raise DataError(f"{layout.name}: no index of face crops can be made of {root}. {error}") from error
    items = [item for item in found.items if item.is_cropped]
    if not items:
        raise DataError(f"{layout.name}: {root} has no face crops, only files that must be prepared.")
    settings = {"tool": "crops found on disk", "dataset": layout.name}
    meta = {
        "settings": settings,
        "fingerprint": fingerprint_of(settings),
        "left_out": [{"file": remark.place, "reason": remark.reason} for remark in found.remarks],
    }
    index.parent.mkdir(parents=True, exist_ok=True)
    write_index(index, layout.name, (_record(layout, item, root) for item in items), meta)
    return index


def _record(layout: Layout, item: Item, root: Path) -> VideoRecord:
    files = item.source.files
    extra: dict[str, object] = {"facts": dict(item.facts)} if item.facts else {}
    if all(path.stem.isdecimal() for path in files):
        extra["numbers"] = [int(path.stem) for path in files]
    keys = tuple(path.relative_to(root.parent).as_posix() for path in files)
    return VideoRecord(layout.name, item.cls, layout.label(item), item.split, item.level, item.video, keys, extra)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="processed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", help="layout name, e.g. FF++")
    parser.add_argument("--root", type=Path, required=True, help="folder of the crops")
    parser.add_argument("--index", type=Path, default=Path("datasets_json"), help="folder of indexes")
    args = parser.parse_args()
    try:
        layout = LAYOUTS.get(args.dataset)()
        path = index_crops(layout, args.root.absolute(), args.index / f"{layout.name}.json")
    except BenchmarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
