"""Errors a user can act on: each says what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchmarkError(Exception):
    """Base of every error caused by input, configuration or data rather than by a bug.

    The command line prints the message without a traceback and exits with status 2.
    """


class ConfigError(BenchmarkError):
    """A configuration key or value is wrong."""


class RegistryError(BenchmarkError):
    """A plugin name is not known, is taken twice, or its module cannot be imported."""


class DataError(BenchmarkError):
    """A dataset, index, store or sample is missing or broken."""


class EmptySplitError(DataError):
    """A dataset has no videos in the split that was asked for."""


class CheckpointError(BenchmarkError):
    """A weights file is missing, unsafe, or belongs to another architecture."""


class TrainingError(BenchmarkError):
    """A run cannot go on: non-finite loss, empty training set, one class only."""


def closest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Known names that look like ``word``, best first; matching ignores case."""
    by_lower = {name.lower(): name for name in known}
    hits = difflib.get_close_matches(word.lower(), by_lower, n=count, cutoff=0.5)
    return [by_lower[hit] for hit in hits]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' Did you mean X?' for the nearest known name, or an empty string."""
    hits = closest(word, known, count=1)
    return f" Did you mean {hits[0]}?" if hits else ""
