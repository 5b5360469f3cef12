"""FSFM's own folders as a store: written by ``--store fsfm``, read back as they are, and prepared again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmark.data.datasets import part_key
from benchmark.data.decode import decode_map
from benchmark.data.readers import load_word
from benchmark.errors import ConfigError, DataError
from benchmark.registry import LAYOUTS
from benchmark.schema import PathsConfig
from benchmark.verify.check import verify
from preprocessing.layouts.base import Item
from preprocessing.layouts.processed import index_crops
from preprocessing.names import FsfmNames
from preprocessing.prepare import prepare
from preprocessing.report import PrepareReport
from preprocessing.settings import Settings
from preprocessing.video import ImageFiles


@pytest.fixture
def make(tmp_path: Path, bright: str) -> Callable[..., PrepareReport]:
    def run(layout: str, root: Path, **changes: Any) -> PrepareReport:
        options: dict[str, Any] = {"face_finder": "bright", "workers": 1, "plugins": [bright], "store_kind": "fsfm"}
        places = {"data_dir": tmp_path / "data", "index_dir": tmp_path / "index"}
        return prepare(layout, root, **{**options, **places, **changes})

    return run


def paths_of(tmp_path: Path) -> PathsConfig:
    return PathsConfig(data=tmp_path / "data", indexes=tmp_path / "index")


def files(store: Path) -> set[str]:
    found = (path for path in store.rglob("*") if path.is_file() and path.parent != store)
    return {path.relative_to(store).as_posix() for path in found}


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((48, 64, 3), 40, np.uint8)
    image[10:30, 20:40] = 255
    cv2.imwrite(str(path), image)


def test_ffpp_tree(make: Callable[..., PrepareReport], mini: Path, tmp_path: Path, video_maker: Any) -> None:
    video_maker(mini / "manipulated_sequences/FaceShifter/c23/videos/001_002.mp4")
    report = make("FF++", mini, frames=2)
    assert report.store == tmp_path / "data" / "FaceForensics++_fsfm"
    names = files(report.store)
    assert {"c23/train/real_youtube/youtube_001_frame_0.png", "c23/train/real_youtube/youtube_001_frame_11.png",
            "c23/train/fake_four/Deepfakes_001_002_frame_0.png", "c23/val/real_youtube/youtube_004_frame_11.png",
            "c23/test/fake_four/Deepfakes_005_006_frame_11.png"} <= names  # fmt: skip
    assert len(names) == 8 * 2, "FaceShifter is never in that tree"
    assert "FF-FH train: 1 videos: FSFM's tree has no place for them" in [str(entry) for entry in report.left_out]
    listing = load_word("FF++", "test", paths_of(tmp_path), {})[1]
    assert {record.video_id for record in listing.records} == {"FF-real/005", "FF-DF/005_006"}
    assert all(listing.source.read(frame) for record in listing.records for frame in record.frames)
    assert not verify("FF++", data_dir=tmp_path / "data", index_dir=tmp_path / "index", allow_overlap=True).bad_frames
    assert make("FF++", mini, frames=2).new == 0


def test_the_class_tree_is_read_where_it_lies_and_prepared_again(
    make: Callable[..., PrepareReport], mini: Path, tmp_path: Path
) -> None:
    tree = make("FF++", mini, frames=2).store / "c23"
    listing = load_word(str(tree), "train", paths_of(tmp_path), {})[1]
    assert {(record.cls, record.label, record.video, len(record.frames)) for record in listing.records} == {
        ("real_youtube", 0, "youtube_001", 2), ("real_youtube", 0, "youtube_002", 2),
        ("fake_four", 1, "Deepfakes_001_002", 2),
    }  # fmt: skip
    again = make("folder", tree, layout_options={"name": "mine", "crops": 1}, store_kind="lmdb", frames="all")
    packed = load_word(str(again.index), "train", paths_of(tmp_path), {})[1]
    assert {(record.video, record.label) for record in packed.records} == {
        ("youtube_001", 0), ("youtube_002", 0), ("Deepfakes_001_002", 1)}  # fmt: skip
    before = cv2.imread(str(tree / "train/fake_four/Deepfakes_001_002_frame_0.png"))
    after = packed.source.read(next(r.frames[0] for r in packed.records if r.label))
    stored = cv2.imdecode(np.frombuffer(after, np.uint8), cv2.IMREAD_COLOR)
    assert (np.asarray(before) == np.asarray(stored)).all(), "crops are stored whole, pixel for pixel"


def test_fas_tree_is_read_by_the_layout_that_wrote_it(
    make: Callable[..., PrepareReport], tmp_path: Path, video_maker: Any, bright: str
) -> None:
    root = tmp_path / "raw"
    for name in ("train_release/1/1.avi", "train_release/1/3.avi", "test_release/2/HR_1.avi"):
        video_maker(root / name, codec="MJPG", num_frames=14)
    report = make("CASIA-FASD", root)
    assert files(report.store) == {
        f"frame/casia/{name}_frame{index}.png"
        for name in ("train/real/1_1", "train/fake/1_3", "test/real/2_HR_1") for index in (0, 1)
    }  # fmt: skip
    settings = json.loads(report.index.read_text())["meta"]["settings"]
    assert settings["frame_rule"] == "fas_pair"
    found = {(item.cls, item.id, item.is_cropped) for item in LAYOUTS.get("CASIA-FASD")().scan(report.store).items}
    assert found == {("casia_live", "train/real/1_1", True), ("casia_spoof", "train/fake/1_3", True),
                     ("casia_live", "test/real/2_HR_1", True)}  # fmt: skip


def test_pre_training_tree_with_maps(make: Callable[..., PrepareReport], tmp_path: Path) -> None:
    """``images`` and ``parsing_maps`` as FSFM's second stage leaves them, used where they lie."""
    raw, maps = tmp_path / "raw", tmp_path / "maps"
    maps.mkdir()
    for name in ("train/n000002/0001_01.jpg", "train/n000002/0010_01.jpg", "test/n000001/0003_01.jpg"):
        write_image(raw / name)
        np.save(maps / f"{name.replace('/', '_').removesuffix('.jpg')}.npy", np.full((1, 32, 32), 6, np.int8))
    options = {"parser": "import", "parse_options": {"folder": str(maps)}, "size": 32}
    report = make("VGGFace2", raw, **options)
    assert files(report.store) == {
        *(f"images/{stem}.png" for stem in ("train_n000002_0001_01", "train_n000002_0010_01", "test_n000001_0003_01")),
        *(f"parsing_maps/{stem}.npy" for stem in
          ("train_n000002_0001_01", "train_n000002_0010_01", "test_n000001_0003_01")),
    }  # fmt: skip
    array = np.load(report.store / "parsing_maps/train_n000002_0001_01.npy", allow_pickle=False)
    assert (array.dtype, array.shape, int(array.max())) == (np.int8, (1, 32, 32), 6)
    listing = load_word("VGGFace2", "train", paths_of(tmp_path), {})[1]
    frame = listing.records[0].frames[0]
    assert decode_map(listing.source.read(part_key(frame, "parsing")), frame).shape == (32, 32)
    index = index_crops(LAYOUTS.get("VGGFace2")(), report.store, tmp_path / "index" / "again.json")
    again = load_word(str(index), "train", paths_of(tmp_path), {})[1]
    assert {record.video: len(record.frames) for record in again.records} == {"train_n000002": 2, "test_n000001": 1}
    key = part_key(again.records[0].frames[0], "parsing")
    assert set(np.unique(decode_map(again.source.read(key), key))) == {6}


