"""What can be wrong with a dataset: frames, parts, the index itself, its store, counts and labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.data.cards import Word
from benchmark.data.datasets import PARTS, part_key
from benchmark.data.readers import Listing
from benchmark.data.source import ByteSource
from benchmark.data.store import Store
from benchmark.verify.reading import Video
from benchmark.verify.report import Finding


def listed(*, is_problem: bool, title: str, entries: Iterable[str]) -> Iterator[Finding]:
    """One finding about all entries, or none when there are none."""
    found = tuple(entries)
    if found:
        yield Finding(is_problem, title, found)


def reading_findings(videos: Sequence[Video], meta: Mapping[str, Any]) -> Iterator[Finding]:
    """Frames and parts that are missing or unreadable."""
    frames = [(video, frame) for video in videos for frame in video.frames]
    broken = (frame.error for _, frame in frames if frame.error)
    yield from listed(is_problem=True, title="frames missing or unreadable", entries=broken)
    errors = (error for _, frame in frames for error in frame.part_errors)
    yield from listed(is_problem=True, title="broken landmarks, masks or maps", entries=errors)
    promised = _promised(meta)
    for kind in ("landmarks", "mask", "parsing"):
        has = {video.record.cls for video, frame in frames if kind in frame.parts}
        wanted = [
            (video, frame)
            for video, frame in frames
            if not frame.error and (kind in promised or video.record.cls in has) and _may_have(kind, video)
        ]
        lacking = (frame.key for _, frame in wanted if kind not in frame.parts)
        yield from listed(is_problem=kind in promised, title=f"frames without {kind}", entries=lacking)


def _may_have(kind: str, video: Video) -> bool:
    return kind != "mask" or video.record.label == 1


def _promised(meta: Mapping[str, Any]) -> set[str]:
    """Parts that every stored frame has by the settings in the index."""
    settings = meta.get("settings")
    if not isinstance(settings, dict):
        return set()
    landmarks = settings.get("landmarks")
    stored = {"landmarks"} if isinstance(landmarks, dict) and landmarks.get("stored") else set()
    return stored | ({"parsing"} if settings.get("parser") else set())


def index_findings(listing: Listing) -> Iterator[Finding]:
    """What does not agree within the index."""
    yield from listed(is_problem=False, title="entries of the index passed over", entries=listing.skipped)
    counts = listing.meta.get("counts")
    is_whole = "derived_from" not in listing.meta  # an index of a part keeps the counts of the whole
    if isinstance(counts, dict) and "frames" in counts and is_whole:
        frames = sum(len(record.frames) for record in listing.records)
        text = [f"meta.counts says {counts['frames']} frames, the index lists {frames}"]
        entries = text if counts["frames"] != frames else []
        yield from listed(is_problem=True, title="counts do not agree", entries=entries)
    keys = Counter(key for record in listing.records for key in record.frames)
    doubles = (f"{key} ({count} times)" for key, count in keys.items() if count > 1)
    yield from listed(is_problem=False, title="frames listed several times", entries=doubles)


def store_findings(videos: Sequence[Video], listing: Listing) -> Iterator[Finding]:
    """Compare with the stores' own ``meta.json``, where they have one (ours do)."""
    folders = sorted({video.record.frames[0].split("/", 1)[0] for video in videos})
    metas = {folder: meta for folder in folders if (meta := _store_meta(listing.source, folder)) is not None}
    fingerprint = listing.meta.get("fingerprint")
    for folder, path in sorted(metas.items()):
        try:
            there = json.loads(path.read_bytes())
        except ValueError as error:
            yield Finding(True, "the store's meta.json is broken", (f"{path}: {error}",))
            continue
        if fingerprint and there.get("fingerprint") not in (None, fingerprint):
            text = f"{path}: {there.get('fingerprint')}, the index: {fingerprint}"
            yield Finding(True, "store and index were made with other settings", (text,))
        if "derived_from" not in listing.meta and "pruned" not in listing.meta:
            yield from _unused_keys(folder, path.parent, listing)


def _store_meta(source: ByteSource, folder: str) -> Path | None:
    """``meta.json`` of the store or tree of files that holds a dataset folder, if it was made by ``prepare``."""
    places = (root / place for root in source.roots for place in (f"{folder}_lmdb", f"lmdb/{folder}_lmdb", folder))
    metas = (place / "meta.json" for place in places if place.is_dir())
    return next((meta for meta in metas if meta.is_file()), None)


def _unused_keys(folder: str, path: Path, listing: Listing) -> Iterator[Finding]:
    if not (path / "data.mdb").is_file():
        return
    named = {key for record in listing.records for key in record.frames if key.startswith(f"{folder}/")}
    named |= {part_key(key, part) for key in list(named) for part in PARTS}
    unused = (key for key in Store(path).keys() if key.replace("\\", "/") not in named)  # noqa: SIM118 - not a dict
    yield from listed(is_problem=False, title=f"values in {path} that the index does not name", entries=unused)


def balance_findings(videos: Sequence[Video], word: Word) -> Iterator[Finding]:
    """Splits with one label only, and counts against the official release."""
    counts: Counter[tuple[str, str | None, int]] = Counter()
    official: Counter[tuple[str, str | None, int]] = Counter()
    for video in videos:
        record = video.record
        counts[record.split, record.level, record.label] += 1
        if record.label == 0 or not word.card.classes or record.cls in word.card.classes:
            official[record.split, record.level, record.label] += 1
    places = sorted({key[:2] for key in counts}, key=str)
    one_sided = (
        f"{split}{f' at {level}' if level else ''} has no {name} videos"
        for split, level in places
        for label, name in ((0, "real"), (1, "fake"))
        if not counts[split, level, label]
    )
    yield from listed(is_problem=False, title="splits with one label only", entries=one_sided)
    differ = (
        f"{split} {name}{f' at {level}' if level else ''}: {official[split, level, label]} of {number}"
        for split, level in places
        for label, name in ((0, "real"), (1, "fake"))
        if (number := word.card.official.get(f"{split}_{name}")) is not None
        and official[split, level, label] != number
        and word.subset is None
    )
    yield from listed(is_problem=False, title="videos against the official release", entries=differ)
