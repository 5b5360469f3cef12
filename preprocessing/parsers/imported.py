"""Parsing maps that exist already: the reference's folders of ``.npy`` files, or PNG maps, read by name.

FSFM's pre-training data lies in ``images/NAME.png`` and ``parsing_maps/NAME.npy`` (int8, (1, 224, 224), ids 0-10).
For frame 12 of video ``519`` in folder ``original_sequences/youtube/c23`` these names are tried, in this order::

    original_sequences/youtube/c23/519/012   519_frame_12   519/012   519/12   original_sequences_youtube_c23_519   519

The last two are for still images only (frame 0); items that are folders of named images (VGGFace2, YouTubeFaces) are
looked up by the image's own name too: ``train_n000002_0001_01``. A map keeps its values; with ``--size 224`` also its
size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.decode import decode_map
from benchmark.errors import ConfigError, DataError
from benchmark.registry import FACE_PARSERS
from preprocessing.parsers.base import CLASSES, FaceParser, FrameName


@FACE_PARSERS.register("import")
class ImportedMaps(FaceParser):
    """Maps from a folder of ``.npy`` or ``.png`` files (needs ``--parse-option folder=PATH``).

    Args:
        folder: where they are.
    """

    def __init__(self, folder: str = "") -> None:
        if not folder:
            raise ConfigError("Face parser import needs the folder of maps: --parse-option folder=PATH.")
        self._folder = Path(folder)
        if not self._folder.is_dir():
            raise ConfigError(f"Face parser import: no folder at {self._folder}.")
        self._listing = _listing_hash(self._folder)

    def parse(self, image: np.ndarray, landmarks: np.ndarray | None, name: FrameName) -> np.ndarray | None:
        """See ``FaceParser.parse``; None when no file fits the frame's name.

        Raises:
            DataError: a file fits but is not a map of ids 0 to 10.
        """
        for stem in _stems(name):
            for suffix in (".npy", ".png"):
                path = self._folder / f"{stem}{suffix}"
                if path.is_file():
                    return read_map(path)
        return None

    def settings(self) -> Mapping[str, Any]:
        """Hash over the names and sizes of all maps; the folder's own place does not matter."""
        return {"listing": self._listing}


def _stems(name: FrameName) -> Iterator[str]:
    yield f"{name.folder}/{name.video}/{name.number:03d}"
    yield f"{name.video}_frame_{name.number}"
    if name.image:
        yield f"{name.video}_{name.image}"
    yield f"{name.video}/{name.number:03d}"
    yield f"{name.video}/{name.number}"
    if name.number == 0:
        yield f"{name.folder}/{name.video}".replace("/", "_")
        yield name.video


def read_map(path: Path) -> np.ndarray:
    """A parsing map from a ``.npy`` or ``.png`` file.

    Returns:
        (h, w) uint8 ids.

    Raises:
        DataError: not a map (see ``decode_map``) of whole numbers from 0 to 10.
    """
    values = decode_map(path.read_bytes(), str(path))
    if values.max() >= len(CLASSES):
        raise DataError(f"{path}: expected class ids 0 to {len(CLASSES) - 1}, found {values.max()}.")
    return values


def _listing_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".npy", ".png"):
            digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
    return digest.hexdigest()
