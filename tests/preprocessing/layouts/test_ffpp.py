from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmark.errors import DataError
from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Scan
from preprocessing.layouts.ffpp import FaceForensics, read_splits
from preprocessing.video import VideoFile

REAL = "original_sequences/youtube/c23/videos"
FAKE = "manipulated_sequences/Deepfakes/c23/videos"
MANIPULATIONS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")


def scan(root: Path, *levels: str) -> Scan:
    return FaceForensics().scan(root, levels)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def left_out(found: Scan) -> dict[str, str]:
    return {remark.place: remark.reason for remark in found.remarks if remark.kind == "left out"}


def test_a_complete_release_has_the_official_counts(tmp_path: Path) -> None:
    pairs = [[f"{i:03d}", f"{i + 1:03d}"] for i in range(0, 1000, 2)]
    for split, (start, end) in {"train": (0, 360), "val": (360, 430), "test": (430, 500)}.items():
        (tmp_path / f"{split}.json").write_text(json.dumps(pairs[start:end]))
    touch(tmp_path, *(f"{REAL}/{name}.mp4" for pair in pairs for name in pair))
    fakes = [f"{a}_{b}.mp4" for a, b in [*pairs, *([b, a] for a, b in pairs)]]
    for manipulation in MANIPULATIONS:
        touch(tmp_path, *(f"manipulated_sequences/{manipulation}/c23/videos/{name}" for name in fakes))
    found = scan(tmp_path)
    assert found.remarks == ()
    assert Counter((item.cls, item.split) for item in found.items) == FaceForensics.official
    assert len(found.items) == 6000


def test_labels_splits_keys_and_order(mini: Path) -> None:
    found = scan(mini)
    facts = [(item.cls, item.split, item.level, item.video) for item in found.items]
    assert facts == sorted(facts, key=lambda fact: (fact[0], fact[1], fact[3]))
    assert ("FF-DF", "test", "c23", "005_006") in facts
    assert ("FF-real", "val", "c23", "004") in facts
    layout = FaceForensics()
    assert {layout.label(item) for item in found.items if item.cls == "FF-real"} == {0}
    assert {layout.label(item) for item in found.items if item.cls != "FF-real"} == {1}
    fake = next(item for item in found.items if item.video == "001_002")
    assert fake.folder == "manipulated_sequences/Deepfakes/c23"
    assert fake.source == VideoFile(mini / FAKE / "001_002.mp4")
    missing = [remark.place for remark in found.remarks if remark.kind == "missing"]
    assert missing == [f"manipulated_sequences/{name}" for name in MANIPULATIONS[1:]]


def test_both_spellings_give_the_same_keys(mini: Path) -> None:
    official = [item.id for item in scan(mini).items]
    (mini / "manipulated_sequences/Deepfakes").rename(mini / "manipulated_sequences/DeepFakes")
    assert [item.id for item in scan(mini).items] == official
    touch(mini, "manipulated_sequences/Deepfakes/c23/videos/001_002.mp4")
    with pytest.raises(DataError, match="Two folders for one class"):
        scan(mini)


def test_levels_as_found_or_as_asked(mini: Path) -> None:
    touch(mini, "original_sequences/youtube/c40/videos/001.mp4")
    assert Counter(item.level for item in scan(mini).items) == {"c23": 8, "c40": 1}
    assert "manipulated_sequences/Deepfakes/c40/videos" in [remark.place for remark in scan(mini).remarks]
    assert {item.level for item in scan(mini, "c40").items} == {"c40"}
    with pytest.raises(DataError, match="nothing usable"):
        scan(mini, "raw")
    with pytest.raises(DataError, match=r"no compression level 'c32'.*Did you mean c23"):
        scan(mini, "c32")


def test_masks_are_known(mini: Path) -> None:
    touch(mini, "manipulated_sequences/Deepfakes/masks/videos/001_002.mp4")
    masks = {item.video: item.mask for item in scan(mini).items if item.cls == "FF-DF"}
    assert masks["001_002"] == VideoFile(mini / "manipulated_sequences/Deepfakes/masks/videos/001_002.mp4")
    assert masks["003_004"] is None


