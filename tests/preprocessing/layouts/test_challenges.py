"""DFDC, DFDCP, WildDeepfake, UADFV, DeeperForensics, DeepFakeDetection and the originals of FF++."""

from __future__ import annotations

import json

import pytest

from benchmark.errors import DataError


def test_dfdc_test_labels_and_training_parts(tree, scan, rows, said):
    root = tree(
        "test/ori_videos/1/aaa.mp4", "test/ori_videos/2/bbb.mp4", "test/ori_videos/2/zzz.mp4",
        "train/dfdc_train_part_0/ccc.mp4", "train/dfdc_train_part_10/ddd.mp4", "train/dfdc_train_part_0/x.txt",
        texts={
            "test/labels.csv": "filename,label\r\naaa.mp4,0\r\nbbb.mp4,1\r\ngone.mp4,1\r\n",
            "train/dfdc_train_part_0/metadata.json": json.dumps(
                {"ccc.mp4": {"label": "FAKE", "split": "train", "original": "ddd.mp4"}}),
            "train/dfdc_train_part_10/metadata.json": json.dumps({"ddd.mp4": {"label": "REAL", "split": "train"}}),
        },
    )  # fmt: skip
    found = scan("DFDC", root)
    assert rows(found) == {
        ("DFDC_Real", "test", "test/aaa"),
        ("DFDC_Fake", "test", "test/bbb"),
        ("DFDC_Fake", "train", "train/dfdc_train_part_0/ccc"),
        ("DFDC_Real", "train", "train/dfdc_train_part_10/ddd"),
    }
    assert next(item for item in found.items if item.video == "ccc").facts == {"original": "ddd.mp4"}
    assert said(found, "missing") == {"gone": "1 of 3 entries of test's list are not in this copy"}
    left = said(found, "left out")
    assert left["test/ori_videos/2/zzz.mp4"] == "the list of labels does not name it"
    assert "train/dfdc_train_part_0/x.txt" in left


def test_dfdc_lists_must_be_there_and_make_sense(tree, scan):
    root = tree("test/a.mp4")
    with pytest.raises(DataError, match=r"DFDC: the list .*labels\.csv is missing"):
        scan("DFDC", root)
    (root / "test" / "labels.csv").write_text("file,label\na.mp4,0\n")
    with pytest.raises(DataError, match=r"no column filename; found file, label"):
        scan("DFDC", root)
    (root / "test" / "labels.csv").write_text("filename,label\na.mp4,2\n")
    with pytest.raises(DataError, match="label '2' is not one of 0, 1"):
        scan("DFDC", root)


def test_dfdc_equal_stems_in_nested_folders_are_not_merged(tree, scan):
    root = tree("test/1/a.mp4", "test/2/a.mp4", texts={"test/labels.csv": "filename,label\na.mp4,0\n"})
    with pytest.raises(DataError, match=r"two sources have one name: test/1/a\.mp4, test/2/a\.mp4"):
        scan("DFDC", root)


def test_dfdcp_by_first_folder_and_set(tree, scan, rows, said):
    listing = {
        "original_videos/1/1_A_001.mp4": {"label": "real", "set": "train"},
        "method_A/1/2/1_2_A_001.mp4": {"label": "fake", "set": "test", "target_id": "1", "swapped_id": "2"},
        "method_B/1/2/1_2_B_001.mp4": {"label": "fake", "set": "train"},
        "method_B/1/2/flipped.mp4": {"label": "real", "set": "train"},
        "method_B/1/2/odd.mp4": {"label": "fake", "set": "validation"},
    }
    root = tree(*listing, "method_A/unlisted.mp4", texts={"dataset.json": json.dumps(listing)})
    found = scan("DFDCP", root)
    assert rows(found) == {
        ("DFDCP_Real", "train", "original_videos/1_A_001"),
        ("DFDCP_FakeA", "test", "method_A/1_2_A_001"),
        ("DFDCP_FakeB", "train", "method_B/1_2_B_001"),
    }
    left = said(found, "left out")
    assert left["method_B/1/2/flipped.mp4"] == "dataset.json calls it real, but its folder says DFDCP_FakeB"
    assert left["method_B/1/2/odd.mp4"] == "dataset.json puts it into 'validation'"
    assert left["method_A/unlisted.mp4"] == "dataset.json does not name it"


