"""Dataset cards and dataset words: from what a user types to the videos it means.

A card is a small YAML file (``configs/datasets/*.yaml``, or ``NAME.yaml`` beside a user's own index) that says
how a dataset is called, where its index is and what its subsets mean. A word is
``NAME[/SUBSET][@COMPRESSION][~CORRUPTION]``, for example ``FF++``, ``FF++/Deepfakes@c40``, ``demo/FF++``,
``DF40/simswap_ff`` or ``CDFv2~jpeg-3`` (evaluation only, see ``corruptions.py``).
A path to an index ``.json``, a label list ``.txt``/``.csv``, a class folder or a card ``.yaml`` is a word too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.config import CONFIG_DIR, PluginSpec, Section, Settings
from benchmark.data.corruptions import check_corruption
from benchmark.data.index import LEVELS
from benchmark.errors import DataError, closest

REAL_KIND = "real"
"""Kind of every real, bona fide or live sample."""


class Subset(Section):
    """A part of a dataset that has a name of its own."""

    aliases: list[str] = []
    """Other spellings."""
    classes: list[str] = []
    """Class strings of the fakes in it; all reals of the dataset belong to it too."""
    index: str | None = None
    """File stem of its own index, when it is not inside the dataset's."""


class DatasetCard(Section):
    """What the benchmark knows about one dataset."""

    name: str
    """Name used in commands and tables."""
    title: str = ""
    """One line for lists."""
    aliases: list[str] = []
    """Other spellings that mean the same."""
    index: list[str] = []
    """Index file stems, in the order tried; the name itself is tried last."""
    level: str | None = None
    """Compression level used when the word names none (datasets that have levels)."""
    classes: list[str] = []
    """Class strings used when the word names no subset; empty = all."""
    subsets: dict[str, Subset] = {}
    """Named parts."""
    labels: dict[str, int] = {}
    """Class strings with their meaning (0 real, 1 fake) when it is not the usual one."""
    kind: str | None = None
    """What its fakes are: deepfake, diffusion or spoof; detectors with more than two classes need it."""
    kinds: dict[str, str] = {}
    """The same for single class strings, where a dataset holds several kinds."""
    folders: list[str] = []
    """Raw folder names that frame paths may start with."""
    reader: PluginSpec = PluginSpec(name="index")
    """How its samples are listed."""
    builder: str | None = None
    """``module:function`` that makes it when it is absent (the demo worlds)."""
    official: dict[str, int] = {}
    """Official counts, e.g. test_videos."""
    terms: str = ""
    """Licence or access terms of the data."""
    source: str = ""
    """Paper or page."""

    def kind_of(self, cls: str, label: int) -> str | None:
        """``real``, or what the fakes of a class string are; None when the card does not say."""
        return REAL_KIND if label == 0 else self.kinds.get(cls, self.kind)


@dataclass(frozen=True)
class Word:
    """A parsed dataset word.

    Attributes:
        text: as typed.
        card: the dataset.
        subset: name of the subset, or None.
        level: compression asked for, or None for the card's default.
        corruption: what is done to the frames in evaluation (``jpeg-3``), or None.
    """

    text: str
    card: DatasetCard
    subset: str | None
    level: str | None
    corruption: str | None = None

    @property
    def label(self) -> str:
        """Canonical spelling, used in tables and file names."""
        subset = f"/{self.subset}" if self.subset else ""
        level = f"@{self.level}" if self.level and self.level != self.card.level else ""
        corruption = f"~{self.corruption}" if self.corruption else ""
        return f"{self.card.name}{subset}{level}{corruption}"


@cache
def builtin_cards() -> dict[str, DatasetCard]:
    """The cards in ``configs/datasets``, by name."""
    cards: dict[str, DatasetCard] = {}
    for path in sorted((CONFIG_DIR / "datasets").glob("*.yaml")):
        card = Settings.from_file(path).validate(DatasetCard)
        if card.name in cards:
            raise DataError(f"{path}: dataset name {card.name} is already used by another card.")
        cards[card.name] = card
    return cards


