"""The predictions file: everything a metric may look at, one line per scored sample.

CSV with the columns ``dataset,video,frame,label,score``; label 0 real / 1 fake, score = P(fake) in [0, 1]. Files of
other tools can be evaluated the same way. Detectors with several kinds of fakes add ``kind`` (the true one) and a
column ``p(CLASS)`` for every class, the real one first.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path

import numpy as np

from benchmark.data.store import atomic_write_text
from benchmark.errors import DataError

COLUMNS = ("dataset", "video", "frame", "label", "score")


@dataclass(frozen=True)
class Predictions:
    """Columns of a predictions file.

    Attributes:
        dataset, video, frame: (N,) strings.
        label: (N,) int64, 0 or 1.
        score: (N,) float64, P(fake).
        classes: classes with a probability each, the first one real; empty for a plain score.
        kind: (N,) strings, the true kind of every sample; empty without classes.
        probabilities: (N, C) float64; empty without classes.
    """

    dataset: np.ndarray
    video: np.ndarray
    frame: np.ndarray
    label: np.ndarray
    score: np.ndarray
    classes: tuple[str, ...] = ()
    kind: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=object))
    probabilities: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, str, str, int, float]]) -> Predictions:
        """From (dataset, video, frame, label, score) tuples."""
        columns = list(zip(*rows, strict=True)) or [()] * 5
        text = [np.array(column, dtype=object) for column in columns[:3]]
        return cls(text[0], text[1], text[2], np.array(columns[3], np.int64), np.array(columns[4], np.float64))

    def with_classes(self, classes: Sequence[str], kinds: Sequence[str], probabilities: np.ndarray) -> Predictions:
        """The same with a probability per class (N, C) and the true kind of every sample (N,)."""
        return replace(
            self, classes=tuple(classes), kind=np.array(kinds, dtype=object), probabilities=np.asarray(probabilities)
        )

    def only(self, rows: np.ndarray) -> Predictions:
        """The given rows."""
        part = Predictions(self.dataset[rows], self.video[rows], self.frame[rows], self.label[rows], self.score[rows])
        return part.with_classes(self.classes, self.kind[rows], self.probabilities[rows]) if self.classes else part

    def by_dataset(self) -> dict[str, Predictions]:
        """Its data sets, in first-seen order."""
        if len(set(self.dataset)) == 1:
            return {str(self.dataset[0]): self}
        names = dict.fromkeys(self.dataset)
        return {str(name): self.only(np.flatnonzero(self.dataset == name)) for name in names}

    def write(self, path: Path) -> None:
        """Write the CSV atomically; scores with 9 significant digits (float32 survives the round trip)."""
        buffer = StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow((*COLUMNS, *(("kind", *map(_column, self.classes)) if self.classes else ())))
        rows = zip(self.dataset, self.video, self.frame, self.label.tolist(), self.score.tolist(), strict=True)
        for number, row in enumerate(rows):
            more = (self.kind[number], *(f"{p:.9g}" for p in self.probabilities[number])) if self.classes else ()
            writer.writerow((*row[:4], f"{row[4]:.9g}", *more))
        atomic_write_text(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read and check a predictions file.

        Raises:
            DataError: missing file or column, a label other than 0/1, a score that is no number in [0, 1], or a
                sample listed twice; names the line.
        """
        try:
            with path.open(newline="", encoding="utf-8") as handle:
                reader = csv.reader(handle)
                header = next(reader, [])
                rows = list(reader)
        except OSError as error:
            raise DataError(f"Cannot read predictions {path}: {error.strerror}.") from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path} is not a CSV file in UTF-8 ({error}).") from error
        while rows and not rows[-1]:
            rows.pop()
        classes = [name[2:-1] for name in header if name.startswith("p(") and name.endswith(")")]
        if classes and "kind" not in header:
            raise DataError(f"{path}: has probabilities per class but no column kind with the true ones.")
        more = ("kind", *map(_column, classes)) if classes else ()
        columns = _columns(header, rows, (*COLUMNS, *more), path)
        dataset, video, frame = (np.array(columns[name], object) for name in COLUMNS[:3])
        result = cls(dataset, video, frame, *_numbers(columns, path))
        keys = list(zip(result.dataset, result.video, result.frame, strict=True))
        if len(set(keys)) < len(keys):
            twice = next(key for key, count in Counter(keys).items() if count > 1)
            raise DataError(f"{path}: sample {'/'.join(twice)} is listed twice.")
        if not classes:
            return result
        return result.with_classes(classes, columns["kind"], _class_probabilities(columns, classes, path))


def _column(name: str) -> str:
    return f"p({name})"


def _class_probabilities(columns: dict[str, Sequence[str]], classes: Sequence[str], path: Path) -> np.ndarray:
    """(N, C) float64; the first bad line is named."""
    values = np.array([[_number(text) for text in columns[_column(name)]] for name in classes], np.float64).T
    bad = np.flatnonzero(~((values >= 0.0) & (values <= 1.0)).all(axis=1))
    if len(bad):
        raise DataError(f"{path}, line {bad[0] + 2}: the class probabilities are not all numbers in [0, 1].")
    return values


def _columns(header: list[str], rows: list[list[str]], needed: Sequence[str], path: Path) -> dict[str, Sequence[str]]:
    """Text of the needed columns; others are passed over."""
    missing = set(needed) - set(header)
    if missing:
        raise DataError(f"{path}: column {', '.join(sorted(missing))} is missing; needed: {','.join(needed)}.")
    short = next((number for number, row in enumerate(rows, 2) if len(row) != len(header)), None)
    if short is not None:
        raise DataError(f"{path}, line {short}: {len(rows[short - 2])} values but {len(header)} columns.")
    by_column = list(zip(*rows, strict=True)) or [()] * len(header)
    return {name: by_column[header.index(name)] for name in needed}


def _numbers(columns: dict[str, Sequence[str]], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) int64 and scores (N,) float64; the first bad line is named."""
    for line, text in enumerate(columns["label"], 2):
        if text not in {"0", "1"}:
            raise DataError(f"{path}, line {line}: label '{text}' is not 0 (real) or 1 (fake).")
    scores = np.array([_number(text) for text in columns["score"]], np.float64)
    bad = np.flatnonzero(~((scores >= 0.0) & (scores <= 1.0)))
    if len(bad):
        text = columns["score"][bad[0]]
        raise DataError(f"{path}, line {bad[0] + 2}: score '{text}' is not a probability of fake in [0, 1].")
    return np.array(columns["label"], object).astype(np.int64), scores


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
