"""An index without the frames that cannot be read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmark.data.index import canonical_key
from benchmark.data.store import atomic_write_text


def prune_index(source: Path, target: Path, bad_frames: Iterable[str], folders: Iterable[str] = ()) -> tuple[int, int]:
    """Write an index without frames that are missing or unreadable; videos left without frames go too.

    Args:
        source: the index.
        target: the new file.
        bad_frames: canonical keys, from ``VerifyReport.bad_frames``.
        folders: dataset folders at which absolute paths are cut.

    Returns:
        How many frames and how many whole videos were left out.
    """
    tree = json.loads(source.read_bytes())
    bad, known = set(bad_frames), {*folders, *(name for name in tree if name != "meta")}
    frames = videos = 0
    for _, record in list(_walk(tree)):
        keep = [canonical_key(path, known) not in bad for path in record["frames"]]
        frames += keep.count(False)
        videos += not any(keep)
        size = len(keep)
        for name, values in record.items():
            if isinstance(values, list) and len(values) == size:
                record[name] = [value for value, kept in zip(values, keep, strict=True) if kept]
    _drop_empty(tree)
    meta = tree.setdefault("meta", {})
    meta["pruned"] = {"from": hashlib.sha256(source.read_bytes()).hexdigest(), "frames": frames, "videos": videos}
    if isinstance(meta.get("counts"), dict) and "frames" in meta["counts"]:
        meta["counts"]["frames"] = sum(len(record["frames"]) for _, record in _walk(tree))
    atomic_write_text(target, json.dumps(tree, indent=1, ensure_ascii=False) + "\n")
    return frames, videos


def _drop_empty(node: dict[str, Any]) -> None:
    for name, child in list(node.items()):
        if isinstance(child, dict) and child.get("frames") == []:
            del node[name]
        elif isinstance(child, dict) and name != "meta":
            _drop_empty(child)


def _walk(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """((class, split[, level], video), record) of every video record in an index."""

    def inside(node: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
        if isinstance(node, dict) and isinstance(node.get("frames"), list):
            yield place, node
        elif isinstance(node, dict):
            for name, child in node.items():
                yield from inside(child, (*place, name))

    for name, classes in tree.items():
        if name != "meta":
            yield from inside(classes, ())
