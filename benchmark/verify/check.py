"""The whole check of one dataset."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmark.config import checked_options
from benchmark.data.cards import Word, parse_word
from benchmark.data.index import VideoRecord
from benchmark.data.readers import Listing, find_index
from benchmark.errors import ConfigError, DataError
from benchmark.registry import DATASETS
from benchmark.schema import PathsConfig
from benchmark.verify.findings import balance_findings, index_findings, reading_findings, store_findings
from benchmark.verify.overlap import overlap_findings
from benchmark.verify.reading import Video, read_all
from benchmark.verify.report import Count, VerifyReport


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
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers {workers} must be at least 1.")
    word = parse_word(dataset, index_dir)
    listing = _list_all(word, data_dir, index_dir)
    videos = [Video(record) for record in _chosen(word, dataset, listing.records)]
    if not videos:
        raise DataError(f"{dataset}: the index lists no videos.")
    read_all(videos, listing.source, workers or os.cpu_count() or 1)
    findings = [
        *reading_findings(videos, listing.meta),
        *index_findings(listing),
        *store_findings(videos, listing),
        *overlap_findings(videos, allow_overlap=allow_overlap),
        *balance_findings(videos, word),
    ]
    findings.sort(key=lambda finding: not finding.is_problem)
    bad = frozenset(frame.key for video in videos for frame in video.frames if frame.error)
    parts = Counter(part for video in videos for frame in video.frames for part in frame.parts)
    return VerifyReport(dataset, _counts(videos), tuple(findings), bad, parts)


def _list_all(word: Word, data_dir: Path, index_dir: Path) -> Listing:
    """Every record of every split, class and level."""
    reader = DATASETS.get(word.card.reader.name)
    skip = ("word", "paths", "labels")
    options = checked_options(reader, word.card.reader.options, prefix=f"{word.card.name}: reader", skip=skip)
    listing: Listing = reader(word, _paths(data_dir, index_dir), word.card.labels, **options)
    return listing


def _paths(data_dir: Path, index_dir: Path) -> PathsConfig:
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


def index_path(word: Word, data_dir: Path, index_dir: Path) -> Path | None:
    """The index file behind a word, or None when it is read otherwise."""
    if word.card.reader.name != "index":
        return None
    file = word.card.reader.options.get("file")
    return Path(str(file)) if file else find_index(word, _paths(data_dir, index_dir))


def _counts(videos: Sequence[Video]) -> tuple[Count, ...]:
    groups: dict[tuple[str, int, str, str | None], list[Video]] = defaultdict(list)
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
