"""Writes a demo world as an LMDB store and a JSON index, with the same writers as real data."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from loguru import logger
from tqdm import tqdm

from benchmark.data.index import VideoRecord, fingerprint_of, write_index
from benchmark.data.store import META_FILE, StoreWriter, encode_npy
from benchmark.errors import ConfigError, did_you_mean
from preprocessing.demo.camera import encode_jpeg
from preprocessing.demo.worlds import (
    GENERATOR_VERSION,
    WORLDS,
    Video,
    World,
    make_shots,
    neighbours,
    plan,
    stored_quality,
)

DEFAULT_SIZE = 72
"""Side of the stored crops in pixels; any size up to 224 and beyond can be asked for."""


class _Task(NamedTuple):
    """Videos that share their scenes, made together in one process."""

    world: str
    videos: tuple[Video, ...]
    size: int
    seed: int


Entries = list[tuple[str, bytes]]


def build_world(
    name: str,
    data_dir: Path,
    index_dir: Path,
    *,
    size: int | None = None,
    scale: float = 1.0,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Make a demo world, unless it is already there with the same settings.

    Args:
        name: one of ``WORLDS``, e.g. ``demo/FF++``.
        data_dir: the store becomes ``data_dir/demo/FF++_lmdb``.
        index_dir: the index becomes ``index_dir/demo/FF++.json``.
        size: side of the crops in pixels; None = ``DEFAULT_SIZE``.
        scale: factor on the number of people.
        seed: seed of everything in it.
        workers: processes; None = one per core.
        progress: show a progress bar.

    Returns:
        Path of the index. It is written after the store has its final name, so an interrupted build never looks
        finished.

    Raises:
        ConfigError: unknown world.
    """
    if name not in WORLDS:
        raise ConfigError(f"No demo world named '{name}'.{did_you_mean(name, WORLDS)} Worlds: {', '.join(WORLDS)}.")
    world = WORLDS[name]
    settings = {
        "generator": GENERATOR_VERSION,
        "world": name,
        "size": size or DEFAULT_SIZE,
        "scale": scale,
        "seed": seed,
    }
    fingerprint = fingerprint_of(settings)
    store, index = data_dir / f"{name}_lmdb", index_dir / f"{name}.json"
    if _fingerprint_in(store / META_FILE) == fingerprint == _fingerprint_in(index):
        return index
    logger.info("Building {} ({} pixels) into {}", name, settings["size"], store)
    if shared := neighbours(world, scale):
        logger.warning("At scale {:g}, {} has people of {}, if that has seed {}.", scale, name, ", ".join(shared), seed)
    videos = plan(world, scale, seed)
    with StoreWriter(store, meta={"settings": settings, "fingerprint": fingerprint}) as writer:
        for entries in _make_all(world, videos, size or DEFAULT_SIZE, seed, workers, progress):
            for key, value in entries:
                writer.put(key, value)
    records = [_record(world, video) for video in videos]
    write_index(index, _short(world), records, {"tool": "demo", "settings": settings, "fingerprint": fingerprint})
    return index


def _make_all(
    world: World, videos: Sequence[Video], size: int, seed: int, workers: int | None, progress: bool
) -> Iterator[Entries]:
    """Store entries of every video, in the order of the plan whatever the number of processes."""
    group = 2 * (1 + len(world.families))  # both people of a pair with all their fakes
    tasks = [_Task(world.name, tuple(videos[i : i + group]), size, seed) for i in range(0, len(videos), group)]
    bar = tqdm(total=len(videos), desc=world.name, unit="video", disable=None if progress else True)
    with bar, ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        for task, entries in zip(tasks, pool.map(make_entries, tasks), strict=True):
            bar.update(len(task.videos))
            yield entries


def make_entries(task: _Task) -> Entries:
    """Frames (JPEG), parsing maps (PNG), landmarks (.npy) and masks (PNG) of some videos, by store key."""
    cv2.setNumThreads(0)
    world = WORLDS[task.world]
    entries: Entries = []
    for video in task.videos:
        quality = stored_quality(world, video, task.seed)
        for index, shot in enumerate(make_shots(world, video, task.size, task.seed)):
            entries.append((_key(world, video, "frames", index, "jpg"), encode_jpeg(shot.image, quality)))
            entries.append((_key(world, video, "parsing", index, "png"), _png(shot.parsing)))
            entries.append((_key(world, video, "landmarks", index, "npy"), encode_npy(shot.landmarks)))
            if shot.mask is not None:
                entries.append((_key(world, video, "masks", index, "png"), _png(shot.mask)))
    return entries


def _record(world: World, video: Video) -> VideoRecord:
    frames = tuple(_key(world, video, "frames", index, "jpg") for index in range(world.num_frames))
    label = int(video.family is not None)
    return VideoRecord(_short(world), video.cls, label, video.split, world.level, video.name, frames)


def _key(world: World, video: Video, part: str, index: int, suffix: str) -> str:
    return f"{_short(world)}/{video.folder}/{part}/{video.name}/{index:03d}.{suffix}"


def _short(world: World) -> str:
    return world.name.rpartition("/")[2]


def _png(pixels: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", pixels)
    assert done
    return data.tobytes()


def _fingerprint_in(path: Path) -> str | None:
    """The fingerprint in a store's ``meta.json`` or in an index's ``meta`` block."""
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    block = content.get("meta", content)
    return block.get("fingerprint") if isinstance(block, dict) else None
