"""A dataset on disk while it is being made: store (LMDB or folders), journal of finished items, then the JSON index.

The journal ``videos.jsonl`` lies in the store's folder: a first line with the settings, then a line per finished item.
A line is written only after the item's crops are durable in the store, so after kill -9 the store holds at least what
the journal says, and an item that is missing from the journal is simply done again, with the same keys and bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lmdb
from loguru import logger

from benchmark.data.index import VideoRecord, write_index
from benchmark.data.store import StoreWriter, atomic_write_text
from benchmark.errors import DataError
from preprocessing.folder_store import FolderWriter
from preprocessing.layouts.base import Item
from preprocessing.names import LMDB, KeyNames
from preprocessing.settings import SUFFIXES
from preprocessing.task import ItemResult

JOURNAL = "videos.jsonl"
_COMMIT_BYTES = 1 << 24
_COMMIT_SECONDS = 2.0


@dataclass(frozen=True)
class Header:
    """What all items of a store have in common.

    Attributes:
        dataset: name of the dataset folder in the keys.
        settings: everything that decides which bytes are stored.
        fingerprint: short hash of the settings.
        versions: libraries that turn files into pixels and boxes.
    """

    dataset: str
    settings: Mapping[str, Any]
    fingerprint: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class _Journal:
    header: Header
    results: dict[str, ItemResult]


def read_journal(folder: Path) -> _Journal | None:
    """The journal of a store folder; None when there is none or it ends before its first line does.

    A last line cut short by a kill is passed over: its item was not finished.
    """
    path = folder / JOURNAL
    if not path.is_file():
        return None
    lines = path.read_bytes().split(b"\n")[:-1]  # a complete line ends in a newline
    if not lines:
        return None
    try:
        header = Header(**json.loads(lines[0]))
        results = (ItemResult.from_record(json.loads(line)) for line in lines[1:])
        return _Journal(header, {result.id: result for result in results})
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: broken journal ({error}). Start again with --overwrite or another --data.") from error


@contextmanager
def exclusive(store: Path) -> Iterator[None]:
    """Hold a store against a second writer; the lock ends with the process, however it ends.

    Raises:
        DataError: another process is writing it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: no advisory locks, the user is trusted
        yield
        return
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        handle = store.with_name(f".{store.name}.lock").open("w")
    except OSError as error:
        raise DataError(f"Cannot write to --data {store.parent}: {error.strerror}.") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"Another process is writing {store}. Wait for it, or give another --data.") from None
        yield


