"""What a run of ``prepare`` found and made: rows per class and split, troubles, and the console table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocessing.frames import BROKEN_MAP

if TYPE_CHECKING:
    from preprocessing.layouts.base import Layout, Remark
    from preprocessing.task import ItemResult

_SPLIT_ORDER = {"train": 0, "val": 1, "test": 2}
_SHOWN = 10
SUM = "all"
COUNTS = ("videos", "frames", "several", "faceless", "dropped", "unreadable", "empty")
"""Counted fields of a row, as ``meta.counts`` of an index has them."""
COUNTS = ("videos", "frames", "several", "faceless", "dropped", "unreadable", "empty")
"""Counted fields of a row, as ``meta.counts`` of an index has them."""
COLUMNS = {"videos": "videos", "official": "official", "frames": "frames", "several": "several", "no face": "faceless",
           "dropped": "dropped", "unreadable": "unreadable", "empty": "empty"}  # fmt: skip
"""Title of a column -> field of a row."""
_RARE = ("several", "dropped")  # columns that a terminal shows only when they have something


@dataclass(frozen=True)
class Row:
    """Counts of one class, split and compression level.

    Attributes:
        cls: class string.
        split: ``train``, ``val`` or ``test``.
        level: compression level or None.
        videos: items prepared, readable or not.
        official: items in the complete release, or None when that is not known.
        frames: frames stored.
        several: those of them in which more than one face was found; the face choice decided.
        faceless: frames in which no face was found.
        dropped: frames not stored for another reason (no landmarks, no parsing map, no face in the aligned crop).
        unreadable: wanted frames that could not be decoded.
        empty: items of which no frame is stored (no face anywhere, or the file cannot be read).
    """

    cls: str
    split: str
    level: str | None
    videos: int
    official: int | None
    frames: int
    several: int
    faceless: int
    dropped: int
    unreadable: int
    empty: int

    def cells(self, columns: Iterable[str] = COLUMNS) -> list[str]:
        """Its counts as words."""
        counts = (getattr(self, COLUMNS[column]) for column in columns)
        return ["-" if count is None else f"{count:,}" for count in counts]


@dataclass(frozen=True)
class Trouble:
    """Something that is not in the index as it should be.

    Attributes:
        place: source file relative to the root.
        reason: ``no face``, ``unreadable``, or the words of the reader.
        numbers: frames concerned; empty when it is the whole file.
        is_damage: the file is broken, as against a frame without a face or a file outside the splits.
    """

    place: str
    reason: str
    numbers: tuple[int, ...] = ()
    is_damage: bool = False

    def record(self) -> dict[str, Any]:
        """Plain mapping for the index."""
        return {"file": self.place, "reason": self.reason, **({"frames": list(self.numbers)} if self.numbers else {})}

    def __str__(self) -> str:
        if not self.numbers:
            return f"{self.place}: {self.reason}"
        shown = ", ".join(map(str, self.numbers[:_SHOWN])) + (", ..." if len(self.numbers) > _SHOWN else "")
        return f"{self.place}: {self.reason} in {len(self.numbers)} frames ({shown})"


@dataclass(frozen=True)
class PrepareReport:
    """The outcome of one run; counts are those of the whole store, not only of this run.

    Attributes:
        dataset: name of the dataset.
        store: folder of the LMDB store.
        index: the JSON index.
        fingerprint: of the settings.
        content: digest over everything stored.
        rows: counts per class, split and level.
        troubles: frames without a face, files that cannot be read, odd headers.
        left_out: files of the copy that are not used, with the reason.
        missing: parts of the official release that the copy lacks.
        new: items prepared in this run.
        kept: items that were finished before.
        seconds: time this run took.
        pages: folder of the report pages.
        derived: indexes made from this one.
    """

    dataset: str
    store: Path
    index: Path
    fingerprint: str
    content: str
    rows: tuple[Row, ...]
    troubles: tuple[Trouble, ...]
    left_out: tuple[Trouble, ...]
    missing: tuple[str, ...]
    new: int
    kept: int
    seconds: float
    pages: Path
    derived: tuple[Path, ...] = ()

    @property
    def is_damaged(self) -> bool:
        """True when a source file is broken in whole or in part, or nothing at all was stored."""
        return any(trouble.is_damage for trouble in self.troubles) or not any(row.frames for row in self.rows)


def count_rows(results: Iterable[ItemResult], layout: Layout) -> tuple[Row, ...]:
    """Counts per class, split and level, in index order."""
    groups: dict[tuple[str, str, str | None], list[ItemResult]] = {}
    for result in results:
        groups.setdefault((result.cls, result.split, result.level), []).append(result)
    order = sorted(groups, key=lambda key: (key[0], _SPLIT_ORDER.get(key[1], 3), key[2] or ""))
    return tuple(
        Row(
            *key,
            videos=len(groups[key]),
            official=layout.official.get(key[:2]),
            frames=sum(len(result.numbers) for result in groups[key]),
            several=sum(len(faces) > 1 for result in groups[key] for faces in result.boxes),
            faceless=sum(len(result.faceless) for result in groups[key]),
            dropped=sum(len(numbers) for result in groups[key] for numbers in result.dropped.values()),
            unreadable=sum(len(result.unreadable) for result in groups[key]),
            empty=sum(not result.numbers for result in groups[key]),
        )
        for key in order
    )


def list_troubles(results: Iterable[ItemResult]) -> tuple[Trouble, ...]:
    """Everything that went wrong with the items, by id and then by gravity."""
    return tuple(trouble for result in sorted(results, key=lambda result: result.id) for trouble in _troubles(result))


def _troubles(result: ItemResult) -> Iterable[Trouble]:
    place = str(result.source.get("file", result.id))
    if result.problem:
        yield Trouble(place, result.problem, is_damage=True)
    for note in result.notes:
        yield Trouble(place, note, is_damage=True)
    if result.unreadable and not result.problem:
        yield Trouble(place, "unreadable", tuple(result.unreadable), is_damage=True)
    if result.faceless and not result.problem:
        yield Trouble(place, "no face", tuple(result.faceless))
    for reason, numbers in result.dropped.items() if not result.problem else ():
        yield Trouble(place, reason, tuple(numbers), is_damage=reason == BROKEN_MAP)


def list_missing(rows: Sequence[Row], layout: Layout, remarks: Iterable[Remark]) -> tuple[str, ...]:
    """What the copy lacks against the official release: absent folders, then classes with too few videos."""
    folders = [f"{remark.place} is not there: {remark.reason}" for remark in remarks if remark.kind == "missing"]
    found: dict[tuple[str, str | None], int] = {}
    for row in rows:
        found[row.cls, row.level] = found.get((row.cls, row.level), 0) + row.videos
    official = {cls: sum(n for (name, _), n in layout.official.items() if name == cls) for cls in layout.classes}
    short = [
        f"{cls}{f' at {level}' if level else ''}: {count} of {official[cls]} videos"
        for (cls, level), count in sorted(found.items(), key=str)
        if count < official[cls]
    ]
    return (*folders, *short)


def print_report(report: PrepareReport) -> None:
    """The closing table and what needs a person's eye."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=report.dataset, title_justify="left", box=SIMPLE_HEAD, padding=0)
    for name in ("class", "split", "level"):
        table.add_column(name, no_wrap=True)
    columns = [name for name in COLUMNS if name not in _RARE or any(getattr(row, COLUMNS[name]) for row in report.rows)]
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row in (*report.rows, sum_rows(report.rows)):
        style = "bold" if row.cls == SUM else None
        table.add_row(row.cls, row.split, row.level or "", *row.cells(columns), style=style)
    console = Console()
    console.print(table)
    _print_list(console, "Broken", [trouble for trouble in report.troubles if trouble.is_damage])
    _print_list(console, "Frames not stored", [trouble for trouble in report.troubles if not trouble.is_damage])
    _print_list(console, "Left out", report.left_out)
    _print_list(console, "Less than the official release", report.missing)
    rate = f", {report.new / report.seconds:.2f} videos/s" if report.new and report.seconds else ""
    console.print(f"New: {report.new}, kept: {report.kept}, time: {report.seconds:.1f} s{rate}.", highlight=False)
    places = f"Index: {report.index}\nStore: {report.store}\nReport: {report.pages / 'report.html'}"
    console.print(places, highlight=False, soft_wrap=True)
    if report.derived:
        names = ", ".join(path.relative_to(report.index.parent).with_suffix("").as_posix() for path in report.derived)
        console.print(f"Indexes made from it: {names}", highlight=False, soft_wrap=True)
    console.print(f"Settings: {report.fingerprint}, content: {report.content[:16]}", highlight=False)


def sum_rows(rows: Sequence[Row]) -> Row:
    """The row of sums under a table."""
    official = None if any(row.official is None for row in rows) else sum(row.official or 0 for row in rows)
    totals = [sum(getattr(row, name) for row in rows) for name in COUNTS[1:]]
    return Row(SUM, "", None, sum(row.videos for row in rows), official, *totals)


def _print_list(console: Any, title: str, entries: Sequence[object]) -> None:
    if not entries:
        return
    console.print(f"[bold]{title}[/bold] ({len(entries)}):")
    for entry in entries[:_SHOWN]:
        console.print(f"  {entry}", markup=False, highlight=False, soft_wrap=True)
    if len(entries) > _SHOWN:
        console.print(f"  ... and {len(entries) - _SHOWN} more; all are in the index under meta.")
