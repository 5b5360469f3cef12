"""The leaderboard as Markdown and CSV."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from io import StringIO

from benchmark.leaderboard.metrics import BY_KEY, METRICS
from benchmark.leaderboard.rows import MEASURED, PUBLISHED, Row, Value

_MARKDOWN_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>|#!~$"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def markdown(rows: Iterable[Row]) -> str:
    """One table per protocol, test set and level; measured and published numbers in columns of their own."""
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.protocol or "no protocol", row.test, row.level].append(row)
    parts = [
        "# Leaderboard\n",
        "Percent; measured numbers with 95 % intervals. The last column says which rows must not be compared.\n",
    ]
    protocol = None
    for (name, test, level), group in sorted(groups.items(), key=lambda item: item[0]):
        if name != protocol:
            parts.append(f"## {escape(name)}\n")
            protocol = name
        parts.append(f"### {escape(test)}, {level}\n")
        parts.append(_table(group))
    return "\n".join(parts)


def _table(group: Sequence[Row]) -> str:
    names = [metric.key for metric in METRICS if any(metric.key in row.values for row in group)]
    main = next(name for name in ("hter@target_eer", "auc", *names) if name in names)
    second = next((name for name in ("auc", "eer") if name in names and name != main), None)
    shown = [main] if second is None else [main, second]
    heads = [f"{BY_KEY[name].label} {kind}" for name in shown for kind in (MEASURED, PUBLISHED)]
    lines = [
        "| detector | trained on | " + " | ".join(heads) + " | not comparable |",
        "|---|---|" + "---:|" * len(heads) + "---|",
    ]
    for row in sorted(group, key=lambda row: _order(row, main)):
        cells = [_cell(row, name, kind) for name in shown for kind in (MEASURED, PUBLISHED)]
        marks = ", ".join(mark.text for mark in row.marks)
        about = f"{escape(row.detector)} ({escape(row.about)})"
        lines.append(f"| {about} | {escape(row.train)} | " + " | ".join(cells) + f" | {escape(marks)} |")
    return "\n".join(lines) + "\n"


def _order(row: Row, name: str) -> tuple[bool, float, str]:
    value = row.values.get(name)
    if value is None:
        return True, 0.0, row.detector
    return False, value.value if BY_KEY[name].lower else -value.value, row.detector


def _cell(row: Row, name: str, kind: str) -> str:
    value = row.values.get(name)
    return "" if value is None or row.kind != kind else _text(name, value)


def _text(name: str, value: Value) -> str:
    metric = BY_KEY[name]
    text = metric.text(value.value)
    if value.low is not None and value.high is not None:
        return f"{text} ({metric.text(value.low)}–{metric.text(value.high)})"
    return f"{text} ± {metric.text(value.spread)}" if value.spread is not None else text


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return " ".join(text.split()).translate(_MARKDOWN_SPECIAL)


def comma_separated(rows: Iterable[Row]) -> str:
    """One line per row and metric, everything a spreadsheet needs."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["protocol", "fold", "test", "level", "train", "detector", "about", "metric", "measured", "low", "high",
         "published", "spread", "parameters", "samples_per_second", "marks"]
    )  # fmt: skip
    for row in rows:
        texts = [row.protocol, row.fold, row.test, row.level, row.train, row.detector, row.about]
        marks = "; ".join(f"{mark.what}: {mark.why}" for mark in row.marks)
        for name, value in row.values.items():
            numbers = [value.value, value.low, value.high, None, None] if row.kind == MEASURED else []
            numbers = numbers or [None, None, None, value.value, value.spread]
            cells = [*map(_safe, texts), name, *numbers, row.parameters, row.speed, _safe(marks)]
            writer.writerow(["" if cell is None else cell for cell in cells])
    return buffer.getvalue()


def _safe(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
