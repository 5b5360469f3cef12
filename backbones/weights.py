"""Opening weights files: safe, from disk or the hub, with the facts that belong to them.

Pickles are only ever opened with ``weights_only=True``; the two harmless classes that MAE-family files hold
(``argparse.Namespace``, ``pathlib.PosixPath``) are allowed for the duration of the call.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.data.store import file_hash as file_hash
from benchmark.errors import CheckpointError, did_you_mean

STATISTICS_FILE = "pretrain_ds_mean_std.txt"
State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class PublishedWeights:
    """Facts about one published checkpoint.

    Attributes:
        name: what users type.
        backbone: registry name it belongs to.
        repo: hub repository.
        file: file inside it.
        statistics: file of the pre-training mean and std in the same repository, or None.
        class_order: classes of the head in output order, for fine-tuned files.
        licence: licence of the weights.
        source: paper.
    """

    name: str
    backbone: str
    repo: str
    file: str
    statistics: str | None = None
    class_order: tuple[str, ...] | None = None
    licence: str = "CC BY-NC 4.0 (no commercial use)"
    source: str = ""


def resolve_weights(reference: str, published: Mapping[str, PublishedWeights]) -> Path:
    """A weights reference to a file on disk.

    Args:
        reference: a file, a run folder (its selected checkpoint is taken), ``hf-hub:OWNER/REPO/path/to/file``, or the
            name of a published checkpoint.
        published: known published checkpoints by name.

    Raises:
        CheckpointError: nothing there, or the hub cannot be reached.
    """
    path = Path(reference)
    if path.is_dir():
        return _from_run_folder(path)
    if path.is_file():
        return path
    if reference in published:
        from loguru import logger

        facts = published[reference]
        logger.info("Weights {}: {} from {}, licence {}.", facts.name, facts.file, facts.repo, facts.licence)
        file = _download(facts.repo, facts.file)
        if facts.statistics:
            _download(facts.repo, facts.statistics)
        return file
    if reference.startswith("hf-hub:"):
        owner, _, rest = reference.removeprefix("hf-hub:").partition("/")
        repo, _, file_name = rest.partition("/")
        if not file_name:
            raise CheckpointError(f"'{reference}': expected hf-hub:OWNER/REPO/path/to/file.")
        return _download(f"{owner}/{repo}", file_name)
    hint = did_you_mean(reference, published)
    raise CheckpointError(
        f"No weights at '{reference}': not a file, a run folder, hf-hub:OWNER/REPO/FILE or a published name.{hint}"
        f" Published names: {', '.join(published) or 'none for this backbone'}."
    )


def _from_run_folder(path: Path) -> Path:
    for candidate in ("best.json", "last.json"):
        pointer = path / "checkpoints" / candidate
        if pointer.is_file():
            return path / "checkpoints" / str(json.loads(pointer.read_text())["folder"]) / "model.safetensors"
    direct = path / "model.safetensors"
    if direct.is_file():
        return direct
    raise CheckpointError(f"{path} is no run folder: it has neither checkpoints/best.json nor model.safetensors.")


def _download(repo: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(hf_hub_download(repo_id=repo, filename=file))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise CheckpointError(
            f"Cannot fetch {file} from the hub repository {repo}: {type(error).__name__}. "
            "Check the network, or download the file by hand and give its path."
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a weights file, read without running code.

    A ``.safetensors`` file gives {"model": tensors, "metadata": strings}, a torch pickle whatever it holds.

    Raises:
        CheckpointError: missing, truncated, or a pickle that wants to construct anything but tensors and plain data.
    """
    if not path.is_file():
        raise CheckpointError(f"No weights file at {path}.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                return {"model": {key: file.get_tensor(key) for key in file.keys()}, "metadata": file.metadata() or {}}  # noqa: SIM118
        except SafetensorError as error:
            raise CheckpointError(f"{path}: broken safetensors file ({error}).") from error
    try:
        with torch.serialization.safe_globals([argparse.Namespace, pathlib.PosixPath]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"{path}: refused, the pickle holds more than tensors and plain data, which could run code ({reason}). "
            "Convert it where you trust it, or ask its author for safetensors."
        ) from error
    except Exception as error:  # what a damaged pickle raises depends on where the damage is
        raise CheckpointError(f"{path}: not a readable torch file ({type(error).__name__}: {error}).") from error
    return content if isinstance(content, dict) else {"model": content}


def state_dict_of(content: Mapping[str, Any], path: Path | str) -> State:
    """The tensors in a checkpoint's content: under ``model`` or ``state_dict``, or the content itself.

    Prefixes that wrappers add (``module.``) are removed.

    Raises:
        CheckpointError: there are no tensors.
    """
    state: Any = content
    for key in ("model", "state_dict"):
        if isinstance(content.get(key), Mapping):
            state = content[key]
            break
    tensors = {
        str(key).removeprefix("module."): value for key, value in state.items() if isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors (keys: {', '.join(map(str, list(content)[:8]))}).")
    return tensors


def check_fit(
    module_state: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor],
    path: Path | str,
    *,
    may_miss: set[str],
    may_drop: tuple[str, ...] = (),
) -> State:
    """Tensors of ``state`` that belong into a module; everything else must be explained.

    Args:
        module_state: the module's own state dict.
        state: tensors of the file.
        path: named in messages.
        may_miss: keys of the module that the file need not have (a fresh head).
        may_drop: prefixes of keys in the file that the module has no use for (a pre-training decoder).

    Raises:
        CheckpointError: missing keys, keys without a place, or other shapes; says how many of how many fit.
    """
    missing = [key for key in module_state if key not in state and key not in may_miss]
    unknown = [key for key in state if key not in module_state and not key.startswith(may_drop or ("\0",))]
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(module_state[key].shape)}"
        for key in module_state
        if key in state and state[key].shape != module_state[key].shape
    ]
    if missing or unknown or wrong:
        fits = sum(key in state and state[key].shape == module_state[key].shape for key in module_state)
        parts = [
            f"{label}: {', '.join(keys[:4])}{' ...' if len(keys) > 4 else ''} ({len(keys)})"
            for label, keys in (
                ("missing", missing),
                ("without a place", unknown),
                ("of another shape", wrong),
            )
            if keys
        ]
        raise CheckpointError(
            f"{path}: {fits} of {len(module_state)} tensors fit; {'; '.join(parts)}. "
            "It belongs to another architecture or setting."
        )
    return {key: value for key, value in state.items() if key in module_state}


