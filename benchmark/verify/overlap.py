"""What splits share: videos, people, and pictures with equal bytes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations

from benchmark.data.index import VideoRecord
from benchmark.verify.findings import listed
from benchmark.verify.reading import Video
from benchmark.verify.report import Finding

_PERSON_FACTS = ("identity", "identities", "subject", "person", "client", "actor", "source_id", "target_id")
_PERSON_NAMES = (re.compile(r"^(\d{3})(?:_(\d{3}))?$"), re.compile(r"^(id\d+)(?:_(id\d+))?_\d+$"))


def overlap_findings(videos: Sequence[Video], *, allow_overlap: bool) -> Iterator[Finding]:
    """Videos, people and equal pictures in several splits, and equal pictures elsewhere.

    Args:
        videos: with their frames read.
        allow_overlap: videos and pictures in several splits are remarks, not problems.
    """
    is_problem = not allow_overlap
    shared = _shared(videos, lambda video: {f"{video.record.cls}/{video.record.video}"})
    yield from listed(is_problem=is_problem, title="videos in several splits", entries=shared)
    people = _shared(videos, lambda video: people_of(video.record))
    yield from listed(is_problem=False, title="people in several splits", entries=people)
    yield from _duplicate_findings(videos, is_problem=is_problem)


def _shared(videos: Sequence[Video], names: Callable[[Video], Iterable[str]]) -> Iterator[str]:
    """Pairs of splits that have names in common, with how many and examples."""
    by_split: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        by_split[video.record.split].update(names(video))
    for first, second in combinations(sorted(by_split), 2):
        both = sorted(by_split[first] & by_split[second])
        if both:
            yield f"{first} and {second} share {len(both)}, e.g. {', '.join(both[:3])}"


def _duplicate_findings(videos: Sequence[Video], *, is_problem: bool) -> Iterator[Finding]:
    """Pictures with equal bytes: between splits, between real and fake, and between videos of one class and split."""
    first: dict[bytes, tuple[Video, str]] = {}
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
        yield from listed(is_problem=severe, title=f"equal pictures in {kind}", entries=lists[kind])


def _duplicate_kind(first: Video, second: Video) -> str:
    if first.record.label != second.record.label:
        return "real and fake"
    if first.record.split != second.record.split:
        return "several splits"
    return "one video" if first is second else "several videos"


def people_of(record: VideoRecord) -> frozenset[str]:
    """Who is in a video: from the layout's facts, else from names: 519_515 (FF++), id0_id1_0000 (Celeb-DF)."""
    known = record.extra.get("facts", {})
    values = [known[name] for name in _PERSON_FACTS if name in known]
    people = {str(person) for value in values for person in (value if isinstance(value, list) else [value])}
    if not people:
        for pattern in _PERSON_NAMES:
            match = pattern.match(record.video)
            people |= {person for person in match.groups() if person} if match else set()
    return frozenset(people)
