"""Readers: JSON index with stores or files, label lists, class folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.data.cards import DatasetCard, Word
from benchmark.data.index import VideoRecord, write_index
from benchmark.data.readers import (
    group_by_video,
    load_word,
    load_words,
    read_class_folders,
    read_label_list,
    video_name,
)
from benchmark.data.store import StoreWriter
from benchmark.errors import ConfigError, DataError
from benchmark.schema import PathsConfig


@pytest.fixture
def paths(tmp_path):
    return PathsConfig(data=tmp_path / "data", indexes=tmp_path / "indexes")


def word_for(**card) -> Word:
    return Word("mine", DatasetCard(name="mine", **card), None, None)


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# ------------------------------------------------------------------ index


def ff_records():
    classes = {"FF-real": 0, "FF-DF": 1, "FF-F2F": 1, "FF-FH": 1}
    return [
        VideoRecord(
            "FaceForensics++", cls, label, "test", level, "000", (f"FaceForensics++/{cls}/{level}/frames/000/1.png",)
        )
        for cls, label in classes.items()
        for level in ("c23", "c40")
    ]


@pytest.fixture
def ffpp(paths):
    write_index(paths.indexes / "FaceForensics++.json", "FaceForensics++", ff_records(), {})
    return paths


@pytest.mark.parametrize(
    ("text", "classes", "level"),
    [
        ("FF++", ["FF-DF", "FF-F2F", "FF-real"], "c23"),
        ("FF++@c40", ["FF-DF", "FF-F2F", "FF-real"], "c40"),
        ("FaceForensics++_c40", ["FF-DF", "FF-F2F", "FF-real"], "c40"),
        ("FF++/Deepfakes", ["FF-DF", "FF-real"], "c23"),
        ("FF++/F2F@c40", ["FF-F2F", "FF-real"], "c40"),
    ],
)
def test_words_choose_classes_and_levels_from_one_file(ffpp, text, classes, level):
    word, listing = load_word(text, "test", ffpp, {})
    assert sorted(record.cls for record in listing.records) == classes
    assert {record.level for record in listing.records} == {level}
    assert word.card.name == "FF++"


def test_missing_level_lists_the_levels_there_are(ffpp):
    with pytest.raises(DataError, match=r"^FF\+\+@raw: compression 'raw' was not prepared; available: c23, c40\.$"):
        load_word("FF++@raw", "test", ffpp, {})


def test_alias_with_suffix_reads_the_plain_file(paths):
    record = VideoRecord("FF-DF", "FF-DF", 1, "test", "c40", "0_1", ("FaceForensics++/a.png",))
    write_index(paths.indexes / "FF-DF.json", "FF-DF", [record], {})
    assert load_word("FF-DF_c40", "test", paths, {})[1].records == (record,)
    with pytest.raises(DataError, match="compression 'c23' was not prepared; available: c40"):
        load_word("FF-DF", "test", paths, {})


def test_file_of_a_level_takes_that_level(paths):
    records = [
        VideoRecord("FF-DF", "FF-DF", 1, "test", level, "0_1", (f"FaceForensics++/{level}.png",))
        for level in ("c23", "c40")
    ]
    write_index(paths.indexes / "FF-DF_c40.json", "FF-DF", records, {})
    assert [record.level for record in load_word("FF-DF_c40", "test", paths, {})[1].records] == ["c40"]


def test_subset_with_an_index_of_its_own(ffpp):
    with pytest.raises(DataError, match=r"FF\+\+/FaceShifter: no index found \(tried .*FaceShifter\.json\)"):
        load_word("FF++/FaceShifter", "test", ffpp, {})
    record = VideoRecord("FaceShifter", "FF-FH", 1, "test", "c23", "000_003", ("FaceForensics++/fsh.png",))
    write_index(ffpp.indexes / "FaceShifter.json", "FaceShifter", [record], {})
    assert load_word("FF++/FSh", "test", ffpp, {})[1].records == (record,)


def test_empty_split_counts_the_others(ffpp):
    with pytest.raises(
        DataError, match=r"^FF\+\+: the train split is empty \(videos per split: train 0, val 0, test 8\)\.$"
    ):
        load_word("FF++", "train", ffpp, {})


def test_missing_index_says_what_was_tried(paths):
    with pytest.raises(DataError) as error:
        load_word("CDFv2", "test", paths, {})
    assert str(error.value).startswith(f"CDFv2: no index found (tried {paths.indexes / 'Celeb-DF-v2.json'}, ")
    assert "python -m benchmark prepare CDFv2 --root FOLDER" in str(error.value)


def test_bytes_come_from_the_store_of_the_frames_folder(ffpp):
    key = "FaceForensics++/FF-DF/c23/frames/000/1.png"
    with StoreWriter(ffpp.data / "FaceForensics++_lmdb") as writer:
        writer.put(key, b"pixels")
    source = load_word("FF++", "test", ffpp, {})[1].source
    assert source.read(key) == b"pixels"


def test_an_index_by_path_needs_no_card(paths, tmp_path):
    record = VideoRecord("Own", "own_fake", 1, "test", None, "v", ("Own/1.png",))
    write_index(tmp_path / "somewhere" / "Own.json", "Own", [record], {})
    word, listing = load_word(str(tmp_path / "somewhere" / "Own.json"), "test", paths, {})
    assert (word.label, listing.records) == ("Own", (record,))


def test_labels_of_the_run_reach_the_index(paths):
    content = {"Own": {"magic": {"test": {"v": {"label": "magic", "frames": ["Own/1.png"]}}}}}
    touch(paths.indexes / "Own.json", json.dumps(content).encode())
    with pytest.raises(DataError, match="label 'magic' is not known"):
        load_words(["Own"], "test", paths)
    assert load_words(["Own"], "test", paths, {"magic": 1})[0][1].records[0].label == 1


def test_a_card_can_choose_the_reader_and_its_options_are_checked(paths, tmp_path):
    touch(tmp_path / "faces" / "real_youtube" / "a_frame_0.png")
    touch(paths.indexes / "Own.yaml", f"name: Own\nreader: {{name: folder, root: {tmp_path / 'faces'}}}\n".encode())
    assert len(load_word("Own", "test", paths, {})[1].records) == 1
    touch(paths.indexes / "Own.yaml", b"name: Own\nreader: {name: folder, rot: x}\n")
    with pytest.raises(ConfigError, match=r"Own: reader\.rot is not a known key\. Did you mean Own: reader\.root\?"):
        load_word("Own", "test", paths, {})


# ------------------------------------------------------------------ label lists


@pytest.mark.parametrize(
    ("delimiter", "text"),
    [
        (" ", "a/x_frame_1.png 0\na/x_frame_0.png 0\n\nb/y_frame_0.png 1\n"),
        (",", "a/x_frame_1.png,0\na/x_frame_0.png,0\nb/y_frame_0.png,1\n"),
        (", ", "a/x_frame_1.png, 0\na/x_frame_0.png, 0\nb/y_frame_0.png, 1\r\n"),
        ("\t", "a/x_frame_1.png\t0\na/x_frame_0.png\t0\nb/y_frame_0.png\t1\n"),
    ],
)
def test_list_delimiters(paths, tmp_path, delimiter, text):
    file = touch(tmp_path / "lists" / "test.txt", text.encode())
    listing = read_label_list(word_for(), paths, {}, files={"test": str(file)}, delimiter=delimiter)
    assert [(r.cls, r.label, r.video, r.frames) for r in listing.records] == [
        ("real", 0, "x", ("a/x_frame_0.png", "a/x_frame_1.png")),
        ("fake", 1, "y", ("b/y_frame_0.png",)),
    ]
    assert {record.split for record in listing.records} == {"test"}


def test_paths_may_hold_the_delimiter(paths, tmp_path):
    file = touch(tmp_path / "test.txt", b"my faces/a b.png 1\n")
    records = read_label_list(word_for(), paths, {}, files=str(file)).records
    assert records[0].frames == ("my faces/a b.png",)


def test_published_lists_have_fake_as_zero(paths, tmp_path):
    file = touch(tmp_path / "test.txt", b"a.png 0\nb.png 1\n")
    records = read_label_list(word_for(), paths, {}, files={"test": str(file)}, classes={"0": 1, "1": 0}).records
    assert [(record.frames[0], record.label, record.cls) for record in records] == [
        ("a.png", 1, "fake"),
        ("b.png", 0, "real"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png 2", r"line 2: expected 'path label' with label in \['0', '1'\], found 'a\.png 2'"),
        ("a.png", "line 2: expected 'path label'"),
        ("a.png,1", "line 2: expected 'path label'"),
        ("../a.png 1", r"line 2: path '\.\./a\.png' leaves the data root"),
        ("x\\..\\..\\a.png 1", "leaves the data root"),
    ],
)
def test_bad_list_lines_are_named(paths, tmp_path, line, message):
    file = touch(tmp_path / "test.txt", f"ok.png 0\n{line}\n".encode())
    with pytest.raises(DataError, match=message) as error:
        read_label_list(word_for(), paths, {}, files=str(file))
    assert str(error.value).startswith(str(file))


def test_list_reads_bytes_beside_itself_or_below_root(paths, tmp_path):
    touch(tmp_path / "lists" / "a" / "1.png", b"beside")
    touch(tmp_path / "images" / "a" / "1.png", b"below root")
    file = touch(tmp_path / "lists" / "test.txt", b"/a/1.png 1\n")
    for root, expected in (("", b"beside"), (str(tmp_path / "images"), b"below root")):
        listing = read_label_list(word_for(), paths, {}, files={"test": str(file)}, root=root)
        assert listing.source.read(listing.records[0].frames[0]) == expected


def test_missing_list(paths, tmp_path):
    with pytest.raises(DataError, match=r"No label list at .*nowhere\.txt"):
        read_label_list(word_for(), paths, {}, files=str(tmp_path / "nowhere.txt"))


def test_list_fingerprint_follows_its_content(paths, tmp_path):
    file = touch(tmp_path / "test.txt", b"a.png 0\n")
    first = read_label_list(word_for(), paths, {}, files=str(file)).fingerprint
    assert read_label_list(word_for(), paths, {}, files=str(file)).fingerprint == first
    touch(file, b"a.png 1\n")
    assert read_label_list(word_for(), paths, {}, files=str(file)).fingerprint != first


# ------------------------------------------------------------------ class folders


def test_class_folders_of_fsfm(paths, tmp_path, golden):
    """Every folder name of the published sets gets its meaning by name, never by alphabetical order."""
    for number, folders in enumerate(golden("video_names_and_classes.json")["class_index"].values()):
        root = tmp_path / f"set{number}"
        for folder in folders:
            touch(root / "test" / folder / "v_frame_0.png")
        records = read_class_folders(word_for(), paths, {}, root=str(root)).records
        assert {record.cls: record.label for record in records} == {name: int("fake" in name) for name in folders}


def test_class_folders_with_splits_subfolders_and_suffixes(paths, tmp_path):
    for path in (
        "train/real_youtube/a_frame_0.png",
        "train/fake_four/deep/b_frame_10.JPG",
        "train/fake_four/deep/b_frame_9.JPG",
        "val/real_youtube/c_frame_0.webp",
        "val/real_youtube/notes.txt",
    ):
        touch(tmp_path / path)
    records = read_class_folders(word_for(), paths, {}, root=str(tmp_path)).records
    assert [(r.split, r.cls, r.label, r.video, r.frames) for r in records] == [
        ("train", "fake_four", 1, "b", ("train/fake_four/deep/b_frame_9.JPG", "train/fake_four/deep/b_frame_10.JPG")),
        ("train", "real_youtube", 0, "a", ("train/real_youtube/a_frame_0.png",)),
        ("val", "real_youtube", 0, "c", ("val/real_youtube/c_frame_0.webp",)),
    ]


def test_folders_without_splits_serve_every_split(paths, tmp_path):
    touch(tmp_path / "live" / "1.png")
    records = read_class_folders(word_for(), paths, {}, root=str(tmp_path)).records
    assert [(record.split, record.frames) for record in records] == [
        (s, ("live/1.png",)) for s in ("train", "val", "test")
    ]


def test_unknown_class_folder_is_an_error_with_the_fix(paths, tmp_path):
    touch(tmp_path / "test" / "deepmagic" / "1.png")
    with pytest.raises(DataError, match=r"deepmagic: label 'deepmagic' is not known.*labels: \{'deepmagic': 1\}"):
        read_class_folders(word_for(), paths, {}, root=str(tmp_path))
    for options in ({"labels": {"deepmagic": 1}}, {"labels": {}, "classes": {"deepmagic": 1}}):
        records = read_class_folders(word_for(), paths, root=str(tmp_path), **options).records
        assert [record.label for record in records] == [1]


def test_missing_folder(paths, tmp_path):
    with pytest.raises(DataError, match=r"mine: no folder at .*nowhere"):
        read_class_folders(word_for(), paths, {}, root=str(tmp_path / "nowhere"))


# ------------------------------------------------------------------ video names


def test_golden_video_names(golden):
    for case in golden("video_names_and_classes.json")["dfd_video_id"]:
        assert video_name(case["path"]) == case["video_id"], case


def test_same_clip_under_two_classes_stays_two_videos():
    records = group_by_video("D", "test", [("r/a_frame_0.png", "real", 0), ("f/a_frame_0.png", "fake", 1)])
    assert [record.video_id for record in records] == ["real/a", "fake/a"]


def test_images_without_a_frame_number_are_videos_of_their_own():
    records = group_by_video("D", "test", [("f/x/1.png", "fake", 1), ("f/y/1.png", "fake", 1)])
    assert [record.frames for record in records] == [("f/x/1.png",), ("f/y/1.png",)]
    assert len({record.video_id for record in records}) == 2
