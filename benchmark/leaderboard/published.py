"""Figures printed in papers, as data with their sources (``benchmark/published``)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmark.config import Section, Settings
from benchmark.errors import DataError

FOLDER = Path(__file__).resolve().parent.parent / "published"


class Source(Section):
    """Where figures come from, and what they depend on."""

    title: str
    """Short name for tables."""
    citation: str
    """Work, venue, number, table."""
    evidence: str
    """How the figure was read."""
    selection: str | None
    """How the checkpoint was chosen; null = not stated."""
    on_test: bool | None
    """Whether test data was looked at for that; null = not stated."""
    crop: str | None
    """Face crop; null = not stated."""
    frames: str | None
    """Frames per video; null = not stated."""
    verified: bool
    """False when the figure was not checked against its first source."""


class Sources(Section):
    """The file ``sources.yaml``."""

    sources: dict[str, Source]
    """By name."""


@dataclass(frozen=True)
class Figure:
    """One printed number.

    Attributes:
        source: key of the source.
        protocol, fold: where it belongs, or empty.
        detector, train, test, level, metric: what it measures; dataset words.
        value: fraction.
        spread: standard deviation over seeds, fraction, or None.
        note: why to be careful, or empty.
    """

    source: str
    protocol: str
    fold: str
    detector: str
    train: str
    test: str
    level: str
    metric: str
    value: float
    spread: float | None
    note: str


@cache
def published_sources(folder: Path = FOLDER) -> dict[str, Source]:
    """Sources by key."""
    raw = Settings.from_file(folder / "sources.yaml")
    return Settings({"sources": raw.values}, name=raw.name).validate(Sources).sources


@cache
def published_figures(folder: Path = FOLDER) -> tuple[Figure, ...]:
    """Every figure of ``rows.csv``.

    Raises:
        DataError: a source that ``sources.yaml`` does not have, or a value that is no fraction; names the line.
    """
    path, sources = folder / "rows.csv", published_sources(folder)
    figures = []
    with path.open(newline="", encoding="utf-8") as handle:
        for line, row in enumerate(csv.DictReader(handle), 2):
            if row["source"] not in sources:
                raise DataError(f"{path}, line {line}: source '{row['source']}' is not in sources.yaml.")
            value, spread = float(row.pop("value")), row.pop("spread")
            if not 0 <= value <= 1:
                raise DataError(f"{path}, line {line}: {value} is not a fraction in [0, 1].")
            figures.append(Figure(value=value, spread=float(spread) if spread else None, **row))
    return tuple(figures)
