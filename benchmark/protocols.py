"""Protocols as data: what is trained on, what selects the model, what is tested."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import model_validator

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

    def runs(self) -> dict[str, Fold]:
        """Its folds by name; a protocol without folds has one with an empty name."""
        runs = self.folds or {"": Fold(train=self.train, val=self.val, test=self.test)}
        if self.corruptions is None:
            return runs
        return {
            name: fold.model_copy(update={"test": self.corruptions.words(fold.test)}) for name, fold in runs.items()
        }


def in_world(words: list[str], world: str | None) -> list[str]:
    """Dataset words moved into a world: ``FF++`` in ``demo`` is ``demo/FF++``; without a world, as they are."""
    return [word if world is None or word.startswith(f"{world}/") else f"{world}/{word}" for word in words]


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
