"""Development data for datasets that have no val split: a share of the training subjects is kept out of training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from benchmark.data.cards import Word
from benchmark.data.index import VideoRecord
from benchmark.data.readers import Listing
from benchmark.errors import DataError

Loaded = list[tuple[Word, Listing]]


def hold_out(loaded: Iterable[tuple[Word, Listing]], share: float) -> tuple[Loaded, Loaded]:
    """Split training listings into what is trained on and what is held out.

    Of every dataset, ``share`` of the subjects of each label (at least one) is held out with all their videos, so
    nobody is on both sides; where an index does not name subjects, a video stands for itself. Who is held out depends
    on the subject's name only: not on a seed, not on what else is trained on.

    Args:
        loaded: words and listings of the train split.
        share: between 0 and 1.

    Returns:
        The part to train on and the part held out.

    Raises:
        DataError: a dataset has no samples of one label, or too few subjects to keep some on both sides.
    """
    kept: Loaded = []
    held: Loaded = []
    for word, listing in loaded:
        chosen = {name for label in (0, 1) for name in _chosen(word, listing.records, label, share)}
        parts = _divide(listing.records, chosen)
        for label in (0, 1):
            if all(record.label != label for record in parts[0]):
                raise DataError(
                    f"{word.label}: holding out {share:.0%} of its subjects leaves no {('real', 'fake')[label]} video "
                    "to train on. Use more data, or give a validation set: --val DATASET, data.holdout=null."
                )
        kept.append((word, replace(listing, records=tuple(parts[0]))))
        held.append((word, replace(listing, records=tuple(parts[1]))))
    return kept, held


def _chosen(word: Word, records: Iterable[VideoRecord], label: int, share: float) -> list[str]:
    names = {subject_of(record) for record in records if record.label == label}
    if not names:
        raise DataError(
            f"{word.label} has no {('real', 'fake')[label]} videos, so no development data of that class can be held "
            "out of it. Leave the dataset out, or give a validation set: --val DATASET, data.holdout=null."
        )
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return ranked[: max(1, round(share * len(ranked)))]


def _divide(records: Iterable[VideoRecord], chosen: set[str]) -> tuple[list[VideoRecord], list[VideoRecord]]:
    kept: list[VideoRecord] = []
    held: list[VideoRecord] = []
    for record in records:
        (held if subject_of(record) in chosen else kept).append(record)
    return kept, held


def subject_of(record: VideoRecord) -> str:
    """Who is in a video, by the index's facts; the video itself where they do not say."""
    return str(record.extra.get("facts", {}).get("subject") or record.video_id)
