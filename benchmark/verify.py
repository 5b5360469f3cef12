"""Re-check a prepared dataset: is every byte that an index promises there, readable, and where it should be?

    python -m benchmark verify CDFv2
    python -m benchmark verify downloads/Celeb-DF-v2.json --data downloads --prune Celeb-DF-v2.pruned.json

Works on any dataset word or path: our stores, DeepfakeBench's LMDB and processed folders, class folders and lists.
A *problem* makes numbers wrong or unfair and gives exit status 1; a *remark* is worth knowing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import ConfigError, DataError

if TYPE_CHECKING:
    from benchmark.data.cards import Word
    from benchmark.data.index import VideoRecord
    from benchmark.data.readers import Listing
    from benchmark.data.source import ByteSource

_SHOWN = 5
_CHUNK = 4096
_MAX_CLASS_ID = 10
_PERSON_FACTS = ("identity", "identities", "subject", "person", "client", "actor", "source_id", "target_id")
_PERSON_NAMES = (re.compile(r"^(\d{3})(?:_(\d{3}))?$"), re.compile(r"^(id\d+)(?:_(id\d+))?_\d+$"))


@dataclass(frozen=True)
class Finding:
    """One kind of thing found.

    Attributes:
        is_problem: it makes numbers wrong or unfair; otherwise it is only worth knowing.
        title: what it is.
        entries: where, in full.
    """

    is_problem: bool
    title: str
    entries: tuple[str, ...]

    def __str__(self) -> str:
        rest = len(self.entries) - _SHOWN
        shown = "; ".join(self.entries[:_SHOWN]) + (f"; ... and {rest} more" if rest > 0 else "")
        return f"{self.title} ({len(self.entries)}): {shown}"


@dataclass(frozen=True)
class Count:
    """Counts of one class in one split at one level."""

    cls: str
    label: int
    split: str
    level: str | None
    videos: int
    frames: int
    bad: int


@dataclass(frozen=True)
class VerifyReport:
    """What ``verify`` found.

    Attributes:
        dataset: word or path as asked for.
        counts: per class, split and level.
        findings: problems first.
        bad_frames: keys that are missing or cannot be decoded.
        parts: stored landmarks, masks and parsing maps that are readable, by kind.
    """

    dataset: str
    counts: tuple[Count, ...]
    findings: tuple[Finding, ...]
    bad_frames: frozenset[str]
    parts: Mapping[str, int]

    @property
    def has_problems(self) -> bool:
        """True when a finding is a problem."""
        return any(finding.is_problem for finding in self.findings)

    def record(self) -> dict[str, Any]:
        """Plain mapping, for ``--json``."""
        return {
            "dataset": self.dataset,
            "ok": not self.has_problems,
            "counts": [vars(count) for count in self.counts],
            "parts": dict(self.parts),
            "findings": [
                {"problem": finding.is_problem, "title": finding.title, "entries": list(finding.entries)}
                for finding in self.findings
            ],
        }


@dataclass
class _Frame:
    """What was read of one frame."""

    key: str
    digest: bytes = b""
    error: str = ""
    parts: tuple[str, ...] = ()
    part_errors: tuple[str, ...] = ()


@dataclass
class _Video:
    record: VideoRecord
    people: frozenset[str]
    frames: list[_Frame] = field(default_factory=list)

    @property
    def name(self) -> str:
        record = self.record
        return "/".join(part for part in (record.cls, record.split, record.level, record.video) if part)


def verify(
    dataset: str,
    *,
    data_dir: Path = Path("data"),
    index_dir: Path = Path("datasets_json"),
    allow_overlap: bool = False,
    workers: int | None = None,
) -> VerifyReport:
    """Read and decode everything a dataset's index names, and compare splits.

    Args:
        dataset: dataset word, or path of an index, list, class folder or card.
        data_dir: folder of stores, or of plain files.
        index_dir: folder of JSON indexes.
        allow_overlap: videos and pictures in several splits are remarks, not problems (UADFV, DFD, DF40, ...).
        workers: threads that read and decode; None for one per core.

    Raises:
        BenchmarkError: no such dataset or index, an unknown label, a path outside the data root.
    """
    from benchmark.data.cards import parse_word

    if workers is not None and workers < 1:
        raise ConfigError(f"--workers {workers} must be at least 1.")
    word = parse_word(dataset, index_dir)
    listing = _list_all(word, data_dir, index_dir)
    facts = _facts(word, data_dir, index_dir)
    videos = [_Video(record, _people(record, facts)) for record in _chosen(word, dataset, listing.records)]
    if not videos:
        raise DataError(f"{dataset}: the index lists no videos.")
    _read_all(videos, listing.source, workers or os.cpu_count() or 1)
    findings = [
        *_reading_findings(videos, listing.meta),
        *_index_findings(listing),
        *_store_findings(videos, listing),
        *_overlap_findings(videos, allow_overlap=allow_overlap),
        *_balance_findings(videos, word),
    ]
    findings.sort(key=lambda finding: not finding.is_problem)
    bad = frozenset(frame.key for video in videos for frame in video.frames if frame.error)
    parts = Counter(part for video in videos for frame in video.frames for part in frame.parts)
    return VerifyReport(dataset, _counts(videos), tuple(findings), bad, parts)


# ------------------------------------------------------------------------------------------- what is to be there


def _list_all(word: Word, data_dir: Path, index_dir: Path) -> Listing:
    """Every record of every split, class and level."""
    from benchmark.config import checked_options
    from benchmark.registry import DATASETS

    reader = DATASETS.get(word.card.reader.name)
    skip = ("word", "paths", "labels")
    options = checked_options(reader, word.card.reader.options, prefix=f"{word.card.name}: reader", skip=skip)
    listing: Listing = reader(word, _paths(data_dir, index_dir), word.card.labels, **options)
    return listing


def _paths(data_dir: Path, index_dir: Path) -> Any:
    from benchmark.schema import PathsConfig

    return PathsConfig(data=data_dir, indexes=index_dir)


def _chosen(word: Word, text: str, records: Iterable[VideoRecord]) -> list[VideoRecord]:
    """The records a word means: all levels unless one is named, all classes unless a subset is."""
    level = word.level if "@" in text else None
    classes = word.card.subsets[word.subset].classes if word.subset else []
    return [
        record
        for record in records
        if (level is None or record.level in (None, level))
        and (not classes or record.label == 0 or record.cls in classes)
    ]


def _index_path(word: Word, data_dir: Path, index_dir: Path) -> Path | None:
    from benchmark.data.readers import find_index

    if word.card.reader.name != "index":
        return None
    file = word.card.reader.options.get("file")
    return Path(str(file)) if file else find_index(word, _paths(data_dir, index_dir))


def _facts(word: Word, data_dir: Path, index_dir: Path) -> Mapping[tuple[str, ...], Mapping[str, Any]]:
    """The ``facts`` that layouts give, by (label, split, level, video); the readers do not carry them."""
    path = _index_path(word, data_dir, index_dir)
    found: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for place, record in _walk(json.loads(path.read_bytes())) if path else ():
        if isinstance(record.get("facts"), dict):
            name = (str(record.get("label", place[0])), *place[1:])
            found[name] = record["facts"]
    return found


def _walk(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """((class, split[, level], video), record) of every video record in an index."""

    def inside(node: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
        if isinstance(node, dict) and isinstance(node.get("frames"), list):
            yield place, node
        elif isinstance(node, dict):
            for name, child in node.items():
                yield from inside(child, (*place, name))

    for name, classes in tree.items():
        if name != "meta":
            yield from inside(classes, ())


def _people(record: VideoRecord, facts: Mapping[tuple[str, ...], Mapping[str, Any]]) -> frozenset[str]:
    """Who is in a video: from the layout's facts, else from names: 519_515 (FF++), id0_id1_0000 (Celeb-DF)."""
    place = (record.cls, record.split, record.level, record.video)
    known = facts.get(tuple(part for part in place if part is not None), {})
    values = [known[name] for name in _PERSON_FACTS if name in known]
    people = {str(person) for value in values for person in (value if isinstance(value, list) else [value])}
    if not people:
        for pattern in _PERSON_NAMES:
            match = pattern.match(record.video)
            people |= {person for person in match.groups() if person} if match else set()
    return frozenset(people)


