"""What the plugins on top of facer share: importing it late, its device, pictures as its tensors."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from benchmark.errors import ConfigError, RegistryError

_INSTALL = "pip install pyfacer (it downloads its weights on first use, so the first run needs the network)"


def load_facer(plugin: str) -> Any:
    """The facer module.

    Args:
        plugin: named in the message, e.g. ``Face finder 'retinaface'``.

    Raises:
        RegistryError: facer, or a package it needs, is not installed.
    """
    try:
        return importlib.import_module("facer")
    except ImportError as error:
        raise RegistryError(
            f"{plugin} needs the facer package, which cannot be imported ({error}): {_INSTALL}."
        ) from error


def build_model(plugin: str, make: Any, name: str, device: str, **options: Any) -> Any:
    """A facer model.

    Args:
        plugin: named in the message.
        make: ``facer.face_detector`` or ``facer.face_parser``.
        name: facer's name of the model, e.g. ``retinaface/mobilenet``.
        device: torch device.
        options: passed to facer.

    Raises:
        ConfigError: the weights cannot be had, or facer does not know the model.
    """
    try:
        return make(name, device=device, **options)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{plugin}: facer cannot make '{name}' on {device} ({type(error).__name__}: {error}). "
            "Its weights are downloaded once into torch's hub folder; check the network, or copy them there."
        ) from error


def pick_device(device: str) -> str:
    """``auto`` means the first GPU if there is one, else the CPU; anything else is taken as given."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def to_tensor(facer: Any, image: np.ndarray, device: str) -> Any:
    """(H, W, 3) uint8 RGB to facer's (1, 3, H, W) uint8 tensor on the device."""
    import torch

    return facer.hwc2bchw(torch.from_numpy(np.ascontiguousarray(image))).to(device)
