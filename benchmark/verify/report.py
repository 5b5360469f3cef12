"""What ``verify`` found, as data and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One kind of thing found.

    Attributes:
        is_problem: it makes numbers wrong or unfair; otherwise it is only worth knowing.
        title: what it is.
        entries: where, in full.
    """

    is_problem: bool
    title: str
    entries: tuple[str, ...]

    def __str__(self) -> str:
        rest = len(self.entries) - _SHOWN
        shown = "; ".join(self.entries[:_SHOWN]) + (f"; ... and {rest} more" if rest > 0 else "")
        return f"{self.title} ({len(self.entries)}): {shown}"


@dataclass(frozen=True)
class Count:
    """Counts of one class in one split at one level."""

    cls: str
    label: int
    split: str
    level: str | None
    videos: int
    frames: int
    bad: int


@dataclass(frozen=True)
class VerifyReport:
    """What ``verify`` found.

    Attributes:
        dataset: word or path as asked for.
        counts: per class, split and level.
        findings: problems first.
        bad_frames: keys that are missing or cannot be decoded.
        parts: stored landmarks, masks and parsing maps that are readable, by kind.
    """

    dataset: str
    counts: tuple[Count, ...]
    findings: tuple[Finding, ...]
    bad_frames: frozenset[str]
    parts: Mapping[str, int]

    @property
    def has_problems(self) -> bool:
        """True when a finding is a problem."""
        return any(finding.is_problem for finding in self.findings)

    def record(self) -> dict[str, Any]:
        """Plain mapping, for ``--json``."""
        return {
            "dataset": self.dataset,
            "ok": not self.has_problems,
            "counts": [vars(count) for count in self.counts],
            "parts": dict(self.parts),
            "findings": [
                {"problem": finding.is_problem, "title": finding.title, "entries": list(finding.entries)}
                for finding in self.findings
            ],
        }


def print_report(report: VerifyReport) -> None:
    """The table of counts, then problems, then remarks."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=report.dataset, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("class", "label", "split", "level"):
        table.add_column(name, no_wrap=True)
    for name in ("videos", "frames", "unreadable"):
        table.add_column(name, justify="right", no_wrap=True)
    for count in report.counts:
        label = ("real", "fake")[count.label]
        numbers = (f"{number:,}" for number in (count.videos, count.frames, count.bad))
        table.add_row(count.cls, label, count.split, count.level or "", *numbers)
    console = Console()
    console.print(table)
    for finding in report.findings:
        head = "[bold red]Problem[/bold red]" if finding.is_problem else "[bold]Remark[/bold]"
        console.print(f"{head}:", end=" ")
        console.print(str(finding), markup=False, highlight=False, soft_wrap=True)
    parts = ", ".join(f"{kind} {number:,}" for kind, number in sorted(report.parts.items()))
    console.print(f"Landmarks, masks and maps read: {parts or 'none'}.", highlight=False)
    verdict = "There are problems." if report.has_problems else "Everything listed is there and readable."
    console.print(verdict, style="bold")
