"""The predictions file: everything a metric may look at, one line per scored sample.

CSV with the columns ``dataset,video,frame,label,score``; label 0 real / 1 fake, score = P(fake) in [0, 1]. Files of
other tools can be evaluated the same way. Detectors with several kinds of fakes add ``kind`` (the true one) and a
column ``p(CLASS)`` for every class, the real one first.
"""

from __future__ import annotations

import csv
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
                reader = csv.DictReader(handle)
                missing = set(COLUMNS) - set(reader.fieldnames or ())
                if missing:
                    raise DataError(
                        f"{path}: column {', '.join(sorted(missing))} is missing; needed: {','.join(COLUMNS)}."
                    )
                classes = [name[2:-1] for name in reader.fieldnames or () if name.startswith("p(") and name[-1] == ")"]
                if classes and "kind" not in (reader.fieldnames or ()):
                    raise DataError(f"{path}: has probabilities per class but no column kind with the true ones.")
                lines = list(reader)
                rows = [_parse(row, path, number) for number, row in enumerate(lines, 2)]
                more = [_parse_classes(row, classes, path, number) for number, row in enumerate(lines, 2)]
        except OSError as error:
            raise DataError(f"Cannot read predictions {path}: {error.strerror}.") from error
        seen: set[tuple[str, str, str]] = set()
        for row in rows:
            if row[:3] in seen:
                raise DataError(f"{path}: sample {'/'.join(row[:3])} is listed twice.")
            seen.add(row[:3])
        predictions = cls.from_rows(rows)
        if not classes:
            return predictions
        return predictions.with_classes(classes, [line["kind"] for line in lines], np.array(more))


def _column(name: str) -> str:
    return f"p({name})"


def _parse_classes(row: dict[str, str], classes: Sequence[str], path: Path, line: int) -> list[float]:
    try:
        values = [float(row[_column(name)]) for name in classes]
    except (TypeError, ValueError):
        values = [float("nan")]
    if not all(0.0 <= value <= 1.0 for value in values):
        raise DataError(f"{path}, line {line}: the class probabilities are not all numbers in [0, 1].")
    return values


def _parse(row: dict[str, str], path: Path, line: int) -> tuple[str, str, str, int, float]:
    if row["label"] not in {"0", "1"}:
        raise DataError(f"{path}, line {line}: label '{row['label']}' is not 0 (real) or 1 (fake).")
    try:
        score = float(row["score"])
    except ValueError:
        score = float("nan")
    if not 0.0 <= score <= 1.0:
        raise DataError(f"{path}, line {line}: score '{row['score']}' is not a probability of fake in [0, 1].")
    return row["dataset"], row["video"], row["frame"], int(row["label"]), score
