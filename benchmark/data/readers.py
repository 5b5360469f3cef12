"""Ways to list a dataset's videos: a JSON index, a text list of labels, or class folders."""

from __future__ import annotations

import hashlib
import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loguru import logger

from benchmark.config import CONFIG_DIR, checked_options
from benchmark.data.cards import DatasetCard, Word, parse_word
from benchmark.data.index import LEVELS, SPLITS, Index, VideoRecord, frame_order, label_of, read_index
from benchmark.data.source import ByteSource
from benchmark.errors import DataError, EmptySplitError
from benchmark.registry import DATASETS
from benchmark.schema import PathsConfig

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
PACKAGED_INDEXES = CONFIG_DIR.parent / "datasets_json"


@dataclass(frozen=True)
class Listing:
    """What a reader found.

    Attributes:
        records: the videos of all splits asked for.
        source: where their bytes are.
        fingerprint: hash over what was read (index file, list, folder listing).
        meta: preprocessing settings, when known.
        skipped: entries passed over, with the reason.
    """

    records: tuple[VideoRecord, ...]
    source: ByteSource
    fingerprint: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


Reader = Callable[..., Listing]


def load_words(
    texts: Iterable[str], split: str, paths: PathsConfig, labels: Mapping[str, int] | None = None
) -> list[tuple[Word, Listing]]:
    """The videos behind several dataset words, one split of each.

    Raises:
        DataError: a word is not known, its data is missing, or the split is empty.
    """
    return [load_word(text, split, paths, labels or {}) for text in texts]


def load_word(text: str, split: str, paths: PathsConfig, labels: Mapping[str, int]) -> tuple[Word, Listing]:
    """The videos behind one dataset word in one split (see ``load_words``)."""
    return load_parsed(parse_word(text, paths.indexes), split, paths, labels)


def load_parsed(word: Word, split: str, paths: PathsConfig, labels: Mapping[str, int]) -> tuple[Word, Listing]:
    """``load_word`` for a word that was parsed before."""
    reader = DATASETS.get(word.card.reader.name)
    options = checked_options(
        reader, word.card.reader.options, prefix=f"{word.card.name}: reader", skip=("word", "paths", "labels")
    )
    listing = reader(word, paths, {**word.card.labels, **labels}, **options)
    chosen = _choose(word, listing.records, split)
    if not chosen:
        present = Counter(record.split for record in listing.records)
        counts = ", ".join(f"{name} {present.get(name, 0)}" for name in SPLITS)
        raise EmptySplitError(f"{word.label}: the {split} split is empty (videos per split: {counts}).")
    for note in listing.skipped[:3]:
        logger.warning("{}: skipped: {}{}", word.label, note, " ..." if len(listing.skipped) > 3 else "")
    return word, Listing(tuple(chosen), listing.source, listing.fingerprint, listing.meta, listing.skipped)


def _choose(word: Word, records: Iterable[VideoRecord], split: str) -> list[VideoRecord]:
    """Filter by split, level and subset."""
    of_split = [record for record in records if record.split == split]
    levels = {record.level for record in of_split} - {None}
    if levels:
        level = word.level or next(name for name in LEVELS if name in levels)
        if level not in levels:
            there = ", ".join(name for name in LEVELS if name in levels)
            raise DataError(f"{word.label}: compression '{level}' was not prepared; available: {there}.")
        of_split = [record for record in of_split if record.level == level]
    classes = word.card.subsets[word.subset].classes if word.subset else word.card.classes
    if classes:
        of_split = [record for record in of_split if record.label == 0 or record.cls in classes]
    return of_split


@DATASETS.register("index")
def read_json_index(word: Word, paths: PathsConfig, labels: Mapping[str, int], *, file: str | None = None) -> Listing:
    """JSON frame index in DeepfakeBench's layout, frames in LMDB or plain files.

    Args:
        file: path of the index, when it is not found by name.
    """
    path = Path(file) if file else find_index(word, paths)
    index: Index = read_index(path, labels, word.card.folders)
    root = paths.data
    namespace = word.card.name.rpartition("/")[0]  # demo/FF++ keeps its store in data/demo
    roots = [root / namespace, root] if namespace else [root]
    return Listing(index.records, ByteSource(roots), index.fingerprint, index.meta, index.skipped)


