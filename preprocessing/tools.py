"""The plugins and models that settings name, loaded once per process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmark.errors import ConfigError
from benchmark.registry import FACE_FINDERS, FACE_PARSERS, Registry
from preprocessing.faces.base import FaceFinder
from preprocessing.faces.landmarks import Predictor
from preprocessing.parsers.base import FaceParser
from preprocessing.settings import Options, Settings


@dataclass(frozen=True)
class Tools:
    """The plugins and models that settings name.

    Attributes:
        finder: finds faces.
        predictor: gives landmarks, or None.
        parser: gives parsing maps, or None.
    """

    finder: FaceFinder
    predictor: Predictor | None = None
    parser: FaceParser | None = None

    def versions(self) -> Mapping[str, str]:
        """Versions of all libraries that decide what is stored, besides the decoder's."""
        return {
            **self.finder.versions(),
            **(self.predictor.versions() if self.predictor else {}),
            **(self.parser.versions() if self.parser else {}),
        }


def build_tools(settings: Settings) -> Tools:
    """The tools of settings; models are not loaded for every video.

    Raises:
        BenchmarkError: an unknown name, a missing package or file, a wrong option.
    """
    return Tools(
        build_finder(settings.face_finder, settings.face_options),
        _build_predictor(settings.predictor) if settings.predictor else None,
        build_parser(settings.parser, settings.parse_options) if settings.parser else None,
    )


def build_plugin(registry: Registry[Any], name: str, options: Mapping[str, Any]) -> Any:
    """What a registered class or function makes of the user's options.

    Raises:
        RegistryError: unknown name, or its package is not installed.
        ConfigError: an option it does not have.
    """
    maker = registry.get(name)
    try:
        return maker(**options)
    except TypeError as error:
        raise ConfigError(f"{registry.kind.capitalize()} '{name}' does not take these options ({error}).") from error


@lru_cache(maxsize=8)
def build_finder(name: str, options: Options = ()) -> FaceFinder:
    """A registered face finder (see ``build_plugin``)."""
    finder: FaceFinder = build_plugin(FACE_FINDERS, name, dict(options))
    return finder


@lru_cache(maxsize=2)
def _build_predictor(path: str) -> Predictor:
    return Predictor(Path(path))


@lru_cache(maxsize=2)
def build_parser(name: str, options: Options = ()) -> FaceParser:
    """A registered face parser (see ``build_plugin``)."""
    parser: FaceParser = build_plugin(FACE_PARSERS, name, dict(options))
    return parser
