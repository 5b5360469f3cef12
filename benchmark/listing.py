"""Tables for ``python -m benchmark list``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from benchmark.data.cards import DatasetCard, all_cards
from benchmark.protocols import Protocol, builtin_protocols
from benchmark.registry import (
    AUGMENTATIONS,
    BACKBONES,
    DATASETS,
    DETECTORS,
    FACE_FINDERS,
    FACE_PARSERS,
    LAYOUTS,
    MASKINGS,
    Registry,
)

REGISTRIES: dict[str, Registry] = {
    "backbones": BACKBONES,
    "detectors": DETECTORS,
    "augmentations": AUGMENTATIONS,
    "maskings": MASKINGS,
    "layouts": LAYOUTS,
    "face_finders": FACE_FINDERS,
    "face_parsers": FACE_PARSERS,
    "readers": DATASETS,
}


def print_lists(kinds: Iterable[str], indexes: Path) -> None:
    """Print a table per kind: names with one-line descriptions."""
    console = Console()
    for kind in kinds:
        console.print(_datasets(indexes) if kind == "datasets" else _table(kind, _rows(kind)))


def _rows(kind: str) -> list[tuple[str, str]]:
    if kind == "protocols":
        return [
            (name, f"{protocol.title} ({_folds(protocol)})") for name, protocol in sorted(builtin_protocols().items())
        ]
    return [(entry.name, entry.summary) for entry in REGISTRIES[kind].entries()]


def _folds(protocol: Protocol) -> str:
    if protocol.folds:
        return f"{len(protocol.folds)} runs: {', '.join(protocol.folds)}"
    return f"train {', '.join(protocol.train)}; test {', '.join(protocol.test)}"


def _datasets(indexes: Path) -> Table:
    table = _table("datasets", [])
    table.add_column("aliases")
    table.add_column("index here", justify="center")
    for name, card in sorted(all_cards(indexes).items()):
        here = "yes" if _has_index(card, indexes) else "built on use" if card.builder else "-"
        table.add_row(name, card.title, ", ".join(card.aliases), here)
    return table


def _has_index(card: DatasetCard, indexes: Path) -> bool:
    return any((indexes / f"{stem}.json").is_file() for stem in (*card.index, card.name))


def _table(kind: str, rows: Iterable[tuple[str, str]]) -> Table:
    table = Table(title=kind, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("what it is")
    for row in rows:
        table.add_row(*row)
    return table
