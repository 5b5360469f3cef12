"""Further indexes over a store that exists: a part of a dataset under its own name, without preparing anything again.

    python -m preprocessing.layouts.derived datasets_json/DF40.json

writes one index per part that the dataset's layout declares, beside the given one. Indexes from DeepfakeBench work
too. Cards whose data is such a part name ``build_index`` as their builder.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from benchmark.data.index import label_of
from benchmark.data.store import atomic_write_text
from benchmark.errors import BenchmarkError, DataError


@dataclass(frozen=True)
class Part:
    """Which videos of an index belong to a part.

    Attributes:
        classes: class strings; empty for all.
        without: folders; a video whose frames lie in or under one of them does not belong to it.
    """

    classes: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def holds(self, cls: str, record: Mapping[str, Any]) -> bool:
        """Whether a video of class ``cls`` belongs to the part."""
        first = next(iter(record.get("frames") or ()), "")
        folders = first.replace("\\", "/").split("/")
        return (not self.classes or cls in self.classes) and not any(name in folders for name in self.without)


def read_json_index(path: Path) -> tuple[str, dict[str, Any], dict[str, Any], str]:
    """Top key, classes, meta block and sha256 of an index file.

    Raises:
        DataError: no such file, or not an index.
    """
    try:
        raw = path.read_bytes()
        data = json.loads(raw)
        meta = data.pop("meta", {})
        [(name, classes)] = data.items()
    except OSError as error:
        raise DataError(f"No index at {path} ({error.strerror}).") from error
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} is not an index {{NAME: {{CLASS: ...}}}} ({error}).") from error
    return name, classes, meta, hashlib.sha256(raw).hexdigest()


def write_derived(path: Path, classes: Mapping[str, Any], source: tuple[Path, str], meta: Mapping[str, Any]) -> Path:
    """Write a derived index; its meta block keeps the settings and says what it was made from.

    Args:
        path: the new index; its stem becomes the top key.
        classes: class -> split -> videos.
        source: the index it comes from and that file's sha256.
        meta: the source's meta block with what describes the part.
    """
    origin = {"index": source[0].name, "sha256": source[1]}
    text = json.dumps({path.stem: classes, "meta": {**meta, "derived_from": origin}}, ensure_ascii=False)
    if not path.is_file() or path.read_text(encoding="utf-8") != text + "\n":
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, text + "\n")
        logger.info("{}: index written from {}", path.stem, source[0])
    return path


def derive(source: Path, name: str, part: Part) -> Path:
    """Write ``NAME.json`` beside an index, with the videos of one part.

    Raises:
        DataError: the source is not an index, or nothing in it, or no fake of it, belongs to the part.
    """
    _, classes, meta, digest = read_json_index(source)
    kept = {cls: _filter(splits, cls, part) for cls, splits in classes.items()}
    kept = {cls: splits for cls, splits in kept.items() if any(videos_of(splits))}
    has_fakes, keeps_fakes = (any(label_of(cls, {}, str(source)) for cls in found) for found in (classes, kept))
    if not kept or (has_fakes and not keeps_fakes):
        raise DataError(f"{source} has no {'fake ' if kept else ''}videos of the part {name}.")
    return write_derived(source.with_name(f"{name}.json"), kept, (source, digest), {**meta, "part": asdict(part)})


def videos_of(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, record) of every video below a node of an index, whether it has compression levels or not."""
    for name, value in node.items() if isinstance(node, dict) else ():
        if isinstance(value, dict) and "frames" in value:
            yield name, value
        else:
            yield from videos_of(value)


def _filter(node: Mapping[str, Any], cls: str, part: Part) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, dict) and "frames" in value:
            if part.holds(cls, value):
                kept[name] = value
        elif isinstance(value, dict):
            kept[name] = _filter(value, cls, part)
    return kept


def derive_all(source: Path) -> list[Path]:
    """Every part of the dataset whose index this is, as far as it holds videos of it."""
    from benchmark.registry import LAYOUTS

    name = read_json_index(source)[0]
    layout = next((layout for layout in map(LAYOUTS.get, LAYOUTS) if getattr(layout, "name", "") == name), None)
    if layout is None or not layout.parts:
        raise DataError(f"{source}: dataset '{name}' has no parts with an index of their own.")
    written = []
    for part_name, part in layout.parts.items():
        try:
            written.append(derive(source, part_name, part))
        except DataError:
            continue  # this copy has no such part
    return written


def build_index(name: str, data: Path, indexes: Path) -> Path:
    """Builder for cards of a part (``CDFv2-NYR``): made anew from the dataset's index whenever it is used.

    Raises:
        DataError: the dataset's index is not there.
    """
    from benchmark.data.cards import builtin_cards
    from benchmark.registry import LAYOUTS

    [stem] = builtin_cards()[name].index
    for layout in map(LAYOUTS.get, LAYOUTS):
        if stem in layout.parts:
            source = indexes / f"{layout.name}.json"
            if not source.is_file():
                raise DataError(f"{name} is a part of {layout.name}, and {source} is not there. Prepare that first.")
            return derive(source, stem, layout.parts[stem])
    raise DataError(f"No layout declares the part '{stem}'.")


def main() -> int:
    """Command line: indexes as arguments."""
    try:
        for argument in sys.argv[1:]:
            for path in derive_all(Path(argument)):
                sys.stdout.write(f"{path}\n")
    except BenchmarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