def test_wild_deepfake_folders_are_videos(tree, scan, rows, golden):
    root = tree(
        "deepfake_in_the_wild/fake_test/1/fake/11/0.png", "deepfake_in_the_wild/fake_test/1/fake/11/10.png",
        "deepfake_in_the_wild/fake_test/1/fake/11/2.png", "deepfake_in_the_wild/real_test/1/real/11/0.png",
        "deepfake_in_the_wild/real_train/0/real/7/0.png",
    )  # fmt: skip
    found = scan("WDF", root)
    assert rows(found) == {
        ("WDF_Fake", "test", "fake_test/fake_test_1_fake_11"),
        ("WDF_Real", "test", "real_test/real_test_1_real_11"),
        ("WDF_Real", "train", "real_train/real_train_0_real_7"),
    }
    fake = next(item for item in found.items if item.cls == "WDF_Fake")
    assert fake.is_cropped
    assert [path.name for path in fake.source.files] == ["0.png", "2.png", "10.png"]
    ids = json.loads((golden / "video_names_and_classes.json").read_text())["dfd_video_id"]
    assert fake.video in {case["video_id"] for case in ids}
    assert rows(scan("WDF", root / "deepfake_in_the_wild")) == rows(found)


def test_uadfv(tree, scan, rows, said):
    names = [f"{kind}/{i:04d}{end}.mp4" for kind, end in (("real", ""), ("fake", "_fake")) for i in range(49)]
    found = scan("UADFV", tree(*names))
    assert len(found.items) == 98
    assert ("UADFV_Fake", "test", "fake/0008_fake") in rows(found)
    assert ("UADFV_Real", "test", "real/0008") in rows(found)
    assert found.remarks == ()


def test_deeperforensics_splits_and_perturbations(tree, scan, rows, said):
    texts = {f"lists/splits/{split}.txt": f"{i:03d}_M101.mp4\n" for i, split in enumerate(("train", "val", "test"))}
    fakes = [f"manipulated_videos/{kind}/{i:03d}_M101.mp4" for kind in ("end_to_end", "level_5") for i in range(3)]
    reals = [f"source_videos/M101/light_{side}/surprise.mp4" for side in ("left", "right")]
    root = tree(*fakes, *reals, "manipulated_videos/end_to_end/900_M101.mp4", texts=texts)
    found = scan("DF-1.0", root)
    assert rows(found) == {
        *(
            ("DF_fake", s, f"manipulated_videos/end_to_end/{i:03d}_M101")
            for i, s in enumerate(("train", "val", "test"))
        ),
        ("DF_real", "test", "source_videos/M101_light_left_surprise"),
        ("DF_real", "test", "source_videos/M101_light_right_surprise"),
    }
    left = said(found, "left out")
    assert left["manipulated_videos/level_5"] == "not the perturbation end_to_end"
    assert left["manipulated_videos/end_to_end/900_M101.mp4"] == "no list in lists/splits names it"
    other = scan("DF-1.0", root, perturbation="level_5")
    assert {item.facts["perturbation"] for item in other.items if item.cls == "DF_fake"} == {"level_5"}
    with pytest.raises(DataError, match=r"no perturbation 'level_6'.*end_to_end, level_5.*Did you mean level_5"):
        scan("DF-1.0", root, perturbation="level_6")


def test_dfd_is_all_test_at_each_level(tree, scan, rows):
    root = tree(
        "original_sequences/actors/raw/videos/01__exit_phone_room.mp4",
        "original_sequences/actors/c23/videos/01__exit_phone_room.mp4",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__exit_phone_room__YVGY8LOK.mp4",
        "manipulated_sequences/DeepFakeDetection/masks/videos/01_02__exit_phone_room__YVGY8LOK.mp4",
    )
    found = scan("DFD", root)
    assert rows(found) == {
        ("DFD_real", "test", "original_sequences/actors/raw/01__exit_phone_room"),
        ("DFD_real", "test", "original_sequences/actors/c23/01__exit_phone_room"),
        ("DFD_fake", "test", "manipulated_sequences/DeepFakeDetection/c23/01_02__exit_phone_room__YVGY8LOK"),
    }
    assert all((item.mask is not None) == (item.cls == "DFD_fake") for item in found.items)


def test_originals_for_pre_training_join_train_and_val(mini, scan, rows):
    found = scan("FF++_o", mini)
    splits = {item.video: item.split for item in found.items}
    assert splits == {"001": "train", "002": "train", "003": "train", "004": "train", "005": "test"}
    assert {item.cls for item in found.items} == {"FF-real"}


def test_ffpp_crops_of_deepfakebench(tree, scan, mini):
    root = tree(
        "original_sequences/youtube/c23/frames/001/000.png",
        "manipulated_sequences/FaceShifter/c23/frames/001_002/3.png",
        texts={path.name: path.read_text() for path in (mini / "dataset/splits").iterdir()},
    )
    assert {(i.cls, i.split, i.level, i.video, i.is_cropped) for i in scan("FF++", root).items} == {
        ("FF-real", "train", "c23", "001", True), ("FF-FH", "train", "c23", "001_002", True)}  # fmt: skip
