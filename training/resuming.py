"""What may differ between a run and its continuation, and what must not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from benchmark.errors import CheckpointError, ConfigError
from benchmark.schema import RunConfig

_FREE_TRAINER_KEYS = {"log_every_steps", "save_every_steps", "keep_every_epochs", "picture_every_steps"}


def with_own_settings(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """An optimiser's saved moments with this run's own hyper-parameters.

    Raises:
        CheckpointError: its groups hold other numbers of tensors.
    """
    own = optimizer.state_dict()
    counts = [[len(group["params"]) for group in state["param_groups"]] for state in (own, saved)]
    if counts[0] != counts[1]:
        raise CheckpointError(f"{origin}: its optimiser has groups of {counts[1]} tensors, this run's of {counts[0]}.")
    return {"state": saved["state"], "param_groups": own["param_groups"]}


def refuse_other_run(state: Mapping[str, Any], config: RunConfig, data: Mapping[str, str]) -> None:
    """Check that a checkpoint belongs to a run with these settings and data.

    Args:
        state: trainer state of the checkpoint.
        config: settings now.
        data: fingerprint of every part of the data now.

    Raises:
        ConfigError: settings that shape the weights, or the data, are others; says which.
    """
    changed = different_keys(state["settings"], comparable_settings(config))
    if changed:
        raise ConfigError(
            f"Cannot resume: these settings differ from the run's: {', '.join(changed)}. "
            "Use the same configuration, or start another run with --name."
        )
    before = state.get("data", {})
    others = [part for part in data if part in before and before[part] != data[part]]
    if others:
        raise ConfigError(
            f"Cannot resume: the {' and '.join(others)} data changed since the run was started (other videos, frames, "
            "labels or preprocessing). Restore the index it was started with, or start another run with --name."
        )


def comparable_settings(config: RunConfig) -> dict[str, Any]:
    """Settings that shape the weights: a resumed run must agree in them."""
    values = config.resolved()
    free = {"name", "paths"}
    kept = {key: value for key, value in values.items() if key not in free}
    kept["data"] = {key: value for key, value in values["data"].items() if key not in {"workers", "test"}}
    kept["evaluation"] = {"select": values["evaluation"]["select"]}
    kept["trainer"] = {k: v for k, v in values["trainer"].items() if k not in _FREE_TRAINER_KEYS}
    return kept


def different_keys(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted keys whose values differ between two nested mappings."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [path for key in keys for path in different_keys(old.get(key), new.get(key), f"{prefix}{key}.")]
    return [] if old == new else [f"{prefix[:-1]} ({old!r} -> {new!r})"]
