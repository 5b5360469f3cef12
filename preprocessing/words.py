"""From the dataset word a user types to the layout that prepares it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from benchmark.data.cards import DatasetCard, parse_word
from benchmark.errors import ConfigError, DataError
from benchmark.registry import LAYOUTS


@dataclass(frozen=True)
class Target:
    """What a word means to ``prepare``.

    Attributes:
        layout: registered name of the layout.
        levels: compression levels that the word names.
        part: the dataset that was asked for, when it is made from the layout's (``CDFv2-NYR`` from ``CDFv2``).
    """

    layout: str
    levels: tuple[str, ...] = ()
    part: DatasetCard | None = None


def find_target(text: str, indexes: Path) -> Target:
    """The layout of a dataset word: a layout's name, an alias, or something made from a prepared dataset.

    Args:
        text: e.g. ``FF++``, ``Celeb-DF-v2``, ``FF++@c23``, ``CDFv2-NYR``, ``MCIO/msu``.
        indexes: folder of the user's indexes and cards.

    Raises:
        RegistryError: nothing is called like that.
        ConfigError: it is known, but not made by ``prepare``.
    """
    if text in LAYOUTS:
        return Target(text)
    try:
        word = parse_word(text, indexes)
    except DataError:
        LAYOUTS.get(text)  # raises, with near names
        raise
    levels = (word.level,) if word.level and "@" in text else ()
    if word.card.name in LAYOUTS:
        if word.subset:
            logger.info("{}: the whole of {} is prepared, this subset with it", text, word.card.name)
        return Target(word.card.name, levels)
    if word.card.name.startswith("demo/"):
        raise ConfigError(f"{text} is synthetic and not prepared: python -m benchmark demo --world-only makes it.")
    source = _source(word.card)
    if source is None:
        raise ConfigError(f"No layout prepares {text}. See all: python -m benchmark list layouts.")
    logger.info("{} is made from {}: preparing {} under --root, then the index of {}", text, source, source, text)
    return Target(source, levels, word.card)


def _source(card: DatasetCard) -> str | None:
    """The layout whose dataset a card is a part of, or whose dataset its builder reads."""
    stems = {card.name, *card.index}
    for name in LAYOUTS:
        layout = LAYOUTS.get(name)
        if stems & set(layout.parts) or (card.builder and card.folders[:1] == [layout.name]):
            return name
    return None
