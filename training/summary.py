"""What a configuration builds, without data and without weights: parameters by part."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch

from benchmark.schema import RunConfig, load_run_config
from training.pipeline import build_detector, parameter_table
from training.settings import config_path, without_initial_weights


def print_summary(files: Sequence[str], overrides: list[str]) -> int:
    """Print the table of every configuration; nothing is downloaded and no memory taken for weights.

    Args:
        files: YAML files, or bare names in ``configs``.
        overrides: ``key=value`` words.
    """
    for file in files:
        config, settings = load_run_config(config_path(file), overrides)
        config = without_initial_weights(config)
        with torch.device("meta"):
            detector = build_detector(config, settings)
        sys.stdout.write(f"{_title(config)}\n{parameter_table(detector)}\n\n")
    return 0


def _title(config: RunConfig) -> str:
    backbone = f", backbone {config.backbone.name}" if config.backbone else ""
    return f"{config.name}: detector {config.detector.name}{backbone}"
