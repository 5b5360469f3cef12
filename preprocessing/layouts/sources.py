"""Frame sources of single datasets: frames inside HDF5 files, and pictures cut to what is not black."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocessing.video import FrameReader, FrameSource, UnreadableError


@dataclass(frozen=True)
class Hdf5Frame(FrameSource):
    """One colour frame of an HDF5 recording: a group ``Frame_12`` that holds (3, H, W) uint8 RGB. Needs h5py."""

    path: Path
    group: str

    @property
    def files(self) -> tuple[Path, ...]:
        """The recording."""
        return (self.path,)

    def open(self) -> FrameReader:
        """See ``FrameSource.open``."""
        return _Hdf5Reader(self.path, self.group)


class _Hdf5Reader(FrameReader):
    def __init__(self, path: Path, group: str) -> None:
        super().__init__()
        try:
            import h5py  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise UnreadableError("it is an HDF5 file and h5py is not installed (pip install h5py)") from error
        try:
            with h5py.File(path, "r") as file:
                node = file[group]
                array = node if isinstance(node, h5py.Dataset) else next(iter(node.values()))
                self._image = np.asarray(array)
        except (OSError, KeyError, StopIteration) as error:
            raise UnreadableError(f"its frame {group} cannot be read ({error})") from error
        if self._image.dtype != np.uint8 or self._image.ndim != 3 or self._image.shape[0] != 3:
            raise UnreadableError(f"its frame {group} is {self._image.dtype} {self._image.shape}, not (3, H, W) uint8")
        self.count = 1

    def read(self, wanted: Sequence[int] | None) -> Iterator[tuple[int, np.ndarray]]:
        if wanted is None or 0 in wanted:
            yield 0, np.ascontiguousarray(self._image.transpose(1, 2, 0))


@dataclass(frozen=True)
class Trimmed(FrameSource):
    """Another source whose pictures are cut to the part that is not black."""

    inner: FrameSource

    @property
    def files(self) -> tuple[Path, ...]:
        """Files of the inner source."""
        return self.inner.files

    def open(self) -> FrameReader:
        """See ``FrameSource.open``."""
        return _TrimmedReader(self.inner.open())


class _TrimmedReader(FrameReader):
    def __init__(self, inner: FrameReader) -> None:
        super().__init__()
        self._inner = inner
        self.count = inner.count
        self.notes = inner.notes

    def read(self, wanted: Sequence[int] | None) -> Iterator[tuple[int, np.ndarray]]:
        for number, image in self._inner.read(wanted):
            cut = trim_black(image)
            if cut.size:
                yield number, cut
            else:
                self.notes.append(f"picture {number} is black")


def trim_black(image: np.ndarray) -> np.ndarray:
    """The rows and columns from the first to the last that are not black; as published, without the last of each.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (h, w, 3) uint8; empty when nothing would be left.
    """
    rows, columns = np.nonzero(image.any(axis=2))
    if not rows.size:
        return image[:0, :0]
    return np.ascontiguousarray(image[rows.min() : rows.max(), columns.min() : columns.max()])
