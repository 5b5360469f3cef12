"""Protocols as data: what is trained on, what selects the model, what is tested."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from benchmark.config import CONFIG_DIR, Section, Settings
from benchmark.data.corruptions import KINDS, LEVELS
from benchmark.errors import ConfigError, closest, did_you_mean
from benchmark.schema import FrameCounts, SelectConfig


class Fold(Section):
    """One train/test combination of a protocol that has several (leave-one-out over domains)."""

    train: list[str]
    """Dataset words trained on."""
    val: list[str] | None = None
    """Dataset words whose val split selects the checkpoint; null = those of train."""
    test: list[str]
    """Dataset words tested."""


class Corruptions(Section):
    """Conditions that every test set is scored under besides the untouched frames."""

    kinds: list[str] = list(KINDS)
    """Kinds of ``benchmark.data.corruptions``."""
    levels: list[int] = list(LEVELS)
    """Strengths, 1 to 5."""

    @model_validator(mode="after")
    def _known(self) -> Corruptions:
        for kind in self.kinds:
            if kind not in KINDS:
                raise ValueError(
                    f"corruption '{kind}' is not known.{did_you_mean(kind, KINDS)} Known: {', '.join(KINDS)}"
                )
        if not set(self.levels) <= set(LEVELS):
            raise ValueError(f"corruption levels are {self.levels}; allowed: {LEVELS[0]} to {LEVELS[-1]}")
        return self

    def words(self, tests: list[str]) -> list[str]:
        """The test words, each followed by its corrupted forms."""
        suffixes = ["", *(f"~{kind}-{level}" for kind in self.kinds for level in self.levels)]
        return [f"{word}{suffix}" for word in tests for suffix in suffixes]


class Protocol(Section):
    """One protocol file (``configs/protocols/*.yaml``, or a path given by the user)."""

    name: str
    """Name used in commands and tables."""
    version: int = 1
    """Raised whenever a number could change."""
    title: str = ""
    """One line for lists."""
    train: list[str] = []
    """Dataset words trained on."""
    val: list[str] | None = None
    """Dataset words whose val split selects the checkpoint; null = those of train."""
    test: list[str] = []
    """Dataset words tested."""
    folds: dict[str, Fold] = {}
    """Several train/test combinations by name, instead of train and test; each is a run of its own."""
    metrics: Literal["detection", "fas"] = "detection"
    """fas adds HTER, TPR@FPR=1 % and the APCER family to the result files."""
    select: SelectConfig | None = None
    """Selection rule; null = the detector's."""
    holdout: float | None = Field(None, gt=0, lt=0.5)
    """Share of the training subjects kept out of training as development data, in data sets without a val split."""
    worlds: dict[str, dict[str, str | None]] = {}
    """Per world, the words that have another counterpart there, or none (null): FF++ of a world is WORLD/FF++ unless
    this says otherwise. What has none is left out, with a warning and a note in the result."""
    corruptions: Corruptions | None = None
    """Corrupted forms of every test set that are scored too."""
    frames: FrameCounts | None = None
    """Frames per video when the protocol fixes them; null = the detector's."""
    frame_select: Literal["uniform", "first"] | None = None
    """Which frames when the protocol fixes it; null = the detector's."""
    source: str = ""
    """Paper and table it follows."""

    @model_validator(mode="after")
    def _either(self) -> Protocol:
        if bool(self.folds) == bool(self.train or self.test):
            raise ValueError(f"protocol {self.name} needs either train and test, or folds")
        return self

    @model_validator(mode="after")
    def _worlds_name_own_words(self) -> Protocol:
        known = {word for fold in self._folds().values() for word in (*fold.train, *(fold.val or ()), *fold.test)}
        for world, counterparts in self.worlds.items():
            for word in counterparts:
                if word not in known:
                    raise ValueError(f"protocol {self.name}: worlds.{world} names {word}, which it does not use")
        return self

    def runs(self) -> dict[str, Fold]:
        """Its folds by name; a protocol without folds has one with an empty name."""
        return self.runs_in(None)

    def runs_in(self, world: str | None) -> dict[str, Fold]:
        """Its folds with the words moved into a world, and with the corrupted forms of the test sets.

        Raises:
            ConfigError: nothing to train on, to select with or to test is left.
        """
        runs = self._folds()
        if world is not None:
            runs = {name: self._moved(name, fold, world) for name, fold in runs.items()}
        if self.corruptions is None:
            return runs
        return {
            name: fold.model_copy(update={"test": self.corruptions.words(fold.test)}) for name, fold in runs.items()
        }

    def _folds(self) -> dict[str, Fold]:
        return self.folds or {"": Fold(train=self.train, val=self.val, test=self.test)}

    def _moved(self, name: str, fold: Fold, world: str) -> Fold:
        moved = {
            part: in_world(words, world, self.worlds.get(world, {}))
            for part, words in fold.model_dump(exclude_none=True).items()
        }
        for part, words in moved.items():
            if not words:
                what = f"protocol {self.name}{f', {name}' if name else ''}"
                raise ConfigError(f"{what}: world {world} has none of its {part} data sets.")
        return Fold(**moved)

    def changes_in(self, world: str | None) -> dict[str, str | None]:
        """Words that a world replaces by another one (named) or leaves out (None)."""
        return dict(self.worlds.get(world, {})) if world else {}


def in_world(
    words: Iterable[str], world: str | None, counterparts: Mapping[str, str | None] | None = None
) -> list[str]:
    """Dataset words moved into a world: ``FF++`` in ``demo`` is ``demo/FF++``; without a world, as they are.

    Args:
        words: as the protocol names them.
        world: its name, the first part of its words.
        counterparts: words that mean another one there (its name, with or without the world), or none (None).
    """
    if world is None:
        return list(words)
    there = [(counterparts or {}).get(word, word) for word in words]
    return [word if word.startswith(f"{world}/") else f"{world}/{word}" for word in there if word is not None]


@cache
def builtin_protocols() -> dict[str, Protocol]:
    """Protocols in ``configs/protocols``, by name."""
    paths = sorted((CONFIG_DIR / "protocols").glob("*.yaml"))
    protocols = [Settings.from_file(path).validate(Protocol) for path in paths]
    return {protocol.name: protocol for protocol in protocols}


def get_protocol(name: str) -> Protocol:
    """A protocol by name, or from a YAML file outside the repository.

    Raises:
        ConfigError: unknown name (near matches given) or a broken file.
    """
    if name.endswith((".yaml", ".yml")):
        return Settings.from_file(Path(name)).validate(Protocol)
    known = builtin_protocols()
    if name not in known:
        near = closest(name, known)
        hint = f" Closest: {', '.join(near)}." if near else ""
        raise ConfigError(f"No protocol named '{name}'.{hint} See all: python -m benchmark list protocols.")
    return known[name]
