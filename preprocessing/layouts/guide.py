"""The part of ``docs/preprocessing.md`` that lists every dataset, made from the layouts and cards themselves.

    python -m preprocessing.layouts.guide docs/preprocessing.md

writes it anew between the two markers of the page; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmark.data.cards import builtin_cards
from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Layout

BEGIN, END = "<!-- datasets: begin -->", "<!-- datasets: end -->"
_KINDS = ("real", "fake")
_SHOWN_PARTS = 6
_SHOWN_CLASSES = 12


def tree_lines(layout: type[Layout]) -> list[tuple[str, str]]:
    """(path, comment) per line of a layout's ``tree``."""
    lines = (line.strip().partition("#") for line in layout.tree.strip().splitlines())
    return [(path.strip(), comment.strip()) for path, _, comment in lines]


def render() -> str:
    """Markdown of all built-in layouts, by name."""
    entries = ((name, LAYOUTS.get(name)) for name in LAYOUTS)
    own = [(name, layout) for name, layout in entries if layout.__module__.startswith("preprocessing.")]
    sections = ("\n".join(_section(name, layout)) for name, layout in sorted(own, key=lambda entry: entry[0].lower()))
    return "\n\n".join(sections)


def _section(name: str, layout: type[Layout]) -> Iterator[str]:
    card = builtin_cards().get(name)
    yield f"### {name}"
    yield ""
    yield (layout.__doc__ or "").strip().splitlines()[0]
    yield ""
    terms = f" ({card.terms})" if card and card.terms else ""
    yield f"- From: {layout.home}{terms}"
    yield f"- Command: `python -m benchmark prepare {name} --root FOLDER`"
    yield f"- Gives: {_outcome(layout)}"
    parts = [*layout.parts, *_protocol_words(layout)]
    if parts:
        rest = len(parts) - _SHOWN_PARTS
        yield f"- Further indexes: {', '.join(parts[:_SHOWN_PARTS])}{f' and {rest} more' if rest > 0 else ''}"
    official = ", ".join(f"{cls} {split} {count:,}" for (cls, split), count in layout.official.items())
    if official:
        yield f"- Complete: {official}{' at each level' if layout.levels else ''}"
    yield ""
    yield "```"
    width = max(len(path) for path, _ in tree_lines(layout))
    for path, comment in tree_lines(layout):
        yield f"{path:<{width}}  # {comment}" if comment else path
    yield "```"


def _protocol_words(layout: type[Layout]) -> list[str]:
    """Datasets whose lists are made over this one (``MCIO/msu``)."""
    made = (card for card in builtin_cards().values() if card.builder and card.folders[:1] == [layout.name])
    return [card.name for card in made if "/" in card.name and not card.name.startswith("demo/")]


def _outcome(layout: type[Layout]) -> str:
    numbers = list(layout.classes.values())
    if len(numbers) > _SHOWN_CLASSES:
        classes = [f"{numbers.count(label)} {kind} classes" for label, kind in enumerate(_KINDS)]
    else:
        named = {
            kind: [cls for cls, own in layout.classes.items() if own == label] for label, kind in enumerate(_KINDS)
        }
        classes = [f"{kind} {', '.join(found)}" for kind, found in named.items() if found]
    levels = f"; levels {', '.join(layout.levels)}" if layout.levels else ""
    return f"`{layout.name}.json`; {'; '.join(classes)}{levels}; frames {layout.frames}"


def main() -> int:
    """Command line: the page as the argument."""
    page = Path(sys.argv[1])
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.stderr.write(f"error: {page} lacks the lines {BEGIN} and {END}\n")
        return 2
    page.write_text(f"{before}{BEGIN}\n\n{render()}\n\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
