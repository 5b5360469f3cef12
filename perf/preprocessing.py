"""Frames a second on one core: exact and fast face search beside the plain procedure, on real videos, in one run.

    python -m perf.preprocessing ../shared/data/real/FaceForensics      # about five minutes

All three take the same 32 frames of each video (evenly spread, first and last included) from the file to an encoded
crop. "plain" is the published procedure as it is usually written: seek to each wanted frame, decode it, search it
whole with dlib's HOG detector (upsample 1), crop, encode as PNG. "exact" and "fast" are this project's task function
with ``--face-finder dlib`` and ``dlib_fast``: frames decoded in order without seeking, the file hashed, crop, PNG.
Times are CPU seconds of this process on one core, so that neighbours matter little; overlap (IoU) is that of the
chosen box of the fast mode with the chosen box of the exact one on the same frame.
"""

# ruff: noqa: E402 - thread counts are read when numpy is imported
from __future__ import annotations

import argparse
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from preprocessing.faces.base import FaceFinder, overlap
from preprocessing.faces.crop import cut, face_square
from preprocessing.frame_rules import FrameRule, uniform_indices
from preprocessing.layouts.base import Item
from preprocessing.settings import Settings
from preprocessing.task import ItemResult, Task, process_item
from preprocessing.tools import build_finder
from preprocessing.video import VideoFile

MODES = {"exact": "dlib", "fast": "dlib_fast"}
Boxes = dict[int, tuple[int, int, int, int]]


@dataclass
class Run:
    """One mode on one video: CPU seconds, and the chosen box of every frame with a face."""

    seconds: float
    frames: int
    boxes: Boxes


def plain(path: Path, count: int, finder: FaceFinder) -> Run:
    """Seek, decode, search the whole frame, crop, encode; ``finder`` is dlib with upsample 1."""
    start = time.process_time()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    wanted = uniform_indices(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), count)
    boxes: Boxes = {}
    for number in wanted:
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        is_read, bgr = capture.read()
        if not is_read:
            continue
        faces = finder.find(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
        crop = face_square(faces[0].box, bgr.shape[1], bgr.shape[0]) if faces else None
        if crop is not None:
            cv2.imencode(".png", cut(bgr, crop))
            boxes[number] = faces[0].box
    return Run(time.process_time() - start, len(wanted), boxes)


def ours(path: Path, count: int, name: str) -> Run:
    """The task function that ``prepare`` runs."""
    settings = Settings(frames=FrameRule("uniform", count), face_finder=name)
    task = Task(Item("real", "test", "videos", path.stem, VideoFile(path)), 0, path.name, settings)
    start = time.process_time()
    result: ItemResult = process_item(task)
    seconds = time.process_time() - start
    boxes = {number: tuple(faces[0]) for number, faces in zip(result.numbers, result.boxes, strict=True)}
    return Run(seconds, len(uniform_indices(result.source["frame_count"], count)), boxes)  # type: ignore[arg-type]


def decoding(path: Path) -> float:
    """CPU seconds for decoding a whole video in order: the floor of any mode that does not seek."""
    start = time.process_time()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    while capture.grab():
        pass
    return time.process_time() - start


def agreement(fast: Boxes, exact: Boxes) -> list[float]:
    """Overlap per frame in which the exact mode found a face; 0 where the fast mode found none."""
    return [overlap(fast[number], box) if number in fast else 0.0 for number, box in exact.items()]


def best(run: Callable[[], Run], rounds: int) -> Run:
    """The quickest of several turns."""
    return min((run() for _ in range(rounds)), key=lambda run: run.seconds)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path, help="folder with .mp4 videos, searched through")
    parser.add_argument("--frames", type=int, default=32, help="frames per video")
    parser.add_argument("--rounds", type=int, default=1, help="turns of each mode; the quickest counts")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    exact_finder = build_finder("dlib", ())
    for name in MODES.values():
        build_finder(name, ())  # loading the model is no part of a frame's time
    print(f"{'video':<34}{'size':>11}{'decode':>8}{'plain':>8}{'exact':>8}{'fast':>8}{'exact x':>9}{'fast x':>8}"
          f"{'IoU':>7}{'min':>6}{'same':>7}")  # fmt: skip
    totals = dict.fromkeys(("plain", "exact", "fast"), 0.0)
    frames, overlaps, is_equal = 0, [], True
    for path in sorted(options.root.rglob("*.mp4")):
        capture = cv2.VideoCapture(str(path))
        size = f"{int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))}x{int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))}"
        runs = {"plain": best(lambda path=path: plain(path, options.frames, exact_finder), options.rounds)}
        for mode, name in MODES.items():
            runs[mode] = best(lambda path=path, name=name: ours(path, options.frames, name), options.rounds)
        row = {mode: 1000 * run.seconds / run.frames for mode, run in runs.items()}
        floor = 1000 * decoding(path) / options.frames
        found = agreement(runs["fast"].boxes, runs["exact"].boxes)
        is_same = runs["plain"].boxes == runs["exact"].boxes
        print(f"{'/'.join(path.parts[-4:-3] + path.parts[-1:]):<34}{size:>11}{floor:8.1f}"
              + "".join(f"{value:8.1f}" for value in row.values())
              + f"{row['plain'] / row['exact']:9.1f}{row['plain'] / row['fast']:8.1f}"
              + f"{np.mean(found):7.3f}{min(found):6.2f}{'yes' if is_same else 'no':>7}", flush=True)  # fmt: skip
        for mode, run in runs.items():
            totals[mode] += run.seconds
        frames, overlaps, is_equal = frames + runs["plain"].frames, overlaps + found, is_equal and is_same
    print("\nCPU ms per frame; x = times faster than plain; same = plain and exact chose equal boxes on all frames")
    for mode, seconds in totals.items():
        print(f"{mode:<6}{frames / seconds:8.2f} frames/s per core{totals['plain'] / seconds:8.1f} x")
    print(f"IoU of fast with exact: mean {np.mean(overlaps):.3f}, below 0.5 in {sum(v < 0.5 for v in overlaps)} of "
          f"{len(overlaps)} frames; plain and exact equal: {'yes' if is_equal else 'no'}")  # fmt: skip


if __name__ == "__main__":
    main()
