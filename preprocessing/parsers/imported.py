"""Parsing maps that exist already: the reference's folders of ``.npy`` files, or PNG maps, read by name.

FSFM's pre-training data lies in ``images/NAME.png`` and ``parsing_maps/NAME.npy`` (int8, (1, 224, 224), ids 0-10).
For frame 12 of video ``519`` in folder ``original_sequences/youtube/c23`` these names are tried, in this order::

    original_sequences/youtube/c23/519/012   519_frame_12   519/012   519/12   original_sequences_youtube_c23_519   519

The last two are for still images only (frame 0). A map keeps its values; with ``--size 224`` also its size.
"""

from __future__ import annotations

import hashlib
import io
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
    yield f"{name.video}/{name.number:03d}"
    yield f"{name.video}/{name.number}"
    if name.number == 0:
        yield f"{name.folder}/{name.video}".replace("/", "_")
        yield name.video


def read_map(path: Path) -> np.ndarray:
    """A parsing map from a file.

    Returns:
        (h, w) uint8 ids.

    Raises:
        DataError: not an array (1, h, w) or (h, w) of whole numbers from 0 to 10.
    """
    content = path.read_bytes()
    if path.suffix == ".png":
        values = decode_map(content, str(path))
    else:
        try:
            values = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise DataError(f"{path}: not a readable .npy file ({error}).") from error
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 2 or values.dtype.kind not in "iu" or not _are_ids(values):
        raise DataError(
            f"{path}: expected class ids 0 to {len(CLASSES) - 1} of shape (1, H, W) or (H, W), found "
            f"{values.dtype} {values.shape} from {values.min(initial=0)} to {values.max(initial=0)}."
        )
    return values.astype(np.uint8)


def _are_ids(values: np.ndarray) -> bool:
    return values.size > 0 and values.min() >= 0 and values.max() < len(CLASSES)


def _listing_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".npy", ".png"):
            digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
    return digest.hexdigest()
