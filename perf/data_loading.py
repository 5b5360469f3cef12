"""CPU milliseconds per training sample on one core: this project's loading path beside the plain way, in one run.

    python -m perf.data_loading            # about two minutes
    python -m perf.data_loading --samples 128 --rounds 3

Both sides do the same work: 256 x 256 faces from disk, flip, Gaussian blur, one of three colour changes, JPEG, and
a normalised float batch of 32. "plain" is what a careful user writes: cv2.imread, cvtColor, one albumentations
Compose, ToTensor, Normalize, stack. "ours" reads the same pictures from an LMDB store, stacks uint8 and normalises
by the batch; with a GPU that last part happens there, here it is counted as CPU time. Everything runs on one thread
pinned to one core, the clock counts this process's CPU time, and the variants take turns, so that a busy neighbour
disturbs all alike.
"""

# ruff: noqa: E402 - thread counts are read when numpy is imported
from __future__ import annotations

import argparse
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch

from benchmark.data import augmentation, decode
from benchmark.data.augmentation import Step, build_augmentation
from benchmark.data.decode import decode_image
from benchmark.data.sample import RawSample
from benchmark.data.store import Store, StoreWriter
from benchmark.data.transforms import to_input

SIZE, BATCH = 256, 32
MEAN = STD = (0.5, 0.5, 0.5)
STAGES = ("read + decode", "flip", "blur", "colour", "jpeg", "tensor + normalise", "batch", "overhead")
BatchFunction = Callable[[range], torch.Tensor]
Maker = Callable[["Stopwatch | None"], BatchFunction]


