"""Backbones and detectors by name, from YAML or from Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from benchmark.config import Settings, checked_options
from benchmark.errors import ConfigError
from benchmark.registry import BACKBONES, DETECTORS

if TYPE_CHECKING:
    from backbones.base import Backbone
    from detectors.base import Detector


def create_backbone(name: str, settings: Settings | None = None, **overrides: Any) -> Backbone:
    """A backbone by registry name; every dimension can be overridden.

    Example::

        create_backbone("fsfm_vit_base_patch16", img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=4)

    Args:
        name: registry name.
        settings: where the overrides came from, for messages.
        overrides: the factory's keyword options.

    Raises:
        RegistryError: unknown name.
        ConfigError: an option it does not have, or a bad value.
    """
    factory = BACKBONES.get(name)
    options = checked_options(factory, overrides, settings, prefix="backbone")
    try:
        backbone: Backbone = factory(**options)
    except ValueError as error:
        where = settings.name if settings else f"backbone {name}"
        raise ConfigError(f"{where}: backbone {name}: {error}") from error
    return backbone


def create_detector(
    name: str,
    backbone: Mapping[str, Any] | str | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> Detector:
    """A detector by registry name, with its backbone.

    Example::

        create_detector("fsfm", backbone={"name": "fsfm_vit_small_patch16", "drop_path_rate": 0.1}, mixup=0.8)

    Args:
        name: registry name.
        backbone: registry name, or a mapping with ``name`` and options; None for detectors that have none.
        settings: the run's merged settings, for messages that name file and line.
        options: the detector's own settings.

    Raises:
        RegistryError: unknown name.
        ConfigError: an unknown option, a bad value, or a missing backbone.
    """
    detector_class: Callable[..., Detector] = DETECTORS.get(name)
    own = (
        (settings or Settings({})).section("detector") if settings else Settings(dict(options), name=f"detector {name}")
    )
    own.values.pop("name", None)
    config = _validated(
        detector_class.Config,  # type: ignore[attr-defined]
        options,
        own,
    )
    needs_backbone = "backbone" in inspect.signature(detector_class).parameters
    if not needs_backbone:
        return detector_class(config)
    if backbone is None:
        raise ConfigError(f"Detector {name} needs a backbone: add 'backbone: {{name: ...}}'.")
    spec = {"name": backbone} if isinstance(backbone, str) else dict(backbone)
    network = create_backbone(spec.pop("name"), settings.section("backbone") if settings else None, **spec)
    try:
        return detector_class(config, network)
    except ValueError as error:
        raise ConfigError(f"{own.name}: detector {name}: {error}") from error


def _validated(model: Any, options: Mapping[str, Any], settings: Settings) -> Any:
    from pydantic import ValidationError

    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        raise ConfigError(settings.explain(error, model, ("detector",))) from None