def test_files_that_are_not_used_are_named(mini: Path) -> None:
    touch(mini, f"{REAL}/900.mp4", f"{REAL}/001.mp4.part", f"{REAL}/.DS_Store", f"{FAKE}/001_\\..\\..\\x.mp4")
    touch(mini, f"{FAKE}/001_{'x' * 240}.mp4", f"{FAKE}/001_\x07.mp4")
    (mini / FAKE / "sub").mkdir()
    reasons = left_out(scan(mini))
    assert reasons[f"{REAL}/900.mp4"] == "'900' is in no split"
    assert "not one of" in reasons[f"{REAL}/001.mp4.part"]
    assert "leave its folder" in reasons[f"{FAKE}/001_\\..\\..\\x.mp4"]
    assert "leave its folder" in reasons[f"{FAKE}/001_\x07.mp4"]
    assert reasons[f"{FAKE}/sub"] == "not a file"
    assert len(reasons) == 5  # a file name of 244 bytes still fits, .DS_Store is passed over


def test_a_name_too_long_for_a_key(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"001_{'ä' * 115}.mp4"
    touch(mini, f"{FAKE}/{name}")
    monkeypatch.setattr(FaceForensics, "name", "F" * 250)
    reasons = left_out(scan(mini))
    assert list(reasons) == [f"{FAKE}/{name}"]
    assert "too long for a key" in reasons[f"{FAKE}/{name}"]


def test_two_files_of_one_video(mini: Path) -> None:
    touch(mini, f"{REAL}/001.avi")
    with pytest.raises(DataError, match=r"one name: .*001\.avi, .*001\.mp4"):
        scan(mini)


def test_splits_are_read_from_either_place_and_checked(tmp_path: Path, mini: Path) -> None:
    assert read_splits(mini)["006"] == "test"
    splits = mini / "dataset" / "splits"
    for path in splits.iterdir():
        path.rename(mini / path.name)
    assert read_splits(mini)["001"] == "train"
    (mini / "val.json").write_text('[["001", "004"]]')
    with pytest.raises(DataError, match=r"val\.json.*'001' is in split train too"):
        scan(mini)
    (mini / "val.json").write_text("[[1, 4]]")
    with pytest.raises(DataError, match="leading zeros"):
        scan(mini)
    (mini / "val.json").write_text('["003", "004"]')
    with pytest.raises(DataError, match="list of pairs"):
        scan(mini)
    (mini / "val.json").write_text("[[")
    with pytest.raises(DataError, match=r"val\.json: not valid JSON"):
        scan(mini)
    (mini / "val.json").unlink()
    with pytest.raises(DataError, match=r"val\.json is missing"):
        scan(mini)
    (mini / "train.json").unlink()
    with pytest.raises(DataError, match=r"no split files.*ondyari/FaceForensics"):
        scan(mini)


def test_wrong_root(tmp_path: Path, mini: Path) -> None:
    with pytest.raises(DataError, match="no folder at --root"):
        scan(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"has neither of original_sequences.*Did you mean --root .*Gesichter"):
        scan(mini.parent)


def test_real_copy(shared: Path) -> None:
    found = scan(shared / "data" / "real" / "FaceForensics")
    assert {(item.cls, item.split, item.video) for item in found.items} == {
        ("FF-real", "train", "519"), ("FF-DF", "train", "519_515"), ("FF-F2F", "train", "750_743"),
        ("FF-real", "val", "004"), ("FF-NT", "val", "004_982"),
        ("FF-real", "test", "634"), ("FF-FS", "test", "634_660"),
    }  # fmt: skip
    split_sizes = Counter(read_splits(shared / "data" / "real" / "FaceForensics").values())
    assert split_sizes == {"train": 720, "val": 140, "test": 140}
    assert LAYOUTS.get("FF++") is FaceForensics
