"""Frames out of files, decoded in order.

A frame's number is its position in decoding order, from 0. Files are read from the start without seeking, because
seeking lands on other frames with other decoders. What is odd about a file becomes a note of its reader.
"""

from __future__ import annotations

import hashlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The libraries print their own complaints about broken files; ours are in the report, with the file's name.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import cv2
import numpy as np

from benchmark.errors import DataError

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})


class UnreadableError(DataError):
    """No frame can be had from a source. The message is the reason only; the caller knows which source."""


class FrameReader(ABC):
    """An opened source.

    Attributes:
        count: frames the source announces (a container's header can be wrong).
        notes: what was odd about the source, complete once reading has ended.
        facts: what is worth keeping about the source although nothing is wrong, such as ``rotation`` in degrees.
        rate: frames per second that a video announces; 0 where there is no such thing.
    """

    def __init__(self) -> None:
        self.count = 0
        self.rate = 0.0
        self.notes: list[str] = []
        self.facts: dict[str, Any] = {}

    @abstractmethod
    def read(self, wanted: Sequence[int] | None) -> Iterator[tuple[int, np.ndarray]]:
        """Decode the wanted frames in rising order.

        Args:
            wanted: rising frame numbers, or None for every frame up to the true end.

        Yields:
            (number, image) with image (H, W, 3) uint8 RGB. A frame that cannot be decoded is left out.
        """


class FrameSource(ABC):
    """Where the frames of one item come from: a small picklable description that opens nothing until asked."""

    @property
    @abstractmethod
    def files(self) -> tuple[Path, ...]:
        """Every file read, in order; size and hash of the source are taken over them."""

    @abstractmethod
    def open(self) -> FrameReader:
        """Start reading.

        Raises:
            UnreadableError: no frame can be had at all.
        """

    def size(self) -> int:
        """Bytes of all files together."""
        return sum(path.stat().st_size for path in self.files)

    def sha256(self) -> str:
        """Hash over the bytes of all files, in order, as hex."""
        digest = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as handle:
                while block := handle.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


@dataclass(frozen=True)
class VideoFile(FrameSource):
    """One video file in any container OpenCV's FFmpeg reads."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The video file itself."""
        return (self.path,)

    def open(self) -> FrameReader:
        """See ``FrameSource.open``."""
        return _VideoReader(self.path)


@dataclass(frozen=True)
class ImageFiles(FrameSource):
    """A still image, or images that are the frames of one video; the number is the position in the list."""

    paths: tuple[Path, ...] = field(default=())

    @property
    def files(self) -> tuple[Path, ...]:
        """The image files."""
        return self.paths

    def open(self) -> FrameReader:
        """See ``FrameSource.open``."""
        return _ImageReader(self.paths)


class _VideoReader(FrameReader):
    def __init__(self, path: Path) -> None:
        super().__init__()
        if path.stat().st_size == 0:
            raise UnreadableError("the file is empty (0 bytes)")
        self._capture = _open_video(path)
        self.count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.rate = max(float(self._capture.get(cv2.CAP_PROP_FPS)), 0.0)
        rotation = int(self._capture.get(cv2.CAP_PROP_ORIENTATION_META))
        if rotation:
            self.facts["rotation"] = rotation  # telephones; OpenCV turns the frames upright
        if self.count <= 0:
            self.count = self._count_by_decoding()
            self._capture = _open_video(path)
            self.notes.append(f"the header gives no frame count; {self.count} frames counted by decoding")

    def read(self, wanted: Sequence[int] | None) -> Iterator[tuple[int, np.ndarray]]:
        keep = None if wanted is None else set(wanted)
        end = float("inf") if wanted is None else max(wanted, default=-1) + 1
        position = 0
        while position < end and self._capture.grab():
            if keep is None or position in keep:
                is_decoded, bgr = self._capture.retrieve()
                if is_decoded:
                    yield position, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            position += 1
        self._compare_with_header(position, has_ended=position < end)

    def _compare_with_header(self, position: int, *, has_ended: bool) -> None:
        """Note a header that announces more or fewer frames than can be decoded, as far as was read."""
        if not has_ended and position == self.count:
            while self._capture.grab():
                position += 1
        if position > self.count or (has_ended and position < self.count):
            self.notes.append(f"the header announces {self.count} frames, {position} can be decoded")

    def _count_by_decoding(self) -> int:
        count = 0
        while self._capture.grab():
            count += 1
        if count == 0:
            raise UnreadableError("it has no frame that can be decoded")
        return count


def _open_video(path: Path) -> cv2.VideoCapture:
    # One decoding thread: the pool uses the cores, and damaged streams then decode the same way every time.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise UnreadableError("it cannot be opened as a video (truncated download, or not a video)")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # the default of recent versions only
    return capture


class _ImageReader(FrameReader):
    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._paths = paths
        self.count = len(paths)
        if not paths:
            raise UnreadableError("it has no images")

    def read(self, wanted: Sequence[int] | None) -> Iterator[tuple[int, np.ndarray]]:
        for number in range(self.count) if wanted is None else wanted:
            path = self._paths[number]
            content = np.frombuffer(path.read_bytes(), np.uint8)
            bgr = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
            if bgr is None:
                self.notes.append(f"{path.name} is not a readable image ({content.size} bytes)")
            else:
                yield number, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def decoder_versions() -> dict[str, str]:
    """Versions of what turns files into pixels; other versions may give other pixels."""
    found = re.search(r"avcodec:\s+YES \(([\d.]+)\)", cv2.getBuildInformation())
    return {"opencv": cv2.__version__, "avcodec": found[1] if found else "unknown"}
