"""A store of plain files in DeepfakeBench's tree: ``<data>/<dataset>/<folder>/frames/<video>/<number>.png``.

The same four verbs as ``benchmark.data.store.StoreWriter``, and the same promise: work goes to ``<dataset>.partial``,
which takes the dataset's name only when it is complete.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from benchmark.data.store import give_name


class FolderWriter:
    """Writes files below a temporary folder and renames it when closed.

    Args:
        path: folder of the finished dataset; its name is the first component of every key.
        meta: facts kept in ``meta.json``; ``count`` and ``key_style`` are added.
        resume: keep what an interrupted writer wrote; otherwise a leftover is removed first.
    """

    def __init__(self, path: Path, *, meta: dict[str, Any] | None = None, resume: bool = False) -> None:
        self.path = path
        self.meta = meta or {}
        self.partial = path.with_name(f"{path.name}.partial")
        if self.partial.exists() and not resume:
            shutil.rmtree(self.partial)
        self.partial.mkdir(parents=True, exist_ok=True)
        self._pending: dict[str, bytes | None] = {}

    def put(self, key: str, value: bytes) -> None:
        """Queue one file; it is durable after the next ``flush``."""
        self._pending[key] = value

    def remove(self, key: str) -> None:
        """Queue the removal of one file; a key that is not there is no error."""
        self._pending[key] = None

    def get(self, key: str) -> bytes | None:
        """A file that an earlier ``flush`` wrote, or None."""
        path = self._place(key)
        return path.read_bytes() if path.is_file() else None

    def flush(self) -> None:
        """Write what is queued, each file under another name first, and sync it to the disk."""
        for key, value in self._pending.items():
            path = self._place(key)
            if value is None:
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.new")
            with temporary.open("wb") as handle:
                handle.write(value)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
        self._pending.clear()

    def close(self) -> None:
        """Flush, write ``meta.json`` and rename into place."""
        self.flush()
        count = sum(len(files) for folder, _, files in os.walk(self.partial) if Path(folder) != self.partial)
        give_name(self.partial, self.path, {**self.meta, "count": count, "key_style": "files"})

    def abort(self) -> None:
        """Write what is queued and leave the temporary folder for a later resume."""
        self.flush()

    def _place(self, key: str) -> Path:
        dataset, _, rest = key.partition("/")
        assert dataset == self.path.name, f"{key} is not a key of {self.path.name}"
        return self.partial / rest