def test_originals_of_ffpp_for_pre_training(make: Callable[..., PrepareReport], mini: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    for name in ("001", "002", "003", "004", "005"):
        for number in (0, 11):
            np.save(maps / f"{name}_frame_{number}.npy", np.ones((1, 32, 32), np.int8))
    options = {"parser": "import", "parse_options": {"folder": str(maps)}, "size": 32, "frames": 2}
    report = make("FF++_o", mini, **options)
    images = {name for name in files(report.store) if "/images/" in name}
    assert images == {f"c23/images/{n}_frame_{k}.png" for n in ("001", "002", "003", "004") for k in (0, 11)}
    assert [str(entry) for entry in report.left_out] == ["FF-real test: 1 videos: FSFM's tree has no place for them"]
    items = LAYOUTS.get("FF++_o")().scan(report.store).items
    assert {(item.video, item.level, len(item.source.files)) for item in items} == {
        (name, "c23", 2) for name in ("001", "002", "003", "004")}  # fmt: skip


def test_diff_repeats_its_real_images_per_kind(make: Callable[..., PrepareReport], tmp_path: Path) -> None:
    for name in ("test/T2I/sd/a.png", "DiFF_real/test/p/r.jpg"):
        write_image(tmp_path / "raw" / name)
    report = make("DiFF", tmp_path / "raw")
    assert files(report.store) == {
        "test_subsets/T2I/test/fake/sd_a_png.png",
        *(f"test_subsets/{kind}/test/real/p_r_jpg.png" for kind in ("T2I", "I2I", "FS", "FE")),
    }
    assert len(load_word("DiFF", "test", paths_of(tmp_path), {})[1].records) == 2, "each image once in the index"


@pytest.mark.parametrize(
    ("layout", "folder", "video", "stem"),
    [
        ("CDFv2", "Celeb-real", "id0_0000", "Celeb-real_id0_0000_frame_12"),
        ("DFDCP", "method_A", "1_2_A", "method_A_1_2_A_frame_12"),
        ("DFDC", "test", "aaa", "aaa_frame_12"),
        ("WDF", "fake_test", "fake_test_1_fake_11", "fake_test_1_fake_11_frame_12"),
        ("DFD", "original_sequences/actors/raw", "01__exit", "actors_01__exit_frame_12"),
    ],
)
def test_video_names_of_the_reference(layout: str, folder: str, video: str, stem: str) -> None:
    maker = LAYOUTS.get(layout)
    item = Item(next(iter(maker.classes)), "test", folder, video, ImageFiles(), level="raw" if maker.levels else None)
    assert maker.fsfm.file(item, 12, 0) == stem


def test_what_the_tree_has_no_place_for(make: Callable[..., PrepareReport], mini: Path, predictor_file: Path) -> None:
    with pytest.raises(ConfigError, match="no place for landmarks"):
        make("FF++", mini, landmarks=predictor_file)
    with pytest.raises(ConfigError, match="pre-training sets only, and FaceForensics"):
        make("FF++", mini, parser="import", parse_options={"folder": str(mini)})
    names = FsfmNames(LAYOUTS.get("UADFV")(), Settings(masks=False))
    places = (("real", "a_b"), ("real_a", "b"))
    twice = [Item("UADFV_Real", "test", folder, video, ImageFiles()) for folder, video in places]
    with pytest.raises(DataError, match="2 videos would be one file"):
        names.keep(twice)
