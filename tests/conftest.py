"""What all tests share: golden data, a tiny dataset that a tiny network can learn, and a configuration for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from benchmark.data.index import VideoRecord, label_of, write_index
from benchmark.data.store import StoreWriter

GOLDEN = Path(__file__).parent / "data" / "golden"
TOY_SIDE = 40
TINY_VIT = "{name: fsfm_vit_tiny_patch16, patch_size: 8, embed_dim: 48, depth: 3, num_heads: 4}"
TOY_YAML = """\
detector: {name: fsfm, mixup: 0, cutmix: 0, label_smoothing: 0.0, head_init_std: 0.02}
backbone: %s
data:
  image_size: 32
  train: [Toy]
  test: [Toy]
  normalize: half
  frames: {train: 4, val: 4, test: 4}
  workers: 0
optimizer: {name: adamw, lr: 2e-3, weight_decay: 0.0}
schedule: {name: cosine, epochs: 2}
trainer: {batch_size: 16, precision: fp32, device: cpu, log_every_steps: 1}
evaluation: {batch_size: 16}
paths: {data: %s, indexes: %s, runs: %s}
"""

torch.set_num_threads(1)
cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of specs, golden data and real inputs beside the repository; skips where it is absent."""
    folder = Path(__file__).parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip("../shared is not on this machine")
    return folder


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Any]:
    """Loads a file of ``tests/data/golden``: JSON as values, safetensors as a dict of tensors."""

    def load(name: str) -> Any:
        path = GOLDEN / name
        if path.suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        from safetensors.torch import load_file

        return load_file(path)

    return load


@dataclass(frozen=True)
class World:
    """Folders of a dataset made for tests."""

    data: Path
    indexes: Path

    def overrides(self) -> list[str]:
        """The folders as configuration overrides."""
        return [f"paths.data={self.data}", f"paths.indexes={self.indexes}"]


def toy_image(rng: np.random.Generator, base: np.ndarray, *, blurred: bool) -> np.ndarray:
    """A grating and noise on a smooth colour gradient, (40, 40, 3) uint8; a fake is the same, blurred."""
    ramp = np.linspace(0, 1, TOY_SIDE)[:, None, None]
    grating = 40 * np.sign(np.sin(np.arange(TOY_SIDE) * 2 * np.pi / 5 + 0.1))[None, :, None]
    pixels = base[0] * (1 - ramp) + base[1] * ramp + grating + rng.normal(0, 20, (TOY_SIDE, TOY_SIDE, 1))
    image = np.clip(pixels, 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 1.5) if blurred else image


def write_world(
    root: Path,
    counts: dict[str, tuple[int, int]],
    *,
    name: str = "Toy",
    frames: int = 4,
    parts: tuple[str, ...] = (),
    seed: int = 0,
) -> World:
    """A dataset written with the project's own writers.

    Args:
        root: folder for ``data`` and ``indexes``.
        counts: per split the number of (real, fake) videos.
        name: dataset name; classes are ``<name>_real`` and ``<name>_fake``.
        frames: frames per video; the last test video has one less, so that the test set is odd.
        parts: parsing, masks, landmarks: written for every frame.
        seed: of the pixels.
    """
    world = World(root / "data", root / "indexes")
    records = []
    with StoreWriter(world.data / f"{name}_lmdb") as store:
        for split, numbers in counts.items():
            for kind, count in zip(("real", "fake"), numbers, strict=True):
                for number in range(count):
                    rng = np.random.default_rng((seed, len(records)))
                    last = split == "test" and kind == "fake" and number == count - 1
                    video = f"{split}{number:02d}"
                    folder = f"{name}/{kind}/frames/{video}"
                    keys = [f"{folder}/{index:03d}.png" for index in range(0, 10 * (frames - last), 10)]
                    base = rng.uniform(60, 200, (2, 3))
                    for key in keys:
                        image = toy_image(rng, base, blurred=kind == "fake")
                        store.put(key, cv2.imencode(".png", image[..., ::-1])[1].tobytes())
                        put_parts(store, key, parts, rng)
                    cls = f"{name}_{kind}"
                    records.append(VideoRecord(name, cls, label_of(cls, {}, ""), split, None, video, tuple(keys)))
    write_index(world.indexes / f"{name}.json", name, records, {"made_by": "tests"})
    return world


def put_parts(store: StoreWriter, key: str, parts: tuple[str, ...], rng: np.random.Generator) -> None:
    from benchmark.data.datasets import part_key
    from benchmark.data.store import encode_npy

    for part in parts:
        if part == "landmarks":
            value = encode_npy(rng.uniform(0, TOY_SIDE, (68, 2)).astype(np.float32))
        else:
            ids = rng.integers(0, 11, (TOY_SIDE, TOY_SIDE), dtype=np.uint8)
            value = cv2.imencode(".png", ids if part == "parsing" else (ids > 5).astype(np.uint8) * 255)[1].tobytes()
        store.put(part_key(key, part), value)


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    """``write_world``: make a dataset of one's own."""
    return write_world


@pytest.fixture(scope="session")
def toy_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Dataset ``Toy``: 12 + 12 training, 4 + 4 validation and 4 + 5 test videos; 35 test frames, an odd number."""
    return write_world(tmp_path_factory.mktemp("toy"), {"train": (12, 12), "val": (4, 4), "test": (4, 5)})


@pytest.fixture
def toy_config(toy_world: World, tmp_path: Path) -> Path:
    """A YAML file that trains ``fsfm`` with a tiny ViT on ``Toy``; runs go below ``tmp_path/runs``."""
    path = tmp_path / "toy.yaml"
    path.write_text(TOY_YAML % (TINY_VIT, toy_world.data, toy_world.indexes, tmp_path / "runs"), encoding="utf-8")
    return path