def find_index(word: Word, paths: PathsConfig) -> Path:
    """The index file of a word; built first when the card names a builder and the data is absent.

    Raises:
        DataError: no index under any of the names tried.
    """
    card = word.card
    subset_index = card.subsets[word.subset].index if word.subset else None
    stems = [subset_index] if subset_index else [*card.index, card.name]
    if card.builder and not _demo_is_built(card, stems, paths):
        return run_builder(card, paths.data, paths.indexes)
    existing = _existing_index(stems, paths)
    if existing:
        return existing
    tried = ", ".join(str(paths.indexes / f"{stem}.json") for stem in stems)
    raise DataError(
        f"{word.label}: no index found (tried {tried}). Make one: "
        f"python -m benchmark prepare {card.name} --root FOLDER, or copy DeepfakeBench's JSON there."
    )


def run_builder(card: DatasetCard, data: Path, indexes: Path) -> Path:
    """The index that a card's builder makes, or finds up to date; the builder logs what it writes.

    Raises:
        DataError: the card has no builder, or what the builder reads is not there.
    """
    if not card.builder:
        raise DataError(f"{card.name} has no builder.")
    module, _, function = card.builder.partition(":")
    return Path(getattr(importlib.import_module(module), function)(card.name, data, indexes))


def has_index(word: Word, paths: PathsConfig) -> bool:
    """Whether the videos of a word can be listed here and now, without building or downloading anything."""
    card = word.card
    if card.reader.name != "index" or card.reader.options.get("file"):
        return True
    subset_index = card.subsets[word.subset].index if word.subset else None
    return _existing_index([subset_index] if subset_index else [*card.index, card.name], paths) is not None


def _existing_index(stems: Iterable[str], paths: PathsConfig) -> Path | None:
    for folder in (paths.indexes, PACKAGED_INDEXES):
        for stem in stems:
            if (folder / f"{stem}.json").is_file():
                return folder / f"{stem}.json"
    return None


def _demo_is_built(card: DatasetCard, stems: list[str], paths: PathsConfig) -> bool:
    store = paths.data / f"{card.name}_lmdb" / "data.mdb"
    return store.is_file() and any((paths.indexes / f"{stem}.json").is_file() for stem in stems)


@DATASETS.register("list")
def read_label_list(
    word: Word,
    paths: PathsConfig,
    labels: Mapping[str, int],
    *,
    files: str | dict[str, str],
    root: str = "",
    delimiter: str = " ",
    classes: dict[str, int] | None = None,
) -> Listing:
    """Text file with one ``path<delimiter>label`` a line (FSFM's train.txt / val.txt / test.txt).

    Args:
        files: one file for every split, or {train: .., val: .., test: ..}.
        root: folder the paths are relative to; default: the list's own folder.
        delimiter: text between path and label; the last one in the line counts.
        classes: meaning of the labels in the file; default {0: 0, 1: 1} (0 real, 1 fake). FSFM's own lists have
            fake = 0, so they need {0: 1, 1: 0}.
    """
    by_split = dict.fromkeys(SPLITS, files) if isinstance(files, str) else files
    meaning = {str(key): int(value) for key, value in (classes or {"0": 0, "1": 1}).items()}
    records: list[VideoRecord] = []
    digest = hashlib.sha256()
    base = Path(root) if root else Path(next(iter(by_split.values()))).parent
    for split, file in by_split.items():
        rows = _list_rows(Path(file), delimiter, meaning)
        digest.update(Path(file).read_bytes())
        records += group_by_video(word.card.name, split, rows)
    return Listing(tuple(records), ByteSource([base]), digest.hexdigest(), {"list": str(by_split)})


