from __future__ import annotations

import json

import pytest

from benchmark.data.readers import load_word
from benchmark.errors import DataError
from benchmark.schema import PathsConfig
from preprocessing.layouts.derived import derive, derive_all
from preprocessing.layouts.ffpp import FaceForensics
from preprocessing.prepare import prepare

LIST = "List_of_testing_videos.txt"
# The authors' digit is 1 for real, and the file has Windows line ends.
TEST = "1 Celeb-real/id0_0000.mp4\r\n1 YouTube-real/00170.mp4\r\n0 Celeb-synthesis/id0_id1_0000.mp4\r\n"
VIDEOS = (
    "Celeb-real/id0_0000.mp4", "Celeb-real/id0_0001.mp4", "YouTube-real/00170.mp4", "YouTube-real/00171.mp4",
    "Celeb-synthesis/id0_id1_0000.mp4", "Celeb-synthesis/id0_id1_0001.mp4",
)  # fmt: skip
EXPECTED = {
    ("CelebDFv2_real", "test", "Celeb-real/id0_0000"),
    ("CelebDFv2_real", "train", "Celeb-real/id0_0001"),
    ("CelebDFv2_real", "test", "YouTube-real/00170"),
    ("CelebDFv2_real", "train", "YouTube-real/00171"),
    ("CelebDFv2_fake", "test", "Celeb-synthesis/id0_id1_0000"),
    ("CelebDFv2_fake", "train", "Celeb-synthesis/id0_id1_0001"),
}


def test_folders_decide_labels_and_the_list_decides_the_split(tree, scan, rows):
    found = scan("CDFv2", tree(*VIDEOS, texts={LIST: TEST}))
    assert rows(found) == EXPECTED
    assert found.remarks == ()
    digits = {item.video: item.facts.get("list_digit") for item in found.items}
    assert digits["id0_0000"] == 1, "a real video has the list's digit 1"
    assert digits["id0_id1_0000"] == 0
    assert digits["00171"] is None


def test_deepfakebench_copies_have_a_folder_videos_between(tree, scan, rows):
    names = [name.replace("/", "/videos/") for name in VIDEOS]
    assert rows(scan("CDFv2", tree(*names, texts={LIST: TEST}))) == EXPECTED


def test_deepfakebench_crops_without_videos(tree, scan, rows):
    names = [name.replace("/", "/frames/").replace(".mp4", "/012.png") for name in VIDEOS]
    found = scan("CDFv2", tree(*names, "Celeb-real/landmarks/id0_0000/012.npy", texts={LIST: TEST}))
    assert rows(found) == EXPECTED
    assert all(item.is_cropped for item in found.items)


def test_version_1_has_its_own_classes_and_counts(tree, scan):
    found = scan("CDFv1", tree(*VIDEOS, texts={LIST: TEST}))
    assert {item.cls for item in found.items} == {"CelebDFv1_real", "CelebDFv1_fake"}


def test_a_missing_or_strange_list_is_an_error(tree, scan):
    root = tree(*VIDEOS)
    with pytest.raises(DataError, match=rf"Celeb-DF-v2: the list .*{LIST} is missing.*decides what is test"):
        scan("CDFv2", root)
    (root / LIST).write_text("Celeb-real/id0_0000.mp4\n")
    with pytest.raises(DataError, match=r"line 1: expected '0\|1 FOLDER/NAME.mp4'"):
        scan("CDFv2", root)
    with pytest.raises(DataError, match=r"none of the folders Celeb-real.*Did you mean --root .*raw"):
        scan("CDFv2", root.parent)


def test_an_incomplete_copy_says_what_is_missing(tree, scan, said):
    found = scan("CDFv2", tree(*VIDEOS[:1], VIDEOS[4], "Celeb-real/notes.txt", texts={LIST: TEST}))
    missing = said(found, "missing")
    assert missing["YouTube-real"] == "the whole folder"
    assert missing["YouTube-real/00170"] == f"1 of 3 entries of {LIST} are not in this copy"
    assert "Celeb-real/notes.txt" in said(found, "left out")


