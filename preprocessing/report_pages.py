"""Report pages of a prepared dataset: ``report.md``, ``report.html`` and ``contact_sheet.png``.

A function of the store alone (no dates, no times), so equal stores give equal pages. The contact sheet takes crops
evenly from every class and split; a wrong crop, a wrong face or a swapped class folder shows there at a glance.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import lmdb
import numpy as np

from benchmark.data.decode import decode_image, decode_map
from benchmark.data.index import VideoRecord
from benchmark.data.store import Store, atomic_write_text
from benchmark.errors import DataError
from preprocessing.report import COLUMNS, PrepareReport, Trouble, sum_rows
from preprocessing.writer import DatasetWriter, index_records

SHEET = "contact_sheet.png"
_TILES = 48
_COLUMNS = 8
_TILE = 128
_CAPTION = 26
_SHOWN = 200
Reader = Callable[[str], "bytes | None"]
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse}th,td{padding:.25rem .7rem;border-bottom:1px solid #d8dde3;text-align:right}"
    "th:nth-child(-n+3),td:nth-child(-n+3){text-align:left}tr:last-child{font-weight:600}img{max-width:100%}"
    "code{background:#f3f5f7;padding:.1rem .3rem}li{overflow-wrap:anywhere}"
)
# Colours of LaPa's classes 0 to 10 in the sheet, RGB.
_COLOURS = np.array(
    [
        (0, 0, 0), (240, 190, 150), (150, 75, 0), (205, 133, 63), (0, 120, 255), (0, 200, 255),
        (255, 160, 0), (220, 20, 60), (120, 0, 30), (255, 105, 180), (90, 60, 160),
    ],
    np.uint8,
)  # fmt: skip


def write_pages(report: PrepareReport, writer: DatasetWriter) -> None:
    """Write the pages into ``report.pages``.

    Raises:
        DataError: they cannot be written.
    """
    records = list(index_records(writer))
    has_parsing = writer.header.settings.get("parser") is not None
    with _reader(report.store) as read:
        sheet = contact_sheet(records, read, has_parsing=has_parsing) if records else None
    try:
        report.pages.mkdir(parents=True, exist_ok=True)
        if sheet is not None:
            _write_png(report.pages / SHEET, sheet)
        lists = dict(_lists(report))
        atomic_write_text(report.pages / "report.md", _markdown(report, lists, has_sheet=sheet is not None))
        atomic_write_text(report.pages / "report.html", _html(report, lists, has_sheet=sheet is not None))
    except OSError as error:
        raise DataError(f"Cannot write the report to {report.pages}: {error.strerror}. See --report DIR.") from error


@contextmanager
def _reader(store: Path) -> Iterator[Reader]:
    """Reads values of a store and lets go of it afterwards, so that a later run in this process can move it."""
    if not (store / "data.mdb").is_file():
        yield lambda key: _read_file(store.parent / key)
        return
    try:
        environment = lmdb.open(str(store), readonly=True, lock=False, readahead=False)
    except lmdb.Error:  # open in this process already: share that reader
        yield Store(store).get
        return
    try:
        with environment.begin() as transaction:
            yield lambda key: transaction.get(key.encode())
    finally:
        environment.close()


def _read_file(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _write_png(path: Path, image: np.ndarray) -> None:
    _, content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content.tobytes())
    temporary.replace(path)


# ------------------------------------------------------------------------------------------------- the pictures


def contact_sheet(
    records: Sequence[VideoRecord], read: Reader, *, tiles: int = _TILES, has_parsing: bool = False
) -> np.ndarray:
    """One picture of crops taken evenly from all classes and splits.

    Args:
        records: videos with at least one frame.
        read: gives the bytes of a key, or None.
        tiles: crops at most.
        has_parsing: show parsing maps too.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    chosen = _spread(records, tiles)
    columns = min(_COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    sheet = np.full((rows * (_TILE + _CAPTION), columns * _TILE, 3), 255, np.uint8)
    for position, (record, key) in enumerate(chosen):
        y, x = position // columns * (_TILE + _CAPTION), position % columns * _TILE
        sheet[y : y + _TILE, x : x + _TILE] = _tile(read, key, has_parsing=has_parsing)
        stem = key.rpartition("/")[2].partition(".")[0]
        for line, text in enumerate((f"{record.cls} {record.split}", f"{record.video[-18:]} {stem}")):
            place = (x + 3, y + _TILE + 11 + 11 * line)
            shown = text.encode("ascii", "replace").decode()[:24]
            cv2.putText(sheet, shown, place, cv2.FONT_HERSHEY_SIMPLEX, 0.32, (40, 40, 40), 1, cv2.LINE_AA)
    return sheet


def _spread(records: Sequence[VideoRecord], tiles: int) -> list[tuple[VideoRecord, str]]:
    """Frames in equal numbers from every class, split and level; evenly over videos, then over their frames."""
    groups: dict[tuple[str, str, str], list[VideoRecord]] = {}
    for record in records:
        groups.setdefault((record.cls, record.split, record.level or ""), []).append(record)
    share = max(1, tiles // len(groups))
    chosen: dict[str, VideoRecord] = {}
    for name in sorted(groups):
        videos = groups[name]
        turns = min(share, sum(len(record.frames) for record in videos))
        laps = -(-turns // len(videos))
        for turn in range(turns):
            record = videos[turn * len(videos) // share if len(videos) >= share else turn % len(videos)]
            chosen[record.frames[turn // len(videos) * len(record.frames) // laps]] = record
    return [(record, key) for key, record in chosen.items()][:tiles]


def _tile(read: Reader, key: str, *, has_parsing: bool) -> np.ndarray:
    """A crop at the size of a tile; its parsing map, if it has one, in the lower right corner."""
    from benchmark.data.datasets import part_key

    image = cv2.resize(decode_image(read(key) or b"", key), (_TILE, _TILE), interpolation=cv2.INTER_AREA)
    content = read(part_key(key, "parsing")) if has_parsing else None
    if content is not None:
        ids = np.minimum(decode_map(content, key), len(_COLOURS) - 1)
        third = _TILE // 3
        image[-third:, -third:] = _COLOURS[cv2.resize(ids, (third, third), interpolation=cv2.INTER_NEAREST)]
    return image


# ---------------------------------------------------------------------------------------------------- the words


def _lists(report: PrepareReport) -> Iterator[tuple[str, Sequence[object]]]:
    def picked(*, is_damage: bool) -> list[Trouble]:
        return [trouble for trouble in report.troubles if trouble.is_damage == is_damage]

    for title, entries in (
        ("Broken or odd files", picked(is_damage=True)),
        ("Frames not stored", picked(is_damage=False)),
        ("Files left out", report.left_out),
        ("Less than the official release", report.missing),
    ):
        if entries:
            yield title, entries


def _facts(report: PrepareReport) -> dict[str, str]:
    return {"Settings": report.fingerprint, "Content": report.content, "Index": str(report.index),
            "Store": str(report.store)}  # fmt: skip


def _shown(entries: Sequence[object]) -> list[str]:
    rest = len(entries) - _SHOWN
    return [
        *map(str, entries[:_SHOWN]),
        *([f"... and {rest} more; all are in the index under meta"] if rest > 0 else []),
    ]


def _table(report: PrepareReport) -> list[list[str]]:
    rows = (*report.rows, sum_rows(report.rows))
    return [["class", "split", "level", *COLUMNS], *([r.cls, r.split, r.level or "", *r.cells()] for r in rows)]


def _markdown(report: PrepareReport, lists: dict[str, Sequence[object]], *, has_sheet: bool) -> str:
    head, *rows = _table(report)
    lines = [f"# {report.dataset}", "", *(f"- {name}: `{value}`" for name, value in _facts(report).items()), ""]
    lines += [f"| {' | '.join(head)} |", "|---|---|---|" + "---:|" * len(COLUMNS)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    for title, entries in lists.items():
        lines += ["", f"## {title} ({len(entries)})", "", *(f"- {entry}" for entry in _shown(entries))]
    if has_sheet:
        lines += ["", "## Crops", "", f"![contact sheet]({SHEET})"]
    return "\n".join(lines) + "\n"


def _html(report: PrepareReport, lists: dict[str, Sequence[object]], *, has_sheet: bool) -> str:
    def tag(name: str, content: str) -> str:
        return f"<{name}>{content}</{name}>"

    head, *rows = (list(map(html.escape, row)) for row in _table(report))
    title = html.escape(report.dataset)
    facts = (f"{name}: {tag('code', html.escape(value))}" for name, value in _facts(report).items())
    body = [tag("h1", title), tag("p", "<br>".join(facts))]
    cells = [tag("tr", "".join(tag("th", cell) for cell in head))]
    cells += [tag("tr", "".join(tag("td", cell) for cell in row)) for row in rows]
    body.append(tag("table", "\n".join(cells)))
    for name, entries in lists.items():
        items = "\n".join(tag("li", html.escape(entry)) for entry in _shown(entries))
        body += [tag("h2", f"{html.escape(name)} ({len(entries)})"), tag("ul", items)]
    if has_sheet:
        body += [tag("h2", "Crops"), f'<img src="{SHEET}" alt="crops of every class and split">']
    start = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    return f"{start}<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
