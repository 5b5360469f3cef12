"""Protocols as data: what is trained on, what selects the model, what is tested."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from benchmark.config import CONFIG_DIR, Section, Settings
from benchmark.errors import ConfigError, closest
from benchmark.schema import SelectConfig


class Protocol(Section):
    """One protocol file (``configs/protocols/*.yaml``, or a path given by the user)."""

    name: str
    """Name used in commands and tables."""
    version: int = 1
    """Raised whenever a number could change."""
    title: str = ""
    """One line for lists."""
    train: list[str]
    """Dataset words trained on."""
    val: list[str] | None = None
    """Dataset words whose val split selects the checkpoint; null = those of train."""
    test: list[str]
    """Dataset words tested."""
    select: SelectConfig | None = None
    """Selection rule; null = the detector's."""
    source: str = ""
    """Paper and table it follows."""


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
