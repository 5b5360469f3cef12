"""JSON frame indexes in DeepfakeBench's layout: read any that are in use, write ours.

Shape A ``{NAME: {CLASS: {SPLIT: {VIDEO: RECORD}}}}``, shape B (FF++ family) with one more level
``{NAME: {CLASS: {SPLIT: {LEVEL: {VIDEO: RECORD}}}}}``. ``RECORD = {"label": str, "frames": [path, ...]}``.
Ours add per-frame lists (``numbers``, ``crops`` or ``matrices``, ``boxes``), ``source`` and ``facts`` to the record,
and a top-level ``meta`` block.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark.data.store import atomic_write_text
from benchmark.errors import DataError

SCHEMA_VERSION = 1
LEVELS = ("raw", "c23", "c40")
SPLITS = ("train", "val", "test")
PER_FRAME_KEYS = ("numbers", "crops", "matrices", "boxes")
WHOLE_VIDEO_KEYS = ("source", "facts")
_STRIPPED_PREFIXES = ("datasets/rgb/", "datasets/", "deepfakes_detection_datasets/")

# DeepfakeBench's label dictionary (base set); everything else falls to the suffix rule of label_of().
LABELS: dict[str, int] = {
    "DFD_real": 0, "DFD_fake": 1,
    "FF-real": 0, "FF-DF": 1, "FF-F2F": 1, "FF-FS": 1, "FF-NT": 1, "FF-FH": 1, "FF-SH": 1,
    "CelebDFv1_real": 0, "CelebDFv1_fake": 1, "CelebDFv2_real": 0, "CelebDFv2_fake": 1,
    "DFDCP_Real": 0, "DFDCP_FakeA": 1, "DFDCP_FakeB": 1, "DFDC_Real": 0, "DFDC_Fake": 1,
    "DF_real": 0, "DF_fake": 1, "UADFV_Real": 0, "UADFV_Fake": 1, "roop_Real": 0, "roop_Fake": 1,
}  # fmt: skip
_REAL_ENDINGS = ("real", "live", "bona_fide", "bonafide")
_FAKE_ENDINGS = ("fake", "spoof", "attack")
_BEGINNINGS = ("real_", "fake_")


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One video (or still image) of a dataset.

    Attributes:
        dataset: name of the dataset, e.g. ``FF++``.
        cls: class string of the index, e.g. ``FF-DF``.
        label: 0 real / bona fide / live, 1 fake / attack.
        split: ``train``, ``val`` or ``test``.
        level: compression level, or None when the dataset has none.
        video: key of the video inside its class.
        frames: canonical slash keys of the frames, in frame order.
        extra: per-frame lists as long as ``frames`` (``numbers`` of the source frames, ``crops`` [x, y, size],
            ``matrices`` of aligned crops, ``boxes`` of all faces found as [left, top, right, bottom]); ``source``, the
            file they come from; ``facts``, further labels of the dataset (identity, attack type, ...).
    """

    dataset: str
    cls: str
    label: int
    split: str
    level: str | None
    video: str
    frames: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def video_id(self) -> str:
        """Identity used for video-level aggregation: unique inside the dataset at one compression level."""
        return f"{self.cls}/{self.video}"


@dataclass(frozen=True)
class Index:
    """A whole index file.

    Attributes:
        path: the file read.
        name: its top key.
        records: every video of every split, class and level.
        meta: the ``meta`` block, empty for foreign files.
        skipped: reasons for entries passed over (empty frame lists, malformed values), with their place.
        fingerprint: sha256 over the file's bytes.
    """

    path: Path
    name: str
    records: tuple[VideoRecord, ...]
    meta: Mapping[str, Any]
    skipped: tuple[str, ...]
    fingerprint: str

    def levels(self) -> list[str]:
        """Compression levels present, in the order raw, c23, c40."""
        present = {record.level for record in self.records}
        return [level for level in LEVELS if level in present]


