"""What the tests of preprocessing share: a miniature FF++ made of tiny videos, and a quick face finder."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmark.data.store import Store
from benchmark.registry import load_plugin
from preprocessing.prepare import prepare
from preprocessing.report import PrepareReport

PLUGINS = Path(__file__).parent / "plugins"
SPLITS = {"train": [["001", "002"]], "val": [["003", "004"]], "test": [["005", "006"]]}
WIDTH, HEIGHT, NUM_FRAMES = 96, 64, 12


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real inputs beside the repository; tests that need it skip where it is absent."""
    folder = Path(__file__).parents[2].parent / "shared"
    if not (folder / "data" / "real" / "FaceForensics").is_dir():
        pytest.skip("the real FF++ videos are not on this machine")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    return Path(__file__).parents[1] / "data" / "golden"


@pytest.fixture(scope="session")
def bright() -> str:
    """Path of the plugin file with face finder ``bright``; loaded in this process, workers load it themselves."""
    path = str(PLUGINS / "bright.py")
    load_plugin(path)
    return path


@pytest.fixture(scope="session")
def stills() -> str:
    """Path of the plugin file with layout ``stills``."""
    path = str(PLUGINS / "stills.py")
    load_plugin(path)
    return path


def write_video(path: Path, *, has_face: bool = True, codec: str = "mp4v", num_frames: int = NUM_FRAMES) -> None:
    """A dark noisy video in which a bright square walks two pixels a frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (WIDTH, HEIGHT))
    assert writer.isOpened()
    noise = np.random.default_rng(int(path.stem) if path.stem.isdigit() else 7)
    for index in range(num_frames):
        frame = noise.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        if has_face:
            frame[20:40, 10 + 2 * index : 30 + 2 * index] = 255
        writer.write(frame)
    writer.release()


def frontal_face() -> np.ndarray:
    """68 landmarks of a plain frontal face in the unit square, iBUG order, (68, 2)."""

    def ring(x: float, y: float, width: float, height: float, count: int) -> np.ndarray:
        angles = np.pi + np.linspace(0, 2 * np.pi, count, endpoint=False)
        return np.column_stack([x + width * np.cos(angles), y + height * np.sin(angles)])

    angles = np.linspace(np.pi, 0, 17)
    jaw = np.column_stack([0.5 + 0.3 * np.cos(angles), 0.45 + 0.42 * np.sin(angles)])
    brows = [np.column_stack([np.linspace(x, x + 0.2, 5), np.full(5, 0.34)]) for x in (0.26, 0.54)]
    bridge = np.column_stack([np.full(4, 0.5), np.linspace(0.42, 0.55, 4)])
    base = np.column_stack([np.linspace(0.44, 0.56, 5), np.full(5, 0.6)])
    eyes = [ring(x, 0.42, 0.06, 0.025, 6) for x in (0.36, 0.64)]
    mouth = [ring(0.5, 0.72, 0.11, 0.06, 12), ring(0.5, 0.72, 0.09, 0.02, 8)]
    return np.concatenate([jaw, *brows, bridge, base, *eyes, *mouth]).astype(np.float32)


@pytest.fixture(scope="session")
def frontal() -> np.ndarray:
    """See ``frontal_face``."""
    return frontal_face()


@pytest.fixture(scope="session")
def predictor_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 68-point dlib predictor that puts ``frontal_face`` into any box, whatever the picture; trained in a second."""
    dlib = pytest.importorskip("dlib")
    rng = np.random.default_rng(0)
    images, faces = [], []
    for _ in range(6):
        images.append(rng.integers(0, 255, (96, 96), dtype=np.uint8))
        left, side = (int(value) for value in rng.integers((4, 60), (20, 70)))
        points = np.round(left + frontal_face() * side).astype(int)
        parts = [dlib.point(int(x), int(y)) for x, y in points]
        faces.append([dlib.full_object_detection(dlib.rectangle(left, left, left + side, left + side), parts)])
    options = dlib.shape_predictor_training_options()
    options.tree_depth, options.cascade_depth, options.num_trees_per_cascade_level = 2, 2, 4
    options.feature_pool_size, options.num_test_splits, options.oversampling_amount = 20, 4, 2
    options.random_seed, options.num_threads, options.be_verbose = "1", 1, False
    path = tmp_path_factory.mktemp("predictor") / "tiny_68.dat"
    dlib.train_shape_predictor(images, faces, options).save(str(path))
    return path


@pytest.fixture(scope="session")
def video_maker() -> Callable[..., None]:
    return write_video


@pytest.fixture(scope="session")
def _mini_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mini")
    for name in ("001", "002", "003", "004", "005"):
        write_video(root / "original_sequences/youtube/c23/videos" / f"{name}.mp4")
    for name in ("001_002", "003_004", "005_006"):
        write_video(root / "manipulated_sequences/Deepfakes/c23/videos" / f"{name}.mp4")
    splits = root / "dataset" / "splits"
    splits.mkdir(parents=True)
    for split, pairs in SPLITS.items():
        (splits / f"{split}.json").write_text(json.dumps(pairs))
    return root


@pytest.fixture
def mini(_mini_tree: Path, tmp_path: Path) -> Path:
    """A fresh copy: five real videos and three Deepfakes at c23, official split files."""
    return Path(shutil.copytree(_mini_tree, tmp_path / "Gesichter ä 脸"))


def stored(store: Path) -> dict[str, bytes]:
    """All keys and values of a store."""
    reader = Store(store)
    return {key: reader.get(key) for key in list(reader.keys())}


@pytest.fixture(scope="session")
def read_store() -> Callable[[Path], dict[str, bytes]]:
    return stored


def rotate_metadata(path: Path, degrees: int) -> None:
    """Set the display matrix of an mp4's video track, as a telephone held upright does."""
    a, b = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4
    assert content[start] == 0, "version 0 of the header"
    width, height = struct.unpack(">II", content[start + 76 : start + 84])
    one, turn = 0x10000, 0x40000000
    move = {90: (height, 0), 180: (width, height), 270: (0, width)}[degrees]
    matrix = struct.pack(">9i", a * one, b * one, 0, -b * one, a * one, 0, *move, turn)
    content[start + 40 : start + 76] = matrix
    path.write_bytes(content)


@pytest.fixture(scope="session")
def rotate() -> Callable[[Path, int], None]:
    """See ``rotate_metadata``."""
    return rotate_metadata


@pytest.fixture
def make(mini: Path, tmp_path: Path, bright: str) -> Callable[..., PrepareReport]:
    """``prepare`` on the miniature FF++ into ``tmp_path / name``: the quick finder, one worker, four frames."""

    def run(name: str = "out", **changes: Any) -> PrepareReport:
        options: dict[str, Any] = {"frames": 4, "face_finder": "bright", "workers": 1, "plugins": [bright], **changes}
        return prepare("FF++", mini, data_dir=tmp_path / name, index_dir=tmp_path / name, **options)

    return run