def test_plus_plus_has_nested_folders_with_equal_stems(tree, scan, rows):
    fakes = [f"Celeb-synthesis/{kind}/{method}/id0_id1_0000.mp4" for kind, method in (
        ("FaceSwap", "A"), ("FaceSwap", "B"), ("FaceReenact", "C"), ("TalkingFace", "D"))]  # fmt: skip
    lines = "".join(f"0 {name}\n" for name in fakes[1:]) + "1 Celeb-real/id0_0000.mp4\n"
    found = scan("CDF++", tree(*fakes, "Celeb-real/id0_0000.mp4", "Celeb-synthesis/x.mp4", texts={LIST: lines}))
    assert rows(found) == {
        ("CelebDF++_FaceSwap_fake", "train", "Celeb-synthesis/FaceSwap_A_id0_id1_0000"),
        ("CelebDF++_FaceSwap_fake", "test", "Celeb-synthesis/FaceSwap_B_id0_id1_0000"),
        ("CelebDF++_FaceReenact_fake", "test", "Celeb-synthesis/FaceReenact_C_id0_id1_0000"),
        ("CelebDF++_TalkingFace_fake", "test", "Celeb-synthesis/TalkingFace_D_id0_id1_0000"),
        ("CelebDF++_real", "test", "Celeb-real/id0_0000"),
    }


def test_prepared_once_tested_with_and_without_youtube(tree, video_maker, bright, tmp_path):
    root = tree(texts={LIST: TEST})
    for name in VIDEOS:
        video_maker(root / name, num_frames=4)
    data, indexes = tmp_path / "data", tmp_path / "index"
    report = prepare(
        "CDFv2", root, data_dir=data, index_dir=indexes, frames=2, face_finder="bright", workers=1, plugins=[bright]
    )
    assert "CelebDFv2_real: 4 of 178 videos" in report.missing
    paths = PathsConfig(data=data, indexes=indexes)
    full, part = (load_word(name, "test", paths, {})[1] for name in ("CDFv2", "CDFv2-NYR"))
    assert {(record.video, record.label) for record in full.records} == {
        ("id0_0000", 0), ("00170", 0), ("id0_id1_0000", 1)}  # fmt: skip
    assert {record.video for record in part.records} == {"id0_0000", "id0_id1_0000"}
    assert part.source.read(part.records[0].frames[0]), "the frames are those of the one store"
    assert [path.name for path in derive_all(indexes / "Celeb-DF-v2.json")] == ["Celeb-DF-v2-NYR.json"]


def test_the_variant_is_made_from_deepfakebench_indexes_too(tmp_path):
    def record(folder: str) -> dict:
        return {"label": "CelebDFv2_real", "frames": [f"Celeb-DF-v2\\{folder}\\frames\\x\\000.png"]}

    videos = {"a": record("Celeb-real"), "b": record("YouTube-real")}
    fake = {"c": {"label": "CelebDFv2_fake", "frames": ["Celeb-DF-v2\\Celeb-synthesis\\frames\\c\\000.png"]}}
    content = {"Celeb-DF-v2": {"CelebDFv2_real": {"test": videos}, "CelebDFv2_fake": {"test": fake}}}
    paths = PathsConfig(data=tmp_path, indexes=tmp_path)
    with pytest.raises(DataError, match="CDFv2-NYR is a part of Celeb-DF-v2"):
        load_word("CDFv2-NYR", "test", paths, {})
    (tmp_path / "Celeb-DF-v2.json").write_text(json.dumps(content))
    assert {item.video for item in load_word("CDFv2-NYR", "test", paths, {})[1].records} == {"a", "c"}


def test_a_part_without_its_fakes_is_refused(tmp_path):
    real = {"001": {"label": "FF-real", "frames": ["FaceForensics++/x/001/000.png"]}}
    fake = {"001_002": {"label": "FF-DF", "frames": ["FaceForensics++/y/001_002/000.png"]}}
    path = tmp_path / "FaceForensics++.json"
    path.write_text(json.dumps({path.stem: {"FF-real": {"test": {"c23": real}}, "FF-DF": {"test": {"c23": fake}}}}))
    assert [part.stem for part in derive_all(path)] == ["FF-DF"]
    with pytest.raises(DataError, match="has no fake videos of the part FaceShifter"):
        derive(path, "FaceShifter", FaceForensics.parts["FaceShifter"])