# ----------------------------------------------------------------------------------------------------- reading


def _read_all(videos: Sequence[_Video], source: ByteSource, workers: int) -> None:
    from tqdm import tqdm

    jobs = [(video, key) for video in videos for key in video.record.frames]
    kinds = _kinds_there(videos, source)
    bar = tqdm(total=len(jobs), unit="frame", disable=None, dynamic_ncols=True)
    with ThreadPoolExecutor(workers) as pool, bar:
        for start in range(0, len(jobs), _CHUNK):
            chunk = jobs[start : start + _CHUNK]
            results = pool.map(lambda job: _read_frame(job[1], job[0].record.label, source, kinds), chunk)
            for (video, _), frame in zip(chunk, results, strict=True):
                video.frames.append(frame)
                bar.update()


def _kinds_there(videos: Sequence[_Video], source: ByteSource) -> frozenset[str]:
    """Kinds of parts that at least one video's first or last frame has; others are not looked for at every frame."""
    from benchmark.data.datasets import PARTS, part_key

    ends = [key for video in videos for key in {video.record.frames[0], video.record.frames[-1]}]
    return frozenset(part for part in PARTS if any(source.has(part_key(key, part)) for key in ends))


def _read_frame(key: str, label: int, source: ByteSource, kinds: Iterable[str]) -> _Frame:
    from benchmark.data.datasets import part_key
    from benchmark.data.decode import decode_image

    frame = _Frame(key)
    try:
        content = source.read(key)
        frame.digest = hashlib.blake2b(content, digest_size=16).digest()
        shape = decode_image(content, key).shape[:2]
    except DataError as error:
        frame.error = str(error)
        return frame
    found, errors = [], []
    for kind in sorted(kinds):
        name = part_key(key, kind)
        if not source.has(name):
            continue
        try:
            _check_part(kind, source.read(name), name, shape)
            found.append(kind)
        except (DataError, ValueError) as error:
            errors.append(f"{name}: {error}")
    frame.parts, frame.part_errors = tuple(found), tuple(errors)
    return frame


