"""Development data for datasets that have no val split: a share of the training subjects is kept out of training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from benchmark.data.cards import Word
from benchmark.data.index import VideoRecord
from benchmark.data.readers import Listing, load_word
from benchmark.errors import DataError, EmptySplitError
from benchmark.schema import PathsConfig

Loaded = list[tuple[Word, Listing]]


def training_and_development(
    texts: Iterable[str], share: float, paths: PathsConfig, labels: Mapping[str, int]
) -> tuple[Loaded, Loaded]:
    """Training data and development data of some dataset words.

    A dataset's val split is its development data; where it has none, a share of its training subjects is held out.

    Args:
        texts: dataset words.
        share: see ``hold_out``.
        paths, labels: see ``load_words``.

    Raises:
        DataError: see ``load_words`` and ``hold_out``.
    """
    training: Loaded = []
    development: Loaded = []
    for text in texts:
        word, listing = load_word(text, "train", paths, labels)
        try:
            held = load_word(text, "val", paths, labels)[1]
        except EmptySplitError:
            listing, held = hold_out(word, listing, share)
        training.append((word, listing))
        development.append((word, held))
    return training, development


def hold_out(word: Word, listing: Listing, share: float) -> tuple[Listing, Listing]:
    """Split the training videos of a dataset into what is trained on and what is held out.

    A share of the subjects of each label (at least one) is held out with all their videos, so nobody is on both sides;
    where an index does not name subjects, a video stands for itself. Who is held out depends on the name of a subject:
    not on a seed, not on what else is trained on.

    Args:
        word: the dataset, for messages.
        listing: its train split.
        share: between 0 and 1.

    Returns:
        The part to train on and the part held out.

    Raises:
        DataError: there are no samples of one label, or too few subjects to keep some on both sides.
    """
    chosen = {name for label in (0, 1) for name in _chosen(word, listing.records, label, share)}
    kept = tuple(record for record in listing.records if subject_of(record) not in chosen)
    held = tuple(record for record in listing.records if subject_of(record) in chosen)
    for label in (0, 1):
        if all(record.label != label for record in kept):
            raise DataError(
                f"{word.label}: holding out {share:.0%} of its subjects leaves no {('real', 'fake')[label]} video "
                "to train on. Use more data, or give a validation set: --val DATASET, data.holdout=null."
            )
    return replace(listing, records=kept), replace(listing, records=held)


def _chosen(word: Word, records: Iterable[VideoRecord], label: int, share: float) -> list[str]:
    names = {subject_of(record) for record in records if record.label == label}
    if not names:
        raise DataError(
            f"{word.label} has no {('real', 'fake')[label]} videos, so no development data of that class can be held "
            "out of it. Leave the dataset out, or give a validation set: --val DATASET, data.holdout=null."
        )
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return ranked[: max(1, round(share * len(ranked)))]


def subject_of(record: VideoRecord) -> str:
    """Who is in a video, by the index's facts; the video itself where they do not say."""
    return str(record.extra.get("facts", {}).get("subject") or record.video_id)