class DatasetWriter:
    """Writes one dataset's store; continues an interrupted one and extends a finished one.

    Args:
        store: folder of the finished store. Until ``publish`` the work is in ``<store>.partial``.
        header: settings and versions of this run.
        overwrite: begin anew; an existing store is replaced when the new one is finished.
        names: where each file lies; None for the keys of ``KeyNames``.

    Attributes:
        results: finished items by id.
        versions: library versions that made them, or of this run when there are none yet.

    Raises:
        DataError: what is there was made with other settings, or by another tool.
    """

    def __init__(self, store: Path, header: Header, *, overwrite: bool = False, names: KeyNames | None = None) -> None:
        self.store = store
        self.header = header
        self.names = names or KeyNames(header.dataset, SUFFIXES[header.settings["image_format"]])
        self._make = StoreWriter if self.names.kind == LMDB else FolderWriter
        self.partial = store.with_name(f"{store.name}.partial")
        self.results: dict[str, ItemResult] = {}
        self._base: Path | None = None
        self.versions = header.versions
        self._writer: StoreWriter | FolderWriter | None = None
        self._waiting: list[ItemResult] = []
        self._waiting_bytes = 0
        self._last_commit = time.monotonic()
        if not overwrite:
            self._find_base()

    @property
    def is_published(self) -> bool:
        """True when the finished store holds everything in ``results`` and nothing is open."""
        return self._base == self.store and self._writer is None

    def needs(self, item: Item, label: int) -> bool:
        """True unless the item is finished, its files have the size they had then, and its class and split too."""
        done = self.results.get(item.id)
        if done is None or (done.cls, done.label, done.split) != (item.cls, label, item.split):
            return True
        try:
            return done.source.get("bytes") != item.source.size()
        except OSError:
            return True

    def begin(self) -> None:
        """Open the store for writing.

        Raises:
            DataError: finished items came from other library versions, or an unfinished store is in the way.
        """
        if self._base is not None and self.versions != self.header.versions:
            raise DataError(
                f"{self._base} was made with {_words(self.versions)}, but here is {_words(self.header.versions)}; "
                "other versions can give other pixels and boxes. Use those versions, give another --data, or begin "
                "anew with --overwrite."
            )
        if self._base == self.store and self.partial.exists():
            raise DataError(f"{self.partial} is in the way: an unfinished store of other settings. Remove it first.")
        with self._disk_errors():
            if self._base == self.store:
                self.store.replace(self.partial)
            meta = asdict(self.header)
            self._writer = self._make(self.store, meta=meta, resume=self._base is not None)
            self._base = self.partial
            lines = [json.dumps(meta), *(json.dumps(result.record()) for result in self.results.values())]
            atomic_write_text(self.partial / JOURNAL, "\n".join(lines) + "\n")

    def add(self, result: ItemResult) -> None:
        """Take one finished item; it is durable at the next commit, some seconds later at most."""
        self._waiting.append(result)
        self._waiting_bytes += sum(map(len, result.content()))
        if self._waiting_bytes > _COMMIT_BYTES or time.monotonic() - self._last_commit > _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Make the items taken so far durable: first their crops, then their journal lines.

        Raises:
            DataError: the disk is full or fails.
        """
        assert self._writer is not None
        with self._disk_errors():
            for result in self._waiting:
                self._put(self._writer, result)
            self._writer.flush()
            self._append_journal()
        self._waiting, self._waiting_bytes = [], 0
        self._last_commit = time.monotonic()

    def _append_journal(self) -> None:
        with (self.partial / JOURNAL).open("a", encoding="utf-8") as handle:
            handle.writelines(json.dumps(result.record()) + "\n" for result in self._waiting)
            handle.flush()
            os.fsync(handle.fileno())
        for result in self._waiting:
            result.release()
            self.results[result.id] = result

    def publish(self) -> None:
        """Commit and move the finished store into place."""
        assert self._writer is not None
        self.commit()
        with self._disk_errors():
            self._writer.close()
        self._writer = None
        self._base = self.store

    def abort(self) -> None:
        """Stop early: keep what is finished for the next run, as far as the disk still takes it."""
        if self._writer is None:
            return
        try:
            self.commit()
            self._writer.abort()
        except DataError as error:
            logger.warning("{}", error)
        self._writer = None

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, lmdb.Error) as error:
            raise DataError(
                f"Cannot write to {self.partial}: {error}. "
                "What was finished is kept; make room and run the same command."
            ) from error

    def _put(self, writer: StoreWriter | FolderWriter, result: ItemResult) -> None:
        places = self.names.all(result)
        old = self.results.get(result.id)
        for key in {key for keys in (self.names.all(old) if old else ()) for key in keys}.difference(*places):
            writer.remove(key)
        for keys, content in zip(places, result.content(), strict=True):
            for key in keys:
                writer.put(key, self.names.convert(key, content))

    def _find_base(self) -> None:
        """Continue the unfinished store if it has our settings, else the finished one if that has them."""
        found = [(place, read_journal(place)) for place in (self.partial, self.store) if place.exists()]
        for place, journal in found:
            if journal is not None and journal.header.fingerprint == self.header.fingerprint:
                self._base, self.results, self.versions = place, journal.results, journal.header.versions
                return
        for place, journal in found:
            if journal is not None:
                difference = _difference(journal.header.settings, self.header.settings)
                raise DataError(
                    f"{place} was prepared with other settings: {difference}. "
                    "Give another --data for a second store, or --overwrite to replace this one."
                )
            if place == self.store:
                raise DataError(
                    f"{place} exists but was not made by prepare. Give another --data, or --overwrite to replace it."
                )


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return "; ".join(f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in keys) or "the dataset differs"


def _words(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def content_digest(results: Iterable[ItemResult]) -> str:
    """Hash over class, split, frame numbers, boxes and stored bytes of all items: equal copies have equal digests."""
    digest = hashlib.sha256()
    for result in sorted(results, key=lambda result: result.id):
        place = [result.id, result.cls, result.split]
        facts = [*place, result.numbers, result.crops, result.matrices, result.boxes, result.parts, result.digest]
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest()


def write_dataset_index(path: Path, writer: DatasetWriter, meta: Mapping[str, Any]) -> bool:
    """Write the JSON index unless one of the same content is there.

    Items without a stored frame are not in the index (other readers fall over them); ``meta`` lists them.

    Args:
        path: the index file.
        writer: its finished items.
        meta: the ``meta`` block; its parts about the store decide whether the file there is current.

    Returns:
        True when the file was written.
    """
    if _is_current(path, meta):
        return False
    write_index(path, writer.header.dataset, index_records(writer), meta)
    return True


def index_records(writer: DatasetWriter) -> Iterator[VideoRecord]:
    """The finished items that have a stored frame, as index records."""
    return (_index_record(writer, result) for result in writer.results.values() if result.numbers)


def _is_current(path: Path, meta: Mapping[str, Any]) -> bool:
    try:
        there = json.loads(path.read_bytes())["meta"]
        same = ("fingerprint", "content", "counts", "skipped")
        return all(there[key] == meta[key] for key in same) and there.get("tree") == meta.get("tree")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _index_record(writer: DatasetWriter, result: ItemResult) -> VideoRecord:
    extra: dict[str, Any] = {"numbers": result.numbers}
    facts = (("crops", result.crops), ("boxes", result.boxes), ("matrices", result.matrices))
    extra.update({name: values for name, values in facts if values})
    extra["source"] = result.source
    if result.facts:
        extra["facts"] = result.facts
    return VideoRecord(
        writer.header.dataset,
        result.cls,
        result.label,
        result.split,
        result.level,
        result.video,
        tuple(places[0] for places in writer.names.frames(result)),
        extra,
    )