def make_faces(count: int, seed: int = 0) -> list[np.ndarray]:
    """Pictures (256, 256, 3) that compress like face crops: a shaded oval, soft blotches, skin texture, grain.

    The amounts are set so that they take 93 kB as PNG and 18 kB as JPEG of quality 95; 112 dlib crops of seven FF++
    c23 videos, resized to 256, take 90 and 15 kB.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
    faces = []
    for _ in range(count):
        oval = np.exp(-(((x / 0.33) ** 2 + (y / 0.42) ** 2) ** 2))[..., None]
        skin, wall = rng.uniform((150, 95, 80), (225, 180, 160)), rng.uniform(30, 200, 3)
        shade = 1 + x[..., None] * rng.uniform(-0.5, 0.5) + y[..., None] * rng.uniform(-0.5, 0.5)
        picture = (skin * oval + wall * (1 - oval)) * shade
        for cells, strength in ((8, 18.0), (24, 9.0), (64, 6.0)):
            grid = rng.normal(0, strength, (cells, cells, 3)) * 0.4 + rng.normal(0, strength, (cells, cells, 1)) * 0.8
            picture += cv2.resize(grid, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        picture += cv2.GaussianBlur(rng.normal(0, 7.0, (SIZE, SIZE, 3)), (0, 0), 0.8)
        faces.append(np.clip(picture, 0, 255).astype(np.uint8))
    return faces


class Stopwatch:
    """Adds up the time of wrapped functions by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def wrap(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` with its time added to ``stage``."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = function(*args, **kwargs)
            self.seconds[stage] += time.process_time() - start
            return result

        return timed


def plain(paths: list[Path], watch: Stopwatch | None = None) -> BatchFunction:
    """The plain way, as a careful user of the peer writes it with albumentations 2.0.8."""
    import albumentations
    from torchvision import transforms

    colours = [
        albumentations.RandomBrightnessContrast(brightness_limit=(-0.1, 0.1), contrast_limit=(-0.1, 0.1)),
        albumentations.FancyPCA(),
        albumentations.HueSaturationValue(),
    ]
    steps = {
        "flip": [albumentations.HorizontalFlip(p=0.5)],
        "rotate": [albumentations.Rotate(limit=(-10, 10), p=0.0)],
        "blur": [albumentations.GaussianBlur(blur_limit=(3, 7), p=0.5)],
        "colour": colours,
        "jpeg": [albumentations.ImageCompression(quality_range=(40, 100), p=0.5)],
    }
    one_of = albumentations.OneOf(colours, p=0.5)
    compose = albumentations.Compose([*steps["flip"], *steps["rotate"], *steps["blur"], one_of, *steps["jpeg"]], seed=0)
    normalise = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def read(path: Path) -> np.ndarray:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        return cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)

    if watch is not None:
        read, normalise = watch.wrap("read + decode", read), watch.wrap("tensor + normalise", normalise)
        for stage, transforms_ in steps.items():
            for transform in transforms_:
                transform._key2func["image"] = watch.wrap(stage, transform.apply)

    stack = watch.wrap("batch", torch.stack) if watch else torch.stack
    return lambda indices: stack(
        [normalise(compose(image=read(paths[index % len(paths)]))["image"]) for index in indices]
    )


def ours(path: Path, keys: list[str], release: str, watch: Stopwatch | None = None) -> BatchFunction:
    """This project's path from store entries to a normalised batch."""
    return from_store(path, keys, build_augmentation("deepfakebench", SIZE, MEAN, release=release), watch)


def from_store(path: Path, keys: list[str], augment: Any, watch: Stopwatch | None = None) -> BatchFunction:
    """Store entries through any augmentation to a normalised batch."""
    store = Store(path)

    def read(key: str) -> np.ndarray:
        return decode_image(store.get(key), key)

    stack, normalise = torch.stack, to_input
    if watch is not None:
        read = watch.wrap("read + decode", read)
        stack, normalise = watch.wrap("batch", stack), watch.wrap("tensor + normalise", normalise)
        augment = replace(
            augment,
            blur=_timed(augment.blur, watch),
            colours=tuple(_timed(step, watch) for step in augment.colours),
            jpeg=_timed(augment.jpeg, watch),
        )

    def batch(indices: range) -> torch.Tensor:
        samples = [augment(RawSample([read(keys[index % len(keys)])], 0), index) for index in indices]
        pixels = stack([torch.from_numpy(sample.images[0]) for sample in samples]).permute(0, 3, 1, 2)
        return normalise(pixels, MEAN, STD)

    return batch


def without_simplejpeg(batch: BatchFunction) -> BatchFunction:
    """The same with OpenCV as the JPEG decoder."""

    def opencv_only(indices: range) -> torch.Tensor:
        with mock.patch.object(decode, "_simplejpeg", return_value=None):
            return batch(indices)

    return opencv_only


def _timed(step: Step, watch: Stopwatch) -> Step:
    return replace(step, fast=watch.wrap(step.name, step.run))


def run(batch: BatchFunction, count: int, start: int) -> float:
    """CPU milliseconds per sample over ``count`` samples; each batch is let go before the next, as in training."""
    begin = time.process_time()
    for first in range(start, start + count, BATCH):
        batch(range(first, min(first + BATCH, start + count)))
    return (time.process_time() - begin) * 1e3 / count


def write_files(folder: Path, faces: list[np.ndarray]) -> dict[str, list[Path]]:
    """The faces as PNG and JPEG (quality 95) files and as two stores; the keys are the file names."""
    paths: dict[str, list[Path]] = {"png": [], "jpg": []}
    for kind, flags in (("png", ()), ("jpg", (cv2.IMWRITE_JPEG_QUALITY, 95))):
        with StoreWriter(folder / f"{kind}_store") as writer:
            for index, face in enumerate(faces):
                paths[kind].append(folder / f"{index:04d}.{kind}")
                data = cv2.imencode(f".{kind}", cv2.cvtColor(face, cv2.COLOR_RGB2BGR), flags)[1].tobytes()
                paths[kind][-1].write_bytes(data)
                writer.put(paths[kind][-1].name, data)
        mean_size = statistics.mean(path.stat().st_size for path in paths[kind])
        print(f"{len(faces)} synthetic faces as {kind}: {mean_size / 1e3:.1f} kB each")
    return paths


def stage_times(make: Maker, count: int, start: int) -> dict[str, float]:
    """CPU milliseconds per sample of each stage over one pass."""
    watch = Stopwatch()
    with mock.patch.object(augmentation, "flip_sample", watch.wrap("flip", augmentation.flip_sample)):
        total = run(make(watch), count, start)
    stages = {stage: watch.seconds[stage] * 1e3 / count for stage in STAGES}
    stages["overhead"] = total - sum(stages.values())
    return stages


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=512, help="samples per pass")
    parser.add_argument("--rounds", type=int, default=9, help="passes of each variant, taking turns")
    parser.add_argument("--faces", type=int, default=64, help="different pictures on disk")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), options.samples, options.rounds, options.faces)


def measure(folder: Path, count: int, rounds: int, faces: int) -> None:
    """Write the pictures, time every variant by turns, print."""
    paths = write_files(folder, make_faces(faces))
    keys = {kind: [path.name for path in items] for kind, items in paths.items()}
    makers: dict[str, Maker] = {
        "plain, PNG files": lambda watch: plain(paths["png"], watch),
        "plain, JPEG files": lambda watch: plain(paths["jpg"], watch),
        "ours, PNG store": lambda watch: ours(folder / "png_store", keys["png"], "2.0", watch),
        "ours, JPEG store": lambda watch: ours(folder / "jpg_store", keys["jpg"], "2.0", watch),
        "- without simplejpeg": lambda watch: without_simplejpeg(ours(folder / "jpg_store", keys["jpg"], "2.0", watch)),
        "- release: 1.1": lambda watch: ours(folder / "jpg_store", keys["jpg"], "1.1", watch),
    }
    batches = {name: make(None) for name, make in makers.items()}
    for batch in batches.values():
        run(batch, BATCH, 0)
    times: dict[str, list[float]] = {name: [] for name in makers}
    stages: dict[str, list[dict[str, float]]] = {name: [] for name in makers}
    for turn in range(rounds):
        for name, batch in batches.items():
            times[name].append(run(batch, count, turn * count))
        if turn % 3 == 0:
            for name, make in makers.items():
                stages[name].append(stage_times(make, count, turn * count))
    report(times, stages)
    report_others(folder / "jpg_store", keys["jpg"], count, rounds)


def report_others(path: Path, keys: list[str], count: int, rounds: int) -> None:
    """Print what the other augmentations cost on the way from the JPEG store to a normalised 224-pixel batch."""
    recipes = [(name, policy) for name, kind in (("none", "bicubic"), ("fsfm", "bilinear"))
               for policy in (f"pil_{kind}", f"torch_{kind}")]  # fmt: skip
    print("\nOther augmentations, JPEG store to 224 pixels: CPU ms per sample, median of passes")
    for name, policy in recipes:
        batch = from_store(path, keys, build_augmentation(name, 224, MEAN, resize=policy))
        run(batch, BATCH, 0)
        passes = [run(batch, count // 2, turn * count) for turn in range(max(rounds // 2, 1))]
        print(f"{name + ', resize: ' + policy:<31}{statistics.median(passes):10.3f}")


def report(times: dict[str, list[float]], stages: dict[str, list[dict[str, float]]]) -> None:
    """Print milliseconds per sample by stage, totals, and how many times faster than the first column."""
    names = list(times)
    print("\nCPU ms per sample, one core    " + "".join(f"{name:>21}" for name in names))
    for stage in STAGES:
        row = [statistics.median(one[stage] for one in stages[name]) for name in names]
        print(f"{stage:<31}" + "".join(f"{value:21.3f}" for value in row))
    base = times[names[0]]
    rows = {
        "total, median of passes": [statistics.median(times[name]) for name in names],
        "total, fastest pass": [min(times[name]) for name in names],
        "times faster, median of turns": [
            statistics.median(a / b for a, b in zip(base, times[name], strict=True)) for name in names
        ],
        "times faster, fastest passes": [min(base) / min(times[name]) for name in names],
    }
    for label, values in rows.items():
        print(f"{label:<31}" + "".join(f"{value:21.3f}" for value in values))


if __name__ == "__main__":
    main()
