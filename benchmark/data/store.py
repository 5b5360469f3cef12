"""LMDB stores: one environment per dataset, value = encoded bytes of one file.

Ours use slash keys (``FaceForensics++/.../frames/519_515/012.png``) and ``.npy`` values with their header.
DeepfakeBench's stores are read as they are: backslash keys, a backslash after the first component only, and
landmark buffers without a header (648 bytes = int32, 1296 bytes = int64).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb
import numpy as np

from benchmark.errors import DataError

META_FILE = "meta.json"
_INITIAL_MAP = 1 << 26


class StoreWriter:
    """Writes a store into a temporary folder and renames it when closed, so a half-written store is never seen.

    Args:
        path: folder of the finished LMDB environment, e.g. ``data/FaceForensics++_lmdb``.
        meta: facts kept beside the data (settings, fingerprint); ``count`` and ``key_style`` are added.
        commit_every: number of items per write transaction.
        resume: keep what an interrupted writer committed; otherwise a leftover is removed first.

    Use as a context manager: leaving it normally publishes the store, an exception leaves only the temporary
    folder (which the next ``resume=True`` writer continues). An existing finished store is replaced.
    """

    def __init__(
        self, path: Path, *, meta: dict[str, Any] | None = None, commit_every: int = 512, resume: bool = False
    ) -> None:
        self.path = path
        self.meta = meta or {}
        self.partial = path.with_name(path.name + ".partial")
        if self.partial.exists() and not resume:
            shutil.rmtree(self.partial)
        self.partial.mkdir(parents=True, exist_ok=True)
        self._commit_every = commit_every
        self._pending: list[tuple[bytes, bytes | None]] = []
        self._env = lmdb.open(str(self.partial), map_size=_INITIAL_MAP, lock=False, readahead=False)
        self._env.set_mapsize(max(_INITIAL_MAP, self._env.info()["map_size"]))

    def put(self, key: str, value: bytes) -> None:
        """Queue one value; it is durable after the next ``flush``."""
        self._queue(key, value)

    def remove(self, key: str) -> None:
        """Queue the removal of one value; a key that is not there is no error."""
        self._queue(key, None)

    def _queue(self, key: str, value: bytes | None) -> None:
        self._pending.append((key.encode(), value))
        if len(self._pending) >= self._commit_every:
            self.flush()

    def get(self, key: str) -> bytes | None:
        """A value that an earlier ``flush`` made durable, or None."""
        with self._env.begin() as txn:
            value = txn.get(key.encode())
        return None if value is None else bytes(value)

    def flush(self) -> None:
        """Commit what is queued, growing the map when it is full."""
        while self._pending:
            try:
                with self._env.begin(write=True) as txn:
                    for key, value in self._pending:
                        if value is None:
                            txn.delete(key)
                        else:
                            txn.put(key, value)
                self._pending.clear()
            except lmdb.MapFullError:
                needed = sum(len(value or b"") for _, value in self._pending) * 2
                self._env.set_mapsize(self._env.info()["map_size"] * 2 + needed)

    def close(self) -> None:
        """Flush, write ``meta.json`` and rename into place."""
        self.flush()
        count = self._env.stat()["entries"]
        self._env.sync(True)
        self._env.close()
        give_name(self.partial, self.path, {**self.meta, "count": count, "key_style": "slash"})

    def abort(self) -> None:
        """Commit what is queued and leave the temporary folder for a later resume."""
        self.flush()
        self._env.close()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def give_name(partial: Path, path: Path, meta: Mapping[str, Any]) -> None:
    """Write ``meta.json`` into a finished store and move it into place, over an older one.

    Args:
        partial: folder that was written to.
        path: its name from now on.
        meta: facts about the store; the format's version is added.
    """
    (partial / META_FILE).write_text(json.dumps({**meta, "version": 1}, indent=1, sort_keys=True) + "\n")
    if path.exists():
        shutil.rmtree(path)
    partial.replace(path)


class Store:
    """Reads a store, ours or DeepfakeBench's. Safe to hand to data-loader workers: each process opens its own.

    Args:
        path: the environment folder.
    """

    def __init__(self, path: Path) -> None:
        if not (path / "data.mdb").is_file():
            raise DataError(f"No LMDB store at {path} (data.mdb is missing).")
        self.path = path
        self._style = 0

    def get(self, key: str) -> bytes:
        """The value of a canonical slash key, whatever separator style the store was written with.

        Raises:
            DataError: no variant of the key is in the store; the message shows the store's own style.
        """
        with self._environment().begin(buffers=True) as txn:
            variants = key_variants(key)
            for style in [self._style, *range(len(variants))]:
                value = txn.get(variants[style].encode())
                if value is not None:
                    self._style = style
                    return bytes(value)
        example = next(self.keys(), None)
        raise DataError(f"{self.path}: no entry for '{key}'. Keys there look like '{example}'.")

    def __contains__(self, key: str) -> bool:
        with self._environment().begin() as txn:
            return any(txn.get(variant.encode()) is not None for variant in key_variants(key))

    def __len__(self) -> int:
        return int(self._environment().stat()["entries"])

    def keys(self) -> Iterator[str]:
        """All keys as written."""
        with self._environment().begin() as txn:
            for key in txn.cursor().iternext(keys=True, values=False):
                yield bytes(key).decode()

    def _environment(self) -> lmdb.Environment:
        return _open_reader(self.path)


_READERS: dict[tuple[str, int], lmdb.Environment] = {}


def _open_reader(path: Path) -> lmdb.Environment:
    """LMDB allows one open environment per path and process, so readers share it; a replaced store is reopened."""
    key = (str(path), (path / "data.mdb").stat().st_ino)
    if key not in _READERS:
        try:
            _READERS[key] = lmdb.open(
                str(path), readonly=True, lock=False, readahead=False, max_readers=1, meminit=False
            )
        except lmdb.Error as error:
            raise DataError(f"{path}: not a readable LMDB store ({error}).") from error
    return _READERS[key]


def _close_readers() -> None:
    for environment in _READERS.values():
        environment.close()
    _READERS.clear()


if hasattr(os, "register_at_fork"):  # an environment must not cross a fork; both sides reopen when they read
    os.register_at_fork(before=_close_readers)


def key_variants(key: str) -> list[str]:
    """Spellings under which a canonical key may be stored, ours first."""
    head, _, tail = key.partition("/")
    backslash = key.replace("/", "\\")
    return [
        key,
        backslash,
        f"{head}\\{tail}",
        f"./datasets/{key}",
        f"datasets/rgb/{key}",
        f"./datasets/rgb/{key}",
    ]


def decode_landmarks(value: bytes, key: str) -> np.ndarray:
    """Landmark array from a store value or ``.npy`` file.

    Args:
        value: an NPY file (any shape), or DeepfakeBench's bare (81, 2) buffer of int32 or int64.
        key: named in the error.

    Returns:
        (points, 2) float32, pixels of the stored crop; may be negative.

    Raises:
        DataError: neither form fits.
    """
    if value[:6] == b"\x93NUMPY":
        try:
            points = np.load(io.BytesIO(value), allow_pickle=False).astype(np.float32)
        except (ValueError, EOFError, OSError) as error:
            raise DataError(f"Landmarks '{key}': damaged .npy file ({error}).") from None
        if points.ndim != 2 or points.shape[1] != 2:
            raise DataError(f"Landmarks '{key}' have shape {points.shape}; expected (points, 2).")
        return points
    dtype = {648: np.int32, 1296: np.int64}.get(len(value))
    if dtype is None:
        raise DataError(f"Landmarks '{key}' have {len(value)} bytes; expected an .npy file, 648 or 1296 bytes.")
    return np.frombuffer(value, dtype=dtype).reshape(81, 2).astype(np.float32)


def encode_npy(array: np.ndarray) -> bytes:
    """An array as the bytes of a ``.npy`` file (header included)."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def atomic_write_text(path: Path, text: str) -> None:
    """Write a text file so that readers see the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        with temporary.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _hash(handle)


def _hash(handle: Any) -> str:
    digest = hashlib.sha256()
    while block := handle.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
