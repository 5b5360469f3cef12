"""Command-line options merged into the settings of one run, or of every run of a protocol."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from benchmark.config import CONFIG_DIR, PluginSpec, Settings
from benchmark.errors import ConfigError
from benchmark.protocols import Fold, Protocol, get_protocol, in_world
from benchmark.schema import RunConfig


class Run(NamedTuple):
    """Validated settings of one run, and where each value came from."""

    config: RunConfig
    settings: Settings


def runs_from(options: argparse.Namespace, overrides: list[str]) -> list[Run]:
    """The configuration file, the protocol, the dataset words and the overrides, merged in this order.

    Args:
        options: ``detector``, ``test``, ``allow_missing``, ``name``, and where the command has them ``train``, ``val``,
            ``protocol``, ``world``.
        overrides: ``key=value`` words.

    Returns:
        One run; several for a protocol with folds.

    Raises:
        ConfigError: a wrong key or value, or contradicting options.
    """
    given = vars(options)
    words = {key: given[key] for key in ("train", "val", "test") if given.get(key)}
    if not given.get("protocol"):
        if given.get("world"):
            raise ConfigError("--world goes with --protocol; write the world into the words: --train demo/FF++")
        return [_run(options, overrides, words, None)]
    if words:
        raise ConfigError(f"--protocol names the data sets itself; leave out --{', --'.join(words)}.")
    protocol = get_protocol(options.protocol)
    return [
        _run(options, overrides, _fold_words(fold, given.get("world")), (protocol, name))
        for name, fold in protocol.runs().items()
    ]


def _fold_words(fold: Fold, world: str | None) -> dict[str, list[str]]:
    words = {"train": fold.train, "test": fold.test} | ({"val": fold.val} if fold.val is not None else {})
    return {key: in_world(value, world) for key, value in words.items()}


def _run(
    options: argparse.Namespace,
    overrides: list[str],
    words: dict[str, list[str]],
    part: tuple[Protocol, str] | None,
) -> Run:
    path = config_path(options.detector)
    settings = Settings.from_file(path)
    name = options.name or settings.values.get("name") or path.stem
    if part is not None:
        protocol, fold = part
        reference = {"name": protocol.name, "version": protocol.version, "fold": fold, "world": options.world}
        settings.set(("protocol",), reference, "--protocol")
        settings.set(("evaluation", "metrics"), protocol.metrics, f"protocol {protocol.name}")
        if protocol.select is not None:
            settings.set(("evaluation", "select"), protocol.select.model_dump(), f"protocol {protocol.name}")
        name = f"{name}/{fold}" if fold else name
    settings.set(("name",), name, "--name")
    for key, value in words.items():
        settings.set(("data", key), list(value), f"--{key}")
    if options.allow_missing:
        settings.set(("evaluation", "allow_missing"), True, "--allow-missing")
    for override in overrides:
        settings.override(override)
    return Run(settings.validate(RunConfig), settings)


def without_initial_weights(config: RunConfig) -> RunConfig:
    """The configuration without the weights that training starts from: they are about to be replaced."""
    if config.backbone is None:
        return config
    options = dict(config.backbone.options)
    for key, nothing in (("weights", None), ("pretrained", False)):
        if key in options:
            options[key] = nothing
    return config.model_copy(update={"backbone": PluginSpec(name=config.backbone.name, **options)})


def config_path(text: str) -> Path:
    """A configuration by path, or by bare name in the project's ``configs``."""
    path = Path(text)
    if path.suffix in {".yaml", ".yml"} and (path.is_file() or len(path.parts) > 1):
        packaged = CONFIG_DIR / path.name
        return packaged if not path.is_file() and path.parts[0] == "configs" and packaged.is_file() else path
    return CONFIG_DIR / f"{path.stem}.yaml"