def label_of(name: str, extra: Mapping[str, int], where: str) -> int:
    """Class string to 0 (real) or 1 (fake).

    Order: ``extra`` (the dataset card's ``labels``), DeepfakeBench's dictionary, then the ending: real, live,
    bona_fide are 0; fake, spoof, attack are 1 (case ignored); then FSFM's beginnings ``real_`` and ``fake_``
    (``fake_four``). Method ids above 1 count as fake.

    Raises:
        DataError: none of these fits.
    """
    if name in extra:
        return min(int(extra[name]), 1)
    if name in LABELS:
        return LABELS[name]
    lowered = name.lower()
    if lowered.endswith(_REAL_ENDINGS):
        return 0
    if lowered.endswith(_FAKE_ENDINGS):
        return 1
    if lowered.startswith(_BEGINNINGS):
        return _BEGINNINGS.index(f"{lowered[:4]}_")
    raise DataError(
        f"{where}: label '{name}' is not known, so it is not clear whether it means real or fake. "
        f"Add one line to the dataset's YAML card:  labels: {{'{name}': 1}}   (0 = real, 1 = fake)"
    )


def canonical_key(path: str, known_folders: Iterable[str] = ()) -> str:
    """Any path style found in published indexes to one slash key that starts at the dataset folder.

    Args:
        path: relative or absolute, Windows or POSIX, with or without ``./datasets/rgb/`` and the like.
        known_folders: dataset folder names; an absolute path is cut to start at the first of them.

    Raises:
        DataError: the path climbs out of the data root (``..``), or is absolute and names no known folder.
    """
    slashed = path.replace("\\", "/")
    parts = [part for part in slashed.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise DataError(f"Path '{path}' leaves the data root ('..'); refused.")
    if slashed.startswith("/") or re.match(r"^[A-Za-z]:", slashed):
        folders = set(known_folders)
        start = next((i for i, part in enumerate(parts) if part in folders), None)
        if start is None:
            raise DataError(
                f"Absolute path '{path}' leaves the data root: no component is a known dataset folder "
                f"({', '.join(sorted(folders)) or 'none known'})."
            )
        return "/".join(parts[start:])
    key = "/".join(parts)
    for prefix in _STRIPPED_PREFIXES:
        key = key.removeprefix(prefix)
    return key


def frame_order(path: str) -> tuple[int, int, str]:
    """Sort key: numeric file stems by number, others after them by natural text."""
    stem = PurePosixPath(path.replace("\\", "/")).stem
    tail = re.search(r"(\d+)$", stem)
    return (0 if stem.isdigit() else 1, int(tail.group(1)) if tail else 0, stem)


def read_index(path: Path, labels: Mapping[str, int] | None = None, folders: Iterable[str] = ()) -> Index:
    """Read an index file of any known shape.

    The last one read is kept, so that many words over one index (subsets, corruptions) parse it once.

    Args:
        path: the JSON file.
        labels: class strings to 0/1 from the dataset card, first in line.
        folders: names at which absolute paths may be cut, besides the top key.

    Raises:
        DataError: missing file, broken JSON, no dataset in it, an unknown label, a path outside the root.
    """
    try:
        facts = path.stat()
    except FileNotFoundError:
        raise DataError(f"No index file at {path}. Make one: python -m benchmark prepare DATASET --root ...") from None
    version = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
    return _parsed_index(path, version, tuple(sorted((labels or {}).items())), tuple(folders))


@functools.lru_cache(maxsize=1)
def _parsed_index(
    path: Path, version: tuple[int, int, int], labels: tuple[tuple[str, int], ...], folders: tuple[str, ...]
) -> Index:
    """The content of an index file; ``version`` makes a changed file another one."""
    try:
        raw = path.read_bytes()
        data = json.loads(raw)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid JSON ({error}).") from error
    name, classes, meta = _top_level(data, path)
    skipped: list[str] = []
    parser = _IndexParser(path, name, dict(labels), {name, *folders}, skipped)
    records = tuple(_distinct(parser.parse(classes), skipped))
    return Index(path, name, records, meta, tuple(skipped), hashlib.sha256(raw).hexdigest())


def _distinct(records: Iterable[tuple[str, VideoRecord]], skipped: list[str]) -> Iterator[VideoRecord]:
    """Records under the names they have in evaluation, where each must be one video.

    Two classes of an index may share a label string (DF40 lists its real videos once per method). The same video listed
    again is passed over and said so; another video of the same name gets its class into its own.

    Args:
        records: class of the index and record.
        skipped: takes what is passed over.
    """
    seen: dict[tuple[str, str, str | None, str], VideoRecord] = {}
    for cls, record in records:
        first = seen.setdefault((record.cls, record.split, record.level, record.video), record)
        if first is record:
            yield record
        elif first.frames == record.frames:
            skipped.append(f"{cls}/{record.split}/{record.video} is listed before under another class")
        else:
            yield replace(record, video=f"{cls}/{record.video}")


def _top_level(data: Any, path: Path) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected an object {{NAME: {{CLASS: ...}}}}, found {type(data).__name__}.")
    meta = data.get("meta", {})
    names = [key for key in data if key != "meta"]
    if len(names) != 1 or not isinstance(data[names[0]], dict):
        raise DataError(f"{path}: expected one dataset at the top, found {names or 'none'}.")
    return names[0], data[names[0]], meta if isinstance(meta, dict) else {}


@dataclass
class _IndexParser:
    path: Path
    name: str
    labels: Mapping[str, int]
    folders: set[str]
    skipped: list[str]

    def parse(self, classes: Mapping[str, Any]) -> Iterable[tuple[str, VideoRecord]]:
        """(class of the index, record) of every video."""
        for cls, splits in classes.items():
            if not isinstance(splits, dict):
                self._skip(cls, "is not an object")
                continue
            for split, content in splits.items():
                if not isinstance(content, dict):
                    self._skip(f"{cls}/{split}", "is not an object")
                elif content and all(key in LEVELS for key in content):
                    for level, videos in content.items():
                        yield from self._videos(cls, split, level, videos)
                else:
                    yield from self._videos(cls, split, None, content)

    def _videos(self, cls: str, split: str, level: str | None, videos: Any) -> Iterable[tuple[str, VideoRecord]]:
        place = "/".join(part for part in (cls, split, level) if part)
        if split not in SPLITS:
            self._skip(place, f"is not a split ({', '.join(SPLITS)})")
            return
        for video, record in videos.items() if isinstance(videos, dict) else ():
            if not isinstance(record, dict):  # DeepfakeBench's DFDC 'val' holds label and frames at this level
                self._skip(f"{place}/{video}", "is not a video record")
                continue
            frames = record.get("frames") or []
            if not frames:
                self._skip(f"{place}/{video}", "has no frames")
                continue
            yield cls, self._record(cls, split, level, video, record, frames)

    def _record(
        self,
        cls: str,
        split: str,
        level: str | None,
        video: str,
        record: Mapping[str, Any],
        frames: list[str],
    ) -> VideoRecord:
        where = f"{self.path}, {cls}/{split}/{video}"
        label_name = str(record.get("label", cls))
        label = label_of(label_name, self.labels, where)
        order = sorted(range(len(frames)), key=lambda i: frame_order(frames[i]))
        try:
            keys = tuple(canonical_key(frames[i], self.folders) for i in order)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        extra: dict[str, Any] = {
            key: tuple(record[key][i] for i in order)
            for key in PER_FRAME_KEYS
            if len(record.get(key, ())) == len(frames)
        }
        extra.update({key: record[key] for key in WHOLE_VIDEO_KEYS if isinstance(record.get(key), dict)})
        return VideoRecord(self.name, label_name, label, split, level, video, keys, extra)

    def _skip(self, place: str, why: str) -> None:
        self.skipped.append(f"{place} {why}")


def write_index(path: Path, name: str, records: Iterable[VideoRecord], meta: Mapping[str, Any]) -> None:
    """Write an index atomically, one video a line, in a fixed order (same records, same bytes).

    Args:
        path: target JSON file.
        name: top key, the dataset's name.
        records: videos; shape B is used for those with a ``level``.
        meta: preprocessing settings and their fingerprint; ``schema`` is added.
    """
    tree: dict[str, Any] = {}
    for record in sorted(records, key=lambda r: (r.cls, SPLITS.index(r.split), r.level or "", r.video)):
        splits = tree.setdefault(record.cls, {split: {} for split in SPLITS})
        videos = splits[record.split]
        if record.level is not None:
            videos = videos.setdefault(record.level, {})
        videos[record.video] = {"label": record.cls, "frames": list(record.frames), **record.extra}
    text = _dump({name: tree, "meta": {"schema": SCHEMA_VERSION, **meta}})
    atomic_write_text(path, text + "\n")


def _dump(value: Any, indent: int = 0) -> str:
    if isinstance(value, dict) and value and "frames" not in value:
        pad = " " * (indent + 1)
        body = ",\n".join(f"{pad}{json.dumps(key)}: {_dump(item, indent + 1)}" for key, item in value.items())
        return "{\n" + body + "\n" + " " * indent + "}"
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def fingerprint_of(settings: Mapping[str, Any]) -> str:
    """Short stable hash of a settings mapping (sorted JSON, sha256, 16 hex digits)."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