def all_cards(indexes: Path) -> dict[str, DatasetCard]:
    """Built-in cards, the user's cards beside their indexes, and a bare card for every other index there."""
    cards = dict(builtin_cards())
    for path in sorted(indexes.glob("*.yaml")) if indexes.is_dir() else ():
        card = Settings.from_file(path).validate(DatasetCard)
        cards[card.name] = card
    claimed = {stem.lower() for card in cards.values() for stem in (card.name, *card.aliases, *card.index)}
    claimed |= {subset.index.lower() for card in cards.values() for subset in card.subsets.values() if subset.index}
    for path in sorted(indexes.glob("*.json")) if indexes.is_dir() else ():
        if path.stem.lower() not in claimed:
            level = _level_suffix(path.stem)[1] or None  # DeepfakeBench's FF-DF_c40.json stands for that level
            cards[path.stem] = DatasetCard(name=path.stem, title=f"index {path}", index=[path.stem], level=level)
    return cards


def parse_word(text: str, indexes: Path) -> Word:
    """A dataset word or path to its meaning.

    Args:
        text: what the user typed.
        indexes: folder of the user's JSON indexes and cards.

    Raises:
        DataError: unknown dataset (near matches given), unknown subset, level or corruption.
    """
    text, mark, corruption = text.partition("~") if not Path(text).exists() else (text, "", "")
    word = _parse_clean(text, indexes)
    if not mark:
        return word
    check_corruption(corruption, f"{text}~{corruption}")
    return replace(word, text=f"{text}~{corruption}", corruption=corruption)


def _parse_clean(text: str, indexes: Path) -> Word:
    """A word without corruption."""
    body, _, level = text.partition("@")
    cards = all_cards(indexes)
    names = {spelling.lower(): card for card in cards.values() for spelling in (card.name, *card.aliases)}
    head, rest = _longest_known(body, names)
    if head is None:
        as_path = _card_from_path(text)  # after the names: a raw folder called DFDC must not replace the dataset
        if as_path is not None:
            return Word(text, as_path, None, None)
        body, suffix_level = _level_suffix(body)
        head, rest = _longest_known(body, names)
        level = level or suffix_level
    if head is None:
        near = closest(body, [spelling for card in cards.values() for spelling in (card.name, *card.aliases)])
        hint = f" Closest: {', '.join(near)}." if near else ""
        raise DataError(
            f"No dataset named '{text}'.{hint} See all: python -m benchmark list datasets. "
            f"Own data? Put NAME.json (and NAME.yaml) into {indexes}, or give a path."
        )
    card = names[head]
    if level and level not in LEVELS:
        raise DataError(f"'{text}': compression '{level}' is not known; allowed: {', '.join(LEVELS)}.")
    return Word(text, card, _subset_name(card, rest, text), level or card.level)


def _longest_known(body: str, names: Mapping[str, Any]) -> tuple[str | None, str]:
    """Split at the '/' after the longest known dataset name (names may hold a slash themselves)."""
    parts = body.split("/")
    for count in range(len(parts), 0, -1):
        head = "/".join(parts[:count]).lower()
        if head in names:
            return head, "/".join(parts[count:])
    return None, ""


def _level_suffix(body: str) -> tuple[str, str]:
    """DeepfakeBench writes the level as a suffix: FF-DF_c40."""
    for level in LEVELS:
        if body.endswith(f"_{level}"):
            return body.removesuffix(f"_{level}"), level
    return body, ""


def _subset_name(card: DatasetCard, rest: str, text: str) -> str | None:
    if not rest:
        return None
    spellings = {
        spelling.lower(): name for name, subset in card.subsets.items() for spelling in (name, *subset.aliases)
    }
    if rest.lower() in spellings:
        return spellings[rest.lower()]
    near = closest(rest, card.subsets)
    hint = f" Closest: {', '.join(near)}." if near else ""
    raise DataError(
        f"'{text}': {card.name} has no subset '{rest}'.{hint} Subsets: {', '.join(card.subsets) or 'none'}."
    )


def _card_from_path(text: str) -> DatasetCard | None:
    path = Path(text)
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return Settings.from_file(path).validate(DatasetCard)
    if path.suffix == ".json" and path.is_file():
        return DatasetCard(name=path.stem, reader=PluginSpec(name="index", file=str(path)))
    if path.suffix in {".txt", ".csv"} and path.is_file():
        delimiter = "," if path.suffix == ".csv" else " "
        return DatasetCard(name=path.stem, reader=PluginSpec(name="list", files=str(path), delimiter=delimiter))
    if (path / "images").is_dir() and (path / "parsing_maps").is_dir():
        return DatasetCard(name=path.name, reader=PluginSpec(name="parsed_faces", root=str(path)))
    if path.is_dir() and any(path.iterdir()):
        return DatasetCard(name=path.name, reader=PluginSpec(name="folder", root=str(path)))
    return None