def _check_part(kind: str, content: bytes, name: str, shape: tuple[int, ...]) -> None:
    from benchmark.data.decode import decode_map, decode_mask
    from benchmark.data.store import decode_landmarks

    if kind == "landmarks":
        points = decode_landmarks(content, name)
        if points.ndim != 2 or points.shape[1] != 2:
            raise DataError(f"shape {points.shape}, expected (points, 2).")
        return
    values = decode_map(content, name) if kind == "parsing" else decode_mask(content, name)
    if kind == "parsing" and values.max() > _MAX_CLASS_ID:
        raise DataError(f"class ids up to {values.max()}, expected at most {_MAX_CLASS_ID}.")
    if values.shape != tuple(shape):
        raise DataError(f"size {values.shape[1]}x{values.shape[0]}, its frame is {shape[1]}x{shape[0]}.")


# ----------------------------------------------------------------------------------------------------- findings


def _findings(*, is_problem: bool, title: str, entries: Iterable[str]) -> Iterator[Finding]:
    listed = tuple(entries)
    if listed:
        yield Finding(is_problem, title, listed)


def _reading_findings(videos: Sequence[_Video], meta: Mapping[str, Any]) -> Iterator[Finding]:
    frames = [(video, frame) for video in videos for frame in video.frames]
    broken = (frame.error for _, frame in frames if frame.error)
    yield from _findings(is_problem=True, title="frames missing or unreadable", entries=broken)
    errors = (error for _, frame in frames for error in frame.part_errors)
    yield from _findings(is_problem=True, title="broken landmarks, masks or maps", entries=errors)
    promised = _promised(meta)
    for kind in ("landmarks", "mask", "parsing"):
        has = {video.record.cls for video, frame in frames if kind in frame.parts}
        wanted = [
            (video, frame)
            for video, frame in frames
            if not frame.error and (kind in promised or video.record.cls in has) and _may_have(kind, video)
        ]
        lacking = (frame.key for _, frame in wanted if kind not in frame.parts)
        yield from _findings(is_problem=kind in promised, title=f"frames without {kind}", entries=lacking)


def _may_have(kind: str, video: _Video) -> bool:
    return kind != "mask" or video.record.label == 1


def _promised(meta: Mapping[str, Any]) -> set[str]:
    """Parts that every stored frame has by the settings in the index."""
    settings = meta.get("settings")
    if not isinstance(settings, dict):
        return set()
    landmarks = settings.get("landmarks")
    stored = {"landmarks"} if isinstance(landmarks, dict) and landmarks.get("stored") else set()
    return stored | ({"parsing"} if settings.get("parser") else set())


def _index_findings(listing: Listing) -> Iterator[Finding]:
    yield from _findings(is_problem=False, title="entries of the index passed over", entries=listing.skipped)
    counts = listing.meta.get("counts")
    is_whole = "derived_from" not in listing.meta  # an index of a part keeps the counts of the whole
    if isinstance(counts, dict) and "frames" in counts and is_whole:
        frames = sum(len(record.frames) for record in listing.records)
        text = [f"meta.counts says {counts['frames']} frames, the index lists {frames}"]
        entries = text if counts["frames"] != frames else []
        yield from _findings(is_problem=True, title="counts do not agree", entries=entries)
    keys = Counter(key for record in listing.records for key in record.frames)
    doubles = (f"{key} ({count} times)" for key, count in keys.items() if count > 1)
    yield from _findings(is_problem=False, title="frames listed several times", entries=doubles)


