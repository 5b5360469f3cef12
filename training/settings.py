"""Command-line options merged into a run's settings."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark.config import CONFIG_DIR, Settings
from benchmark.errors import ConfigError
from benchmark.protocols import get_protocol
from benchmark.schema import RunConfig


def settings_from(options: argparse.Namespace, overrides: list[str]) -> tuple[RunConfig, Settings]:
    """The configuration file, the protocol, the dataset words and the overrides, merged in this order.

    Raises:
        ConfigError: a wrong key or value, or contradicting options.
    """
    path = config_path(options.detector)
    settings = Settings.from_file(path)
    settings.values.setdefault("name", path.stem)
    words = {"train": getattr(options, "train", None), "val": getattr(options, "val", None), "test": options.test}
    if getattr(options, "protocol", None):
        given = [f"--{key}" for key, value in words.items() if value]
        if given:
            raise ConfigError(f"--protocol names the data sets itself; leave out {', '.join(given)}.")
        protocol = get_protocol(options.protocol)
        words = {"train": protocol.train, "val": protocol.val, "test": protocol.test}
        if protocol.select is not None:
            settings.set(("evaluation", "select"), protocol.select.model_dump(), f"protocol {protocol.name}")
    for key, value in words.items():
        if value:
            settings.set(("data", key), list(value), f"--{key}")
    if getattr(options, "name", None):
        settings.set(("name",), options.name, "--name")
    if options.allow_missing:
        settings.set(("evaluation", "allow_missing"), True, "--allow-missing")
    for override in overrides:
        settings.override(override)
    return settings.validate(RunConfig), settings


def config_path(text: str) -> Path:
    """A configuration by path, or by bare name in the project's ``configs``."""
    path = Path(text)
    if path.suffix in {".yaml", ".yml"} and (path.is_file() or len(path.parts) > 1):
        packaged = CONFIG_DIR / path.name
        return packaged if not path.is_file() and path.parts[0] == "configs" and packaged.is_file() else path
    return CONFIG_DIR / f"{path.stem}.yaml"