def _list_rows(path: Path, delimiter: str, meaning: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """(key, class string, label) per line."""
    if not path.is_file():
        raise DataError(f"No label list at {path}.")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        key, found, label = line.strip().rpartition(delimiter)
        if not found or label.strip() not in meaning:
            raise DataError(
                f"{path}, line {number}: expected 'path{delimiter}label' with label in {sorted(meaning)}, "
                f"found '{line.strip()[:120]}'."
            )
        value = meaning[label.strip()]
        key = key.replace("\\", "/").strip()
        if ".." in key.split("/"):
            raise DataError(f"{path}, line {number}: path '{key}' leaves the data root ('..'); refused.")
        rows.append((key.lstrip("/"), "fake" if value else "real", value))
    return rows


@DATASETS.register("folder")
def read_class_folders(
    word: Word,
    paths: PathsConfig,
    labels: Mapping[str, int],
    *,
    root: str,
    classes: dict[str, int] | None = None,
) -> Listing:
    """Class folders of images: ``root/[train|val|test/]CLASS/**/*.png``.

    Args:
        root: the folder.
        classes: class folder names with their meaning (0 real, 1 fake); default: by name (see ``label_of``), never by
            alphabetical order.
    """
    base = Path(root)
    if not base.is_dir():
        raise DataError(f"{word.card.name}: no folder at {base}.")
    splits = [name for name in SPLITS if (base / name).is_dir()]
    records: list[VideoRecord] = []
    for split in splits or list(SPLITS):
        top = base / split if splits else base
        for folder in sorted(path for path in top.iterdir() if path.is_dir()):
            label = label_of(folder.name, {**labels, **(classes or {})}, str(folder))
            images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            rows = [(path.relative_to(base).as_posix(), folder.name, label) for path in images]
            records += group_by_video(word.card.name, split, rows)
    digest = hashlib.sha256("\n".join(key for record in records for key in record.frames).encode())
    return Listing(tuple(records), ByteSource([base]), digest.hexdigest(), {"folder": str(base)})


@DATASETS.register("parsed_faces")
def read_parsed_faces(word: Word, paths: PathsConfig, labels: Mapping[str, int], *, root: str) -> Listing:
    """FSFM's pre-training folders ``images/A.png`` with ``parsing_maps/A.npy``: unlabelled real faces to train on.

    Args:
        root: the folder that holds both.
    """
    base = Path(root)
    if not (base / "images").is_dir():
        raise DataError(f"{word.card.name}: no folder at {base / 'images'}.")
    files = sorted(path.name for path in (base / "images").iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    videos: dict[str, list[str]] = {}
    for file in files:  # millions of still images become one record, frames of videos one each
        videos.setdefault(video_name(file) if "_frame_" in file else base.name, []).append(f"images/{file}")
    cls = f"{word.card.name}_real"
    records = tuple(
        VideoRecord(word.card.name, cls, 0, "train", None, video, tuple(sorted(keys, key=frame_order)))
        for video, keys in videos.items()
    )
    digest = hashlib.sha256("\n".join(files).encode())
    return Listing(records, ByteSource([base]), digest.hexdigest(), {"folder": str(base)})


def group_by_video(dataset: str, split: str, rows: Iterable[tuple[str, str, int]]) -> list[VideoRecord]:
    """Frames to videos by FSFM's file-name rule (see ``video_name``), never across classes.

    Args:
        rows: (key, class string, label) per frame.
    """
    videos: dict[tuple[str, str], tuple[int, list[str]]] = {}
    for key, cls, label in rows:
        file = key.rpartition("/")[2]
        identity = (cls, video_name(file))
        if "_frame_" not in file:  # a still image, or frames kept in one folder per video
            identity = (cls, key)
        known, keys = videos.setdefault(identity, (label, []))
        assert known == label
        keys.append(key)
    return [
        VideoRecord(dataset, cls, label, split, None, name, tuple(sorted(keys, key=frame_order)))
        for (cls, name), (label, keys) in videos.items()
    ]


def video_name(file: str) -> str:
    """Video id of an FSFM frame file ``{video}_frame_{index}.png``: the part before the first ``_frame_``.

    A name without that separator is its own video id, extension included.
    """
    return file.rpartition("/")[2].partition("_frame_")[0]
