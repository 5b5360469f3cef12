"""Reading and decoding everything an index names, on several threads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tqdm import tqdm

from benchmark.data.datasets import PARTS, part_key
from benchmark.data.decode import decode_image, decode_map, decode_mask
from benchmark.data.index import VideoRecord
from benchmark.data.source import ByteSource
from benchmark.data.store import decode_landmarks
from benchmark.errors import DataError

_CHUNK = 4096
_MAX_CLASS_ID = 10


@dataclass
class Frame:
    """What was read of one frame.

    Attributes:
        key: of the frame.
        digest: hash over its bytes; empty when there are none.
        error: why it cannot be used, or an empty string.
        parts: kinds of parts (landmarks, mask, parsing) that are there and readable.
        part_errors: what is wrong with the others.
    """

    key: str
    digest: bytes = b""
    error: str = ""
    parts: tuple[str, ...] = ()
    part_errors: tuple[str, ...] = ()


@dataclass
class Video:
    """A video of the index and what was read of its frames."""

    record: VideoRecord
    frames: list[Frame] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Class, split, level and name."""
        record = self.record
        return "/".join(part for part in (record.cls, record.split, record.level, record.video) if part)


def read_all(videos: Sequence[Video], source: ByteSource, workers: int) -> None:
    """Read every frame and its parts into ``videos``, with a progress bar."""
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


def _kinds_there(videos: Sequence[Video], source: ByteSource) -> frozenset[str]:
    """Kinds of parts that at least one video's first or last frame has; others are not looked for at every frame."""
    ends = [key for video in videos for key in {video.record.frames[0], video.record.frames[-1]}]
    return frozenset(part for part in PARTS if any(source.has(part_key(key, part)) for key in ends))


def _read_frame(key: str, label: int, source: ByteSource, kinds: Iterable[str]) -> Frame:
    frame = Frame(key)
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
