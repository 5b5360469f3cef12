"""Which rows must not be compared, and why.

Rows of one test set and level form a group. Its reference is what most measured rows have in common (published rows
when nothing was measured); a row that differs from it, or does not say, is marked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from benchmark.leaderboard.rows import MEASURED, Mark, Row

_WORDS = {"crop": "face crop", "frames": "frames per video"}


def mark_rows(rows: Sequence[Row]) -> None:
    """Fill ``marks`` of every row."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    newest: dict[str, int] = defaultdict(int)
    for row in rows:
        groups[row.test, row.level].append(row)
        newest[row.protocol] = max(newest[row.protocol], row.version or 0)
    for group in groups.values():
        measured = [row for row in group if row.kind == MEASURED]
        references = {name: _most_common(measured or group, name) for name in _WORDS}
        samples = _most_common(measured, "samples")
        for row in group:
            row.marks = [*_differences(row, references), *_samples(row, samples), *_selection(row)]
            if row.version is not None and row.version < newest[row.protocol]:
                why = f"Version {row.version} of the protocol; the newest here is {newest[row.protocol]}."
                row.marks.append(Mark("protocol", why))
            row.marks += row.own_marks


def _most_common(rows: Sequence[Row], name: str) -> str | None:
    known = sorted(value for row in rows if (value := getattr(row.conditions, name)) is not None)
    return Counter(known).most_common(1)[0][0] if known else None


def _differences(row: Row, references: dict[str, str | None]) -> list[Mark]:
    marks = []
    for name, words in _WORDS.items():
        own, usual = getattr(row.conditions, name), references[name]
        if own is None:
            marks.append(Mark(f"{name}?", f"The {words} of this row: not stated."))
        elif usual is not None and own != usual:
            marks.append(Mark(name, f"Other {words}: {own}. Most rows here: {usual}."))
    return marks


def _samples(row: Row, usual: str | None) -> list[Mark]:
    own = row.conditions.samples
    if row.kind != MEASURED or own == usual:
        return []
    if own is None:
        return [Mark("samples?", "It is not known which samples were scored.")]
    return [Mark("samples", "Other samples than most measured rows here (the data fingerprints differ).")]


def _selection(row: Row) -> list[Mark]:
    conditions = row.conditions
    if conditions.on_test:
        return [Mark("selection", f"The checkpoint was chosen on test data ({conditions.selection}).")]
    if conditions.selection is None:
        return [Mark("selection?", "How the checkpoint was chosen is not stated.")]
    return []