def _store_findings(videos: Sequence[_Video], listing: Listing) -> Iterator[Finding]:
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
    from benchmark.data.datasets import PARTS, part_key
    from benchmark.data.store import Store

    if not (path / "data.mdb").is_file():
        return
    named = {key for record in listing.records for key in record.frames if key.startswith(f"{folder}/")}
    named |= {part_key(key, part) for key in list(named) for part in PARTS}
    unused = (key for key in Store(path).keys() if key.replace("\\", "/") not in named)  # noqa: SIM118 - not a dict
    yield from _findings(is_problem=False, title=f"values in {path} that the index does not name", entries=unused)


def _overlap_findings(videos: Sequence[_Video], *, allow_overlap: bool) -> Iterator[Finding]:
    is_problem = not allow_overlap
    shared = _shared(videos, lambda video: {f"{video.record.cls}/{video.record.video}"})
    yield from _findings(is_problem=is_problem, title="videos in several splits", entries=shared)
    people = _shared(videos, lambda video: video.people)
    yield from _findings(is_problem=False, title="people in several splits", entries=people)
    yield from _duplicate_findings(videos, is_problem=is_problem)


def _shared(videos: Sequence[_Video], names: Callable[[_Video], Iterable[str]]) -> Iterator[str]:
    """Pairs of splits that have names in common, with how many and examples."""
    by_split: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        by_split[video.record.split].update(names(video))
    for first, second in combinations(sorted(by_split), 2):
        both = sorted(by_split[first] & by_split[second])
        if both:
            yield f"{first} and {second} share {len(both)}, e.g. {', '.join(both[:3])}"


def _duplicate_findings(videos: Sequence[_Video], *, is_problem: bool) -> Iterator[Finding]:
    """Pictures with equal bytes: between splits, between real and fake, and between videos of one class and split."""
    first: dict[bytes, tuple[_Video, str]] = {}
    lists: dict[str, list[str]] = defaultdict(list)
    for video in videos:
        for frame in video.frames:
            if not frame.digest:
                continue
            other, key = first.setdefault(frame.digest, (video, frame.key))
            if key == frame.key and other.record.split == video.record.split:
                continue
            lists[_duplicate_kind(other, video)].append(f"{key} ({other.name}) = {frame.key} ({video.name})")
    for kind in ("real and fake", "several splits", "several videos", "one video"):
        severe = kind == "real and fake" or (kind == "several splits" and is_problem)
        yield from _findings(is_problem=severe, title=f"equal pictures in {kind}", entries=lists[kind])


def _duplicate_kind(first: _Video, second: _Video) -> str:
    if first.record.label != second.record.label:
        return "real and fake"
    if first.record.split != second.record.split:
        return "several splits"
    return "one video" if first is second else "several videos"


def _balance_findings(videos: Sequence[_Video], word: Word) -> Iterator[Finding]:
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
    yield from _findings(is_problem=False, title="splits with one label only", entries=one_sided)
    differ = (
        f"{split} {name}{f' at {level}' if level else ''}: {official[split, level, label]} of {number}"
        for split, level in places
        for label, name in ((0, "real"), (1, "fake"))
        if (number := word.card.official.get(f"{split}_{name}")) is not None
        and official[split, level, label] != number
        and word.subset is None
    )
    yield from _findings(is_problem=False, title="videos against the official release", entries=differ)


def _counts(videos: Sequence[_Video]) -> tuple[Count, ...]:
    groups: dict[tuple[str, int, str, str | None], list[_Video]] = defaultdict(list)
    for video in videos:
        record = video.record
        groups[record.cls, record.label, record.split, record.level].append(video)
    return tuple(
        Count(
            cls,
            label,
            split,
            level,
            videos=len(group),
            frames=sum(len(video.frames) for video in group),
            bad=sum(bool(frame.error) for video in group for frame in video.frames),
        )
        for (cls, label, split, level), group in sorted(groups.items(), key=lambda item: str(item[0]))
    )


# ------------------------------------------------------------------------------------------------------ pruning