def read_statistics(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std from ``pretrain_ds_mean_std.txt`` (first line, one JSON object; RGB on the 0-1 scale).

    Raises:
        CheckpointError: missing, not JSON, or not two lists of three numbers.
    """
    try:
        line = path.read_text(encoding="utf-8").splitlines()[0]
        data = json.loads(line)
        mean, std = tuple(map(float, data["mean"])), tuple(map(float, data["std"]))
    except (OSError, IndexError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: cannot read the mean and std of the pre-training data ({error}). "
            "Put the file beside the weights, or set data.normalize: vggface2 (or imagenet, or {mean, std})."
        ) from error
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise CheckpointError(f"{path}: expected three means and three positive stds, found {line[:200]}.")
    return mean, std


def stored_normalization(content: Mapping[str, Any], path: Path) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std that weights were trained with: inside our own files, or in the text file beside published ones.

    Args:
        content: see ``read_checkpoint``.
        path: the file it came from.

    Returns:
        Mean and std, or None when neither place says it.
    """
    stored = content.get("metadata", {}).get("input")
    if stored:
        facts = json.loads(stored)
        return tuple(facts["mean"]), tuple(facts["std"])
    statistics = path.parent / STATISTICS_FILE
    return read_statistics(statistics) if statistics.is_file() else None


def write_statistics(path: Path, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Write mean and std in the published file format."""
    path.write_text(json.dumps({"mean": list(mean), "std": list(std)}) + "\n", encoding="utf-8")
