from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmark.errors import ConfigError, DataError
from preprocessing.parsers.base import FrameName
from preprocessing.tools import build_parser

IMAGE = np.zeros((224, 224, 3), np.uint8)


def lapa(value: int) -> np.ndarray:
    """A map as the reference stores it: int8, (1, 224, 224)."""
    return np.full((1, 224, 224), value, np.int8)


def test_names_of_the_reference(tmp_path: Path) -> None:
    (tmp_path / "seq").mkdir()
    np.save(tmp_path / "519_frame_12.npy", lapa(1))
    np.save(tmp_path / "seq/007.npy", lapa(2))
    np.save(tmp_path / "train_n000002_0001_01.npy", lapa(3))
    cv2.imwrite(str(tmp_path / "Aaron_0.png"), lapa(4)[0].astype(np.uint8))
    build_parser.cache_clear()
    parser = build_parser("import", (("folder", str(tmp_path)),))
    names = {
        FrameName("original_sequences/youtube/c23", "519", 12): 1,
        FrameName("x", "seq", 7): 2,
        FrameName("train/n000002", "0001_01", 0): 3,
        FrameName("y", "Aaron_0", 0): 4,
    }
    for name, value in names.items():
        parsing = parser.parse(IMAGE, None, name)
        assert parsing is not None
        assert (parsing.dtype, parsing.shape, np.unique(parsing).tolist()) == (np.uint8, (224, 224), [value])
    assert parser.parse(IMAGE, None, FrameName("y", "Aaron_0", 1)) is None, "a still image has no frame 1"
    assert parser.parse(IMAGE, None, FrameName("x", "519", 13)) is None
    before = parser.settings()
    np.save(tmp_path / "new.npy", lapa(0))
    build_parser.cache_clear()
    assert build_parser("import", (("folder", str(tmp_path)),)).settings() != before


@pytest.mark.parametrize(
    "content",
    [lapa(11), lapa(-1), np.zeros((2, 8, 8), np.int8), np.zeros((8, 8), np.float32), np.zeros((0, 8), np.uint8)],
)
def test_what_is_not_a_map_is_an_error(tmp_path: Path, content: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", content)
    build_parser.cache_clear()
    with pytest.raises(DataError, match=r"expected (whole )?class ids"):
        build_parser("import", (("folder", str(tmp_path)),)).parse(IMAGE, None, FrameName("f", "a", 0))


def test_broken_files_pickles_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "b.npy", np.array([{"evil": 1}], dtype=object), allow_pickle=True)
    build_parser.cache_clear()
    parser = build_parser("import", (("folder", str(tmp_path)),))
    for video in "ab":
        with pytest.raises(DataError, match="not a readable"):
            parser.parse(IMAGE, None, FrameName("f", video, 0))
    with pytest.raises(ConfigError, match="--parse-option folder=PATH"):
        build_parser("import")
    with pytest.raises(ConfigError, match="no folder at"):
        build_parser("import", (("folder", str(tmp_path / "no")),))