def prune_index(source: Path, target: Path, bad_frames: Iterable[str], folders: Iterable[str] = ()) -> tuple[int, int]:
    """Write an index without frames that are missing or unreadable; videos left without frames go too.

    Args:
        source: the index.
        target: the new file.
        bad_frames: canonical keys, from ``VerifyReport.bad_frames``.
        folders: dataset folders at which absolute paths are cut.

    Returns:
        How many frames and how many whole videos were left out.
    """
    from benchmark.data.index import canonical_key
    from benchmark.data.store import atomic_write_text

    tree = json.loads(source.read_bytes())
    bad, known = set(bad_frames), {*folders, *(name for name in tree if name != "meta")}
    frames = videos = 0
    for _, record in list(_walk(tree)):
        keep = [canonical_key(path, known) not in bad for path in record["frames"]]
        frames += keep.count(False)
        videos += not any(keep)
        size = len(keep)
        for name, values in record.items():
            if isinstance(values, list) and len(values) == size:
                record[name] = [value for value, kept in zip(values, keep, strict=True) if kept]
    _drop_empty(tree)
    meta = tree.setdefault("meta", {})
    meta["pruned"] = {"from": hashlib.sha256(source.read_bytes()).hexdigest(), "frames": frames, "videos": videos}
    if isinstance(meta.get("counts"), dict) and "frames" in meta["counts"]:
        meta["counts"]["frames"] = sum(len(record["frames"]) for _, record in _walk(tree))
    atomic_write_text(target, json.dumps(tree, indent=1, ensure_ascii=False) + "\n")
    return frames, videos


def _drop_empty(node: dict[str, Any]) -> None:
    for name, child in list(node.items()):
        if isinstance(child, dict) and child.get("frames") == []:
            del node[name]
        elif isinstance(child, dict) and name != "meta":
            _drop_empty(child)


# ------------------------------------------------------------------------------------------------- command line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``verify`` on a parser."""
    parser.add_argument("dataset", metavar="DATASET", help="dataset word, or path of an index, list or class folder")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of stores or files (default: data)")
    parser.add_argument("--index", type=Path, default=Path("datasets_json"), help="folder of indexes")
    parser.add_argument("--allow-overlap", action="store_true", help="equal videos in several splits are no problem")
    parser.add_argument("--prune", type=Path, metavar="OUT.json", help="write an index without unreadable frames")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every finding to a file")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one per core)")


def run(args: argparse.Namespace) -> int:
    """Verify as the parsed arguments say and print what was found.

    Returns:
        0 without problems, else 1.

    Raises:
        BenchmarkError: see ``verify``; or --prune on something that is not a JSON index.
    """
    from benchmark.data.cards import parse_word
    from benchmark.data.store import atomic_write_text

    report = verify(
        args.dataset, data_dir=args.data, index_dir=args.index, allow_overlap=args.allow_overlap, workers=args.workers
    )
    print_report(report)
    if args.json:
        atomic_write_text(args.json, json.dumps(report.record(), indent=1, ensure_ascii=False) + "\n")
    if args.prune:
        word = parse_word(args.dataset, args.index)
        source = _index_path(word, args.data, args.index)
        if source is None:
            raise ConfigError(f"--prune works on JSON indexes; {args.dataset} is read as {word.card.reader.name}.")
        frames, videos = prune_index(source, args.prune, report.bad_frames, word.card.folders)
        sys.stdout.write(f"{args.prune}: written without {frames} frames; {videos} videos had none left\n")
    return 1 if report.has_problems else 0


def print_report(report: VerifyReport) -> None:
    """The table of counts, then problems, then remarks."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=report.dataset, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("class", "label", "split", "level"):
        table.add_column(name, no_wrap=True)
    for name in ("videos", "frames", "unreadable"):
        table.add_column(name, justify="right", no_wrap=True)
    for count in report.counts:
        label = ("real", "fake")[count.label]
        numbers = (f"{number:,}" for number in (count.videos, count.frames, count.bad))
        table.add_row(count.cls, label, count.split, count.level or "", *numbers)
    console = Console()
    console.print(table)
    for finding in report.findings:
        head = "[bold red]Problem[/bold red]" if finding.is_problem else "[bold]Remark[/bold]"
        console.print(f"{head}:", end=" ")
        console.print(str(finding), markup=False, highlight=False, soft_wrap=True)
    parts = ", ".join(f"{kind} {number:,}" for kind, number in sorted(report.parts.items()))
    console.print(f"Landmarks, masks and maps read: {parts or 'none'}.", highlight=False)
    verdict = "There are problems." if report.has_problems else "Everything listed is there and readable."
    console.print(verdict, style="bold")
