"""Frames and clips as PyTorch samples.

A sample is a dict: ``image`` (3, S, S) uint8 or ``clip`` (T, 3, S, S) uint8, ``label`` 0 real / 1 fake, ``video``
and ``frame`` (strings), ``index``, ``seed``, ``erase`` (boxes); and, when the detector asks for them, ``parsing``
(S, S) uint8, ``mask`` (1, S, S) uint8 0/255, ``landmarks`` (P, 2) float32 in pixels of the image (with a leading
T for clips). Pixels become floats, normalised, on the device (``transforms.to_input``).
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from benchmark.data.cards import Word
from benchmark.data.decode import decode_image, decode_map, decode_mask
from benchmark.data.index import VideoRecord
from benchmark.data.readers import Listing
from benchmark.data.sample import Augmentation, RawSample
from benchmark.data.sampling import SampleKey
from benchmark.data.source import ByteSource
from benchmark.data.store import decode_landmarks
from benchmark.data.transforms import EvalTransform
from benchmark.errors import DataError
from benchmark.schema import ClipConfig, FrameCount

_PROBED = 8  # videos of a dataset and class in which frames and parts are looked for before a run
PARSER_CLASSES = 11  # LaPa: background, skin, brows, eyes, nose, lips, inner mouth, hair
PARTS = {"parsing": ("parsing", ".png"), "mask": ("masks", ".png"), "landmarks": ("landmarks", ".npy")}


@dataclass(frozen=True)
class Video:
    """One video with its selected frames and the place of their bytes."""

    record: VideoRecord
    frames: tuple[str, ...]
    source: ByteSource
    dataset: str

    @property
    def key(self) -> str:
        """Identity over all datasets, for overlap checks; compression does not make another video."""
        return f"{self.record.frames[0].split('/', 1)[0]}:{self.record.video_id}"


def select_frames(count: int, wanted: FrameCount, rule: str) -> list[int]:
    """Positions of the frames to use among ``count`` frames in order.

    Args:
        count: frames there are.
        wanted: how many, or ``all``.
        rule: ``uniform`` (truncated linspace over the video, both ends included) or ``first``.
    """
    if wanted == "all" or count <= wanted:
        return list(range(count))
    if rule == "first":
        return list(range(wanted))
    return [int(position) for position in np.linspace(0, count - 1, wanted)]


def clip_starts(count: int, length: int, rng: np.random.Generator | None) -> list[int]:
    """First frames of the clips of a video (sta-clip spec 5.2).

    Args:
        count: frames of the video, at least ``length``.
        length: frames per clip.
        rng: draws random starts for training; None gives the fixed starts of evaluation.
    """
    clips = count // length
    if clips <= 1:
        return [int(rng.integers(0, count - length + 1)) if rng else 0]
    step = (count - length) // (clips - 1)
    if rng is None:
        return [i * step for i in range(clips)]
    return [int(rng.integers(i * step, min((i + 1) * step, count - length + 1))) for i in range(clips)]


def select_videos(
    loaded: Iterable[tuple[Word, Listing]],
    frames: FrameCount,
    rule: str,
    real_frames: FrameCount | None = None,
) -> list[Video]:
    """Videos of several datasets with their frames chosen.

    Args:
        loaded: words and listings from ``load_words``.
        frames: frames per video.
        rule: see ``select_frames``.
        real_frames: frames per real video when they differ.
    """
    videos = []
    for word, listing in loaded:
        for record in listing.records:
            wanted = real_frames if real_frames is not None and record.label == 0 else frames
            positions = select_frames(len(record.frames), wanted, rule)
            chosen = tuple(record.frames[i] for i in positions)
            videos.append(Video(record, chosen, listing.source, word.label))
    return videos


def origins(loaded: Iterable[tuple[Word, Listing]]) -> dict[str, Any]:
    """Per dataset word: hash of the index, preprocessing settings, and what was left out of it and why."""
    return {
        word.label: {
            "index_sha256": listing.fingerprint,
            "preprocessing": {key: value for key, value in listing.meta.items() if key != "skipped"},
            "left_out": [*listing.skipped, *map(str, listing.meta.get("skipped", ()))],
        }
        for word, listing in loaded
    }


class FaceDataset(Dataset[dict[str, Any]]):
    """Frames or clips of a list of videos.

    Args:
        videos: see ``select_videos``.
        transform: resize of evaluation, and of whatever size an augmentation leaves.
        augmentation: training augmentation, or None.
        needs: optional parts the detector asks for, out of parsing, mask, landmarks.
        clip: cut clips instead of frames.
        seed: augmentation seed; a sample depends on (seed, epoch, index) only.
        origin: facts about the indexes read, for provenance (see ``origins``).

    Raises:
        DataError: no videos, or the first video of a dataset lacks a needed part.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        transform: EvalTransform,
        *,
        augmentation: Augmentation | None = None,
        needs: frozenset[str] = frozenset(),
        clip: ClipConfig | None = None,
        seed: int = 0,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        if not videos:
            raise DataError("There are no videos to read.")
        self.transform = transform
        self.augmentation = augmentation
        self.parts = sorted(needs & PARTS.keys())
        self.clip = clip
        self.seed = seed
        self.origin = dict(origin or {})
        self.short_videos = 0
        self.videos, self._owner, self._position = self._layout(list(videos))
        self.labels = np.array([self.videos[i].record.label for i in self._owner], dtype=np.int64)
        self._check_first_of_each()

    def __len__(self) -> int:
        return len(self._owner)

    def __getitem__(self, key: SampleKey | int) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        try:
            return self._sample(epoch, index)
        except DataError as error:
            video, frame = self.describe(index)
            return {"index": index, "error": f"{video}/{frame}: {str(error).removesuffix('.')}"}

    def describe(self, index: int) -> tuple[str, str]:
        """Video id and frame (file stem of the first frame for clips) of a sample."""
        video = self.videos[self._owner[index]]
        return video.record.video_id, PurePosixPath(video.frames[self._position[index]]).stem

    def dataset_name(self, index: int) -> str:
        """Dataset word a sample belongs to."""
        return self.videos[self._owner[index]].dataset

    def groups(self, by: str) -> np.ndarray | None:
        """Group of every sample for sampling balanced by ``class``, ``manipulation`` or ``dataset``; None: natural."""
        if by == "class":
            return self.labels
        if by == "manipulation":
            return np.array([self.videos[i].record.cls for i in self._owner])
        if by == "dataset":
            return np.array([self.videos[i].dataset for i in self._owner])
        return None

    def domain_groups(self) -> np.ndarray:
        """``DATASET real`` or ``DATASET fake`` of every sample; every dataset must have both.

        Raises:
            DataError: a dataset has samples of one class only.
        """
        names = np.array([f"{video.dataset} {('real', 'fake')[video.record.label]}" for video in self.videos])
        present = set(names)
        for dataset in sorted({video.dataset for video in self.videos}):
            for label in ("real", "fake"):
                if f"{dataset} {label}" not in present:
                    raise DataError(
                        f"Domain {dataset} has no {label} samples, so its batches cannot be balanced. Leave it out, "
                        "add samples, or set detector.balance_domains=false."
                    )
        return names[self._owner]

    def fingerprint(self) -> str:
        """sha256 over every sample's video, label and frame keys: what a result was computed from."""
        digest = hashlib.sha256()
        for video in self.videos:
            digest.update(f"{video.dataset}|{video.record.video_id}|{video.record.label}|".encode())
            digest.update("|".join(video.frames).encode())
        if self.clip:
            digest.update(f"clip {self.clip.length}".encode())
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """Counts for tables and provenance."""
        classes = Counter(video.record.cls for video in self.videos)
        labels = Counter(video.record.label for video in self.videos)
        return {
            "datasets": sorted({video.dataset for video in self.videos}),
            "videos": len(self.videos),
            "real_videos": labels[0],
            "fake_videos": labels[1],
            "samples": len(self),
            "real_samples": int((self.labels == 0).sum()),
            "fake_samples": int((self.labels == 1).sum()),
            "classes": dict(sorted(classes.items())),
            "short_videos_left_out": self.short_videos,
        }

    def _layout(self, videos: list[Video]) -> tuple[list[Video], np.ndarray, np.ndarray]:
        """Which video and which (first) frame every sample is."""
        if self.clip is None:
            counts = [len(video.frames) for video in videos]
            positions = [np.arange(count) for count in counts]
            return videos, np.repeat(np.arange(len(videos)), counts), np.concatenate(positions)
        kept = [video for video in videos if self._long_enough(video, self.clip)]
        self.short_videos = len(videos) - len(kept)
        if not kept:
            raise DataError(f"No video has the {self.clip.length} frames of a clip; all {len(videos)} are shorter.")
        starts = [clip_starts(max(len(v.frames), self.clip.length), self.clip.length, None) for v in kept]
        owner = np.repeat(np.arange(len(kept)), [len(s) for s in starts])
        return kept, owner, np.concatenate([np.array(s) for s in starts])

    def _long_enough(self, video: Video, clip: ClipConfig) -> bool:
        if len(video.frames) >= clip.length or clip.short_videos == "repeat_last":
            return True
        if clip.short_videos == "error":
            raise DataError(
                f"{video.dataset}: video {video.record.video_id} has {len(video.frames)} frames, fewer than a clip "
                f"of {clip.length}. Set data.clip.short_videos to skip or repeat_last."
            )
        return False

    def _check_first_of_each(self) -> None:
        """Fail before training when a dataset's bytes or needed parts are not there at all.

        A few videos are looked at, so that one missing frame is left to the rules for missing frames.
        """
        firsts: dict[tuple[str, int], list[Video]] = {}
        for video in self.videos:
            firsts.setdefault((video.dataset, video.record.label), []).append(video)
        for (dataset, label), videos in firsts.items():
            source, keys = videos[0].source, [video.frames[0] for video in videos[:_PROBED]]
            if not any(source.has(key) for key in keys):
                source.read(keys[0])  # raises with the places looked at
            for part in self.parts:
                needed = part != "mask" or label == 1  # real frames have no manipulation mask
                if needed and not any(source.has(part_key(key, part)) for key in keys):
                    flag = {"parsing": " --parse", "landmarks": " --landmarks"}.get(part, "")
                    raise DataError(
                        f"Dataset {dataset} has no '{part}' for its frames, which the detector needs (looked for "
                        f"{part_key(keys[0], part)}). Make them: python -m benchmark prepare {dataset}{flag}"
                    )

    def _frame_keys(self, epoch: int, index: int) -> list[str]:
        video = self.videos[self._owner[index]]
        position = int(self._position[index])
        if self.clip is None:
            return [video.frames[position]]
        if self.augmentation is not None:
            position = self._training_start(video, epoch, index)
        keys = video.frames[position : position + self.clip.length]
        return [*keys, *[keys[-1]] * (self.clip.length - len(keys))]

    def _training_start(self, video: Video, epoch: int, index: int) -> int:
        assert self.clip is not None
        draw = epoch if self.clip.resample_each_epoch else 0
        rng = np.random.default_rng((self.seed, draw, zlib.crc32(video.key.encode()), 1))
        starts = clip_starts(max(len(video.frames), self.clip.length), self.clip.length, rng)
        first = int(np.searchsorted(self._owner, self._owner[index]))
        return starts[index - first]

    def _sample(self, epoch: int, index: int) -> dict[str, Any]:
        video = self.videos[self._owner[index]]
        keys = self._frame_keys(epoch, index)
        raw = self._read(video, keys)
        seed = sample_seed(self.seed, epoch, index)
        if self.augmentation is not None:
            raw = self.augmentation(raw, seed)
        raw = self.transform(raw)
        name, frame = self.describe(index)
        sample: dict[str, Any] = {
            "label": raw.label,
            "index": index,
            "video": name,
            "frame": frame,
            "seed": seed,
        }
        sample["erase"] = raw.erase
        pixels = [torch.from_numpy(np.ascontiguousarray(image)).movedim(-1, 0) for image in raw.images]
        sample["image" if self.clip is None else "clip"] = self._stack(pixels)
        if raw.parsing is not None:
            sample["parsing"] = self._stack([torch.from_numpy(np.ascontiguousarray(m)) for m in raw.parsing])
        if raw.masks is not None:
            sample["mask"] = self._stack([torch.from_numpy(np.ascontiguousarray(m))[None] for m in raw.masks])
        if raw.landmarks is not None:
            sample["landmarks"] = self._stack([torch.from_numpy(points.copy()) for points in raw.landmarks])
        return sample

    def _stack(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        return tensors[0] if self.clip is None else torch.stack(tensors)

    def _read(self, video: Video, keys: list[str]) -> RawSample:
        source, label = video.source, video.record.label
        raw = RawSample([decode_image(source.read(key), key) for key in keys], label)
        if "parsing" in self.parts:
            names = [part_key(key, "parsing") for key in keys]
            raw.parsing = [_parsing_map(source.read(name), name) for name in names]
        if "landmarks" in self.parts:
            names = [part_key(key, "landmarks") for key in keys]
            raw.landmarks = [decode_landmarks(source.read(name), name) for name in names]
        if "mask" in self.parts:
            shapes = [image.shape[:2] for image in raw.images]
            names = [part_key(key, "mask") for key in keys]
            raw.masks = [
                np.zeros(shape, np.uint8) if label == 0 else decode_mask(source.read(name), name)
                for name, shape in zip(names, shapes, strict=True)
            ]
        return raw


def _parsing_map(data: bytes, name: str) -> np.ndarray:
    ids = decode_map(data, name)
    if ids.max() >= PARSER_CLASSES:
        raise DataError(
            f"'{name}': class ids go up to {ids.max()}; parsing maps hold LaPa ids 0 to {PARSER_CLASSES - 1}."
        )
    return ids


def part_key(key: str, part: str) -> str:
    """Key of a frame's map, mask or landmarks: the last component ``frames`` and the suffix are replaced."""
    folder, suffix = PARTS[part]
    path = PurePosixPath(key)
    parts = list(path.parts)
    for position in range(len(parts) - 1, -1, -1):
        if parts[position] == "frames":
            parts[position] = folder
            break
    else:
        parts.insert(len(parts) - 1, folder)
    return str(PurePosixPath(*parts).with_suffix(suffix))


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """63-bit seed of one sample in one epoch (splitmix64 of the three numbers)."""
    state = (seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9 + index * 0x94D049BB133111EB + 1) & (2**64 - 1)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = ((state ^ (state >> shift)) * factor) & (2**64 - 1)
    return (state ^ (state >> 31)) >> 1


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Samples to a batch: tensors stacked, strings listed; unreadable samples are moved to ``errors``.

    Returns:
        The batch; without any readable sample it holds only ``errors`` (list of (index, message)).
    """
    errors = [(sample["index"], sample["error"]) for sample in samples if "error" in sample]
    good = [sample for sample in samples if "error" not in sample]
    batch: dict[str, Any] = {"errors": errors}
    for key in good[0] if good else ():
        values = [sample[key] for sample in good]
        if key in {"image", "clip"}:  # pixels stay interleaved in memory, which is what normalising is fast on
            batch[key] = torch.stack([value.movedim(-3, -1) for value in values]).movedim(-1, -3)
        elif isinstance(values[0], torch.Tensor):
            batch[key] = torch.stack(values)
        elif isinstance(values[0], int):
            batch[key] = torch.tensor(values)
        else:
            batch[key] = values
    return batch


def check_overlap(train: Sequence[Video], other: Sequence[Video], what: str) -> None:
    """Refuse evaluation on videos that are trained on.

    Raises:
        DataError: how many overlap, with an example and the switch that permits it.
    """
    trained = {video.key for video in train}
    shared = sorted({video.key for video in other} & trained)
    if shared:
        raise DataError(
            f"{len(shared)} videos are in both the training set and the {what} (first: {shared[0]}), so the number "
            "would not be a generalisation result. Choose other data, or permit it with data.allow_overlap=true."
        )
