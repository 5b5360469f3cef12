"""Plugin benchmark for face security: registry, configuration, data, metrics and results shared by all plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "create_backbone", "create_detector"]

if TYPE_CHECKING:
    from benchmark.build import create_backbone, create_detector


def __getattr__(name: str) -> Any:
    """Import the factories on first use, so that ``import benchmark`` stays light."""
    if name in {"create_backbone", "create_detector"}:
        from benchmark import build

        return getattr(build, name)
    raise AttributeError(f"module 'benchmark' has no attribute '{name}'")
