"""Command-line options merged into the settings of one run, or of every run of a protocol."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from loguru import logger

from benchmark.cli import setup_logging
from benchmark.config import CONFIG_DIR, PluginSpec, Settings
from benchmark.errors import ConfigError
from benchmark.protocols import Protocol, get_protocol
from benchmark.registry import load_plugin
from benchmark.schema import RunConfig

if TYPE_CHECKING:
    from training.distributed import Processes


class Run(NamedTuple):
    """Validated settings of one run, and where each value came from."""

    config: RunConfig
    settings: Settings


@contextmanager
def launched(options: argparse.Namespace, overrides: list[str]) -> Iterator[tuple[list[Run], Processes]]:
    """What every command starts with: plugins, settings, then the processes of the run and their logging.

    Args:
        options, overrides: see ``runs_from``; also ``plugins``.

    Yields:
        The runs, and this process among those of the command.

    Raises:
        BenchmarkError: a plugin that does not load, wrong settings; before PyTorch is imported.
    """
    for plugin in options.plugins:
        load_plugin(plugin)
    runs = runs_from(options, overrides)

    from training.distributed import processes

    with processes(runs[0].config.trainer.device) as group:
        setup_logging(main=group.is_main)
        if group.is_main:
            say_changes(runs[0].config)
        yield runs, group


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
    protocol, world = get_protocol(options.protocol), given.get("world")
    return [
        _run(options, overrides, fold.model_dump(exclude_none=True), (protocol, name))
        for name, fold in protocol.runs_in(world).items()
    ]


def say_changes(config: RunConfig) -> None:
    """Log what a world leaves out of the protocol, or replaces."""
    if config.protocol is not None:
        for word, other in config.protocol.changes.items():
            text = f"{other} stands for {word}." if other else f"{word} is left out."
            logger.warning("World {}: {}", config.protocol.world, text)


def fold_folder(fold: str) -> str:
    """A fold's name as a folder name: ``OCI->M`` becomes ``OCI2M``, as in the published folders."""
    return fold.replace("->", "2")


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
        changes = protocol.changes_in(options.world)
        reference = {"name": protocol.name, "version": protocol.version, "fold": fold, "world": options.world}
        settings.set(("protocol",), {**reference, "changes": changes}, "--protocol")
        if protocol.holdout is not None:
            settings.set(("data", "holdout"), protocol.holdout, f"protocol {protocol.name}")
        settings.set(("evaluation", "metrics"), protocol.metrics, f"protocol {protocol.name}")
        if protocol.select is not None:
            settings.set(("evaluation", "select"), protocol.select.model_dump(), f"protocol {protocol.name}")
        for key, fixed in protocol.model_dump(include={"frames", "frame_select"}, exclude_none=True).items():
            settings.set(("data", key), fixed, f"protocol {protocol.name}")
        name = f"{name}/{fold_folder(fold)}" if fold else name
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
