"""Frames and clips as PyTorch samples.

A sample is a dict: ``image`` (3, S, S) uint8 or ``clip`` (T, 3, S, S) uint8, ``label`` 0 real / 1 fake, ``kind``
(``real`` or what kind of fake, None when the card does not say), ``video`` and ``frame`` (strings), ``index``,
``seed``, ``erase`` (boxes); and, when the detector asks for them, ``parsing`` (S, S) uint8, ``mask`` (1, S, S) uint8
0/255, ``landmarks`` (P, 2) float32 in pixels of the image (with a leading T for clips). Pixels become floats,
normalised, on the device (``transforms.to_input``).
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

from benchmark.data.cards import REAL_KIND, Word
from benchmark.data.corruptions import Corruption, corrupt_sample
from benchmark.data.decode import decode_image, decode_map, decode_mask
from benchmark.data.index import VideoRecord
from benchmark.data.readers import Listing
from benchmark.data.sample import Augmentation, Forger, RawSample
from benchmark.data.sampling import BatchPlan, PairedPlan, SampleKey, ShuffledPlan
from benchmark.data.source import ByteSource
from benchmark.data.store import decode_landmarks
from benchmark.data.transforms import EvalTransform
from benchmark.errors import ConfigError, DataError
from benchmark.schema import ClipConfig, FrameCount

_PROBED = 8  # videos of a dataset and class in which frames and parts are looked for before a run
PARSER_CLASSES = 11  # LaPa: background, skin, brows, eyes, nose, lips, inner mouth, hair
PARTS = {"parsing": ("parsing", ".png"), "mask": ("masks", ".png"), "landmarks": ("landmarks", ".npy")}


@dataclass(frozen=True)
class Video:
    """One video with its selected frames and the place of their bytes.

    Attributes:
        record: its entry in the index.
        frames: keys of the frames used.
        source: where their bytes are.
        dataset: dataset word it belongs to.
        kind: ``real``, or what kind of fake it is (deepfake, diffusion, spoof); None when its card does not say.
        is_short: it has fewer frames than were asked for; all of them are used.
    """

    record: VideoRecord
    frames: tuple[str, ...]
    source: ByteSource
    dataset: str
    kind: str | None = None
    is_short: bool = False

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
            kind = word.card.kind_of(record.cls, record.label)
            is_short = wanted != "all" and len(chosen) < wanted
            videos.append(Video(record, chosen, listing.source, word.label, kind, is_short))
    return videos


def corruptions_of(loaded: Iterable[tuple[Word, Listing]]) -> dict[str, Corruption]:
    """By dataset word, the corruption it asks for."""
    return {word.label: Corruption.parse(word.corruption) for word, _ in loaded if word.corruption}


def videos_fingerprint(videos: Iterable[Video], clip: ClipConfig | None = None) -> str:
    """sha256 over every sample's video, label and frame keys: what a result was computed from."""
    digest = hashlib.sha256()
    for video in videos:
        digest.update(f"{video.dataset}|{video.record.video_id}|{video.record.label}|".encode())
        digest.update("|".join(video.frames).encode())
    if clip:
        digest.update(f"clip {clip.length}".encode())
    return digest.hexdigest()


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
        augmentation: training augmentation, or None. A ``Forger`` adds a forged twin of every real sample; their
            indices follow those of the samples of the data.
        needs: optional parts the detector asks for, out of parsing, mask, landmarks.
        clip: cut clips instead of frames.
        seed: seed of augmentation and clip starts; a sample depends on (seed, epoch, index) only.
        origin: facts about the indexes read, for provenance (see ``origins``).
        corruptions: by dataset word, what is done to its frames before anything else (evaluation only).

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
        corruptions: Mapping[str, Corruption] | None = None,
    ) -> None:
        if not videos:
            raise DataError("There are no videos to read.")
        self.transform = transform
        self.augmentation = augmentation
        self.forger = augmentation if isinstance(augmentation, Forger) else None
        self.parts = needs & PARTS.keys()
        self.clip = clip
        self.seed = seed
        self.origin = dict(origin or {})
        self.corruptions = dict(corruptions or {})
        self.short_videos = 0
        self.videos, self._owner, self._position = self._layout(self._without_unused_fakes(list(videos)))
        self.labels = np.array([self.videos[i].record.label for i in self._owner], dtype=np.int64)
        self._forged_from = np.flatnonzero(self.labels == 0) if self.forger else np.empty(0, np.int64)
        self.labels = np.append(self.labels, np.ones_like(self._forged_from))
        self._check_first_of_each()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: SampleKey | int) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        try:
            return self._sample(epoch, index)
        except DataError as error:
            video, frame = self.describe(index)
            return {"index": index, "error": f"{video}/{frame}: {str(error).removesuffix('.')}"}

    def describe(self, index: int) -> tuple[str, str]:
        """Video id (``..._fake`` for a forged twin) and frame (file stem of the first frame for clips) of a sample."""
        original = self.original(index)
        video = self.videos[self._owner[original]]
        name = video.record.video_id + ("_fake" if original != index else "")
        return name, PurePosixPath(video.frames[self._position[original]]).stem

    def dataset_name(self, index: int) -> str:
        """Dataset word a sample belongs to."""
        return self.videos[self._owner[self.original(index)]].dataset

    def original(self, index: int) -> int:
        """The real sample that a forged twin is made of; any other sample itself."""
        return index if index < len(self._owner) else int(self._forged_from[index - len(self._owner)])

    def default_plan(self, batch_size: int, seed: int, balance: str) -> BatchPlan:
        """Sample order of a method without one of its own: pairs with a ``Forger``, else shuffled and balanced.

        Args:
            batch_size: samples per global batch.
            seed: order seed.
            balance: ``data.balance``, see ``groups``.

        Raises:
            ConfigError: ``data.balance`` with a forger, whose batches are half real already.
            TrainingError: see ``ShuffledPlan`` and ``PairedPlan``.
        """
        if self.forger is None:
            return ShuffledPlan(len(self), batch_size, seed, self.groups(balance))
        if balance != "natural":
            raise ConfigError(
                f"data.balance={balance} has no effect here: the augmentation forges twins of the real samples, and "
                "half of every batch is real. Remove it."
            )
        twins = np.arange(len(self._owner), len(self))
        fakes = np.flatnonzero(self.labels[: len(self._owner)] == 1)
        return PairedPlan(self._forged_from, twins, fakes, self.forger.forged_share, batch_size, seed)

    def groups(self, by: str) -> np.ndarray | None:
        """Group of every sample for sampling balanced by class, manipulation, kind or dataset; None: natural."""
        if by == "class":
            return self.labels
        if by == "manipulation":
            names = np.array([self.videos[i].record.cls for i in self._owner])
            return np.append(names, np.full(len(self._forged_from), "forged"))
        if by == "kind":
            return np.array([self.kind_name(i) or "" for i in range(len(self))])
        if by == "dataset":
            return np.array([self.dataset_name(i) for i in range(len(self))])
        return None

    def kind_name(self, index: int) -> str | None:
        """``real``, or what kind of fake a sample is; None when its dataset's card does not say."""
        return _kind_after(self.videos[self._owner[self.original(index)]], int(self.labels[index]))

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
        twins = [f"{self.videos[self._owner[i]].dataset} fake" for i in self._forged_from]
        return np.append(names[self._owner], np.array(twins, dtype=names.dtype))

    def fingerprint(self) -> str:
        """See ``videos_fingerprint``; clip starts drawn at random count too."""
        names = videos_fingerprint(self.videos, self.clip)
        if self.clip is None or self.clip.eval_starts != "random":
            return names
        return hashlib.sha256(names.encode() + self._position.tobytes()).hexdigest()

    def identity(self) -> str:
        """sha256 over ``fingerprint`` and the indexes read (their hash covers the preprocessing settings)."""
        indexes = [f"{word}|{facts['index_sha256']}" for word, facts in sorted(self.origin.items())]
        return hashlib.sha256("|".join([self.fingerprint(), *indexes]).encode()).hexdigest()

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
            "forged_samples": len(self._forged_from),
            "classes": dict(sorted(classes.items())),
            "short_videos_left_out": self.short_videos,
            "videos_with_fewer_frames": sum(video.is_short for video in self.videos),
        }

    def _without_unused_fakes(self, videos: list[Video]) -> list[Video]:
        if self.forger is None or self.forger.forged_share < 1:
            return videos
        reals = [video for video in videos if video.record.label == 0]
        if not reals:
            raise DataError("There are no real videos, and the augmentation makes its fakes out of real ones.")
        return reals

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
        draw = 0 if self.clip.eval_starts == "random" else None
        starts = [self._starts(video, self.clip, draw) for video in kept]
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
            for part in sorted(self._parts_of(label)):
                needed = part != "mask" or label == 1  # real frames have no manipulation mask
                if needed and not any(source.has(part_key(key, part)) for key in keys):
                    flag = {"parsing": " --parse", "landmarks": " --landmarks"}.get(part, "")
                    who = "detector" if part in self.parts else "augmentation"
                    raise DataError(
                        f"Dataset {dataset} has no '{part}' for its frames, which the {who} needs (looked for "
                        f"{part_key(keys[0], part)}). Make them: python -m benchmark prepare {dataset}{flag}"
                    )

    def _parts_of(self, label: int) -> frozenset[str]:
        """Parts that are read of the real (0) or fake (1) samples of the data."""
        return self.parts | self.forger.needs if self.forger and label == 0 else self.parts

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
        starts = self._starts(video, self.clip, epoch if self.clip.resample_each_epoch else 0)
        first = int(np.searchsorted(self._owner, self._owner[index]))
        return starts[index - first]

    def _starts(self, video: Video, clip: ClipConfig, draw: int | None) -> list[int]:
        """First frames of a video's clips: the ``draw``-th random ones, or None for the fixed ones."""
        rng = None if draw is None else np.random.default_rng((self.seed, draw, zlib.crc32(video.key.encode()), 1))
        return clip_starts(max(len(video.frames), clip.length), clip.length, rng)

    def _sample(self, epoch: int, index: int) -> dict[str, Any]:
        original = self.original(index)
        video, keys = self.videos[self._owner[original]], self._frame_keys(epoch, original)
        raw = self._read(video, keys)
        if video.dataset in self.corruptions:
            raw = corrupt_sample(raw, self.corruptions[video.dataset], keys)
        seed = sample_seed(self.seed, epoch, original)
        if self.forger is not None and original != index:
            raw = self.forger.forge(raw, seed)
        elif self.augmentation is not None:
            raw = self.augmentation(raw, seed)
        raw = self.transform(raw)
        name, frame = self.describe(index)
        sample: dict[str, Any] = {
            "label": raw.label,
            "index": index,
            "video": name,
            "frame": frame,
            "kind": _kind_after(video, raw.label),
            "seed": seed,
        }
        sample["erase"] = raw.erase
        pixels = [torch.from_numpy(np.ascontiguousarray(image)).movedim(-1, 0) for image in raw.images]
        sample["image" if self.clip is None else "clip"] = self._stack(pixels)
        if raw.parsing is not None and "parsing" in self.parts:
            sample["parsing"] = self._stack([torch.from_numpy(np.ascontiguousarray(m)) for m in raw.parsing])
        if raw.masks is not None and "mask" in self.parts:
            sample["mask"] = self._stack([torch.from_numpy(np.ascontiguousarray(m))[None] for m in raw.masks])
        if raw.landmarks is not None and "landmarks" in self.parts:
            sample["landmarks"] = self._stack([torch.from_numpy(points.copy()) for points in raw.landmarks])
        return sample

    def _stack(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        return tensors[0] if self.clip is None else torch.stack(tensors)

    def _read(self, video: Video, keys: list[str]) -> RawSample:
        source, label = video.source, video.record.label
        parts = self._parts_of(label)
        raw = RawSample([decode_image(source.read(key), key) for key in keys], label)
        if "parsing" in parts:
            names = [part_key(key, "parsing") for key in keys]
            raw.parsing = [_parsing_map(source.read(name), name) for name in names]
        if "landmarks" in parts:
            names = [part_key(key, "landmarks") for key in keys]
            raw.landmarks = [decode_landmarks(source.read(name), name) for name in names]
        if "mask" in parts:
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
    """Key of a frame's map, mask or landmarks: the last component ``frames`` and the suffix are replaced.

    FSFM's pre-training folders have their own rule: ``images/STEM.png`` and ``parsing_maps/STEM.npy``.
    """
    folder, suffix = PARTS[part]
    path = PurePosixPath(key)
    parts = list(path.parts)
    if part == "parsing" and path.parent.name == "images" and "frames" not in parts:
        return str(path.parent.parent / "parsing_maps" / path.with_suffix(".npy").name)
    for position in range(len(parts) - 1, -1, -1):
        if parts[position] == "frames":
            parts[position] = folder
            break
    else:
        parts.insert(len(parts) - 1, folder)
    return str(PurePosixPath(*parts).with_suffix(suffix))


def _kind_after(video: Video, label: int) -> str | None:
    """Kind of a sample whose label an augmentation may have changed (a self-blended real is a deepfake)."""
    if label == video.record.label:
        return video.kind
    return "deepfake" if label else REAL_KIND


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
