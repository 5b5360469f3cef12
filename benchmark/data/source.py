"""Where the bytes of a frame come from: an LMDB store or plain files under the data roots."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.store import Store
from benchmark.errors import DataError

# Where DeepfakeBench users keep things, besides the root itself.
_STORE_PLACES = ("{folder}_lmdb", "lmdb/{folder}_lmdb")
_FILE_PLACES = ("", "rgb", "datasets/rgb", "datasets")


PARSED_FACES = {"frames": "images", "parsing": "parsing_maps"}
"""Folders of FSFM's pre-training data by the first component of our keys."""


class ByteSource:
    """Reads values by canonical key (``FaceForensics++/.../000.png``).

    The first component of the key decides the LMDB environment (``<root>/FaceForensics++_lmdb``); without one,
    files are looked for under the roots. What worked for a component is remembered.

    Args:
        roots: folders to search, in order.
    """

    def __init__(self, roots: list[Path]) -> None:
        self.roots = roots
        self._found: dict[str, Store | Path] = {}

    def read(self, key: str) -> bytes:
        """The bytes of one entry.

        Raises:
            DataError: not in the store, or no such file; says where was looked.
        """
        place = self._place(key)
        if isinstance(place, Store):
            return place.get(key)
        path = place / key
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"Cannot read {path}: {error.strerror or error}.") from None

    def has(self, key: str) -> bool:
        """Whether an entry exists."""
        try:
            place = self._place(key)
        except DataError:
            return False
        return key in place if isinstance(place, Store) else (place / key).is_file()

    def _place(self, key: str) -> Store | Path:
        folder = key.split("/", 1)[0]
        if folder not in self._found:
            self._found[folder] = self._search(folder, key)
        return self._found[folder]

    def _search(self, folder: str, key: str) -> Store | Path:
        tried: list[Path] = []
        for root in self.roots:
            for pattern in _STORE_PLACES:
                store = root / pattern.format(folder=folder)
                tried.append(store)
                if (store / "data.mdb").is_file():
                    return Store(store)
        for root in self.roots:
            for middle in _FILE_PLACES:
                base = root / middle
                tried.append(base / key)
                if (base / folder).exists() if "/" in key else (base / key).is_file():
                    return base
        looked = ", ".join(str(path) for path in tried[:3])
        raise DataError(
            f"No store or folder holds '{folder}' (looked for {looked}, ...). "
            "Set paths.data=FOLDER, or make it: python -m benchmark prepare DATASET --root ..."
        )


class ParsedFacesSource(ByteSource):
    """FSFM's pre-training folders under our keys: ``frames/A.png`` and ``parsing/A.png`` (stored as ``A.npy``).

    Args:
        root: folder with ``images`` and ``parsing_maps``.
    """

    def __init__(self, root: Path) -> None:
        super().__init__([root])

    def read(self, key: str) -> bytes:
        """See ``ByteSource.read``."""
        path = self._path(key)
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"Cannot read {path}: {error.strerror or error}.") from None

    def has(self, key: str) -> bool:
        """See ``ByteSource.has``."""
        return self._path(key).is_file()

    def _path(self, key: str) -> Path:
        kind, _, name = key.partition("/")
        path = self.roots[0] / PARSED_FACES[kind] / name
        return path.with_suffix(".npy") if kind == "parsing" else path
