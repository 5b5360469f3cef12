"""JSON indexes: every shape and path style in use reads to the same records; ours round-trips to the same bytes."""

from __future__ import annotations

import json
import os

import pytest

from benchmark.data.index import (
    LABELS,
    VideoRecord,
    canonical_key,
    fingerprint_of,
    frame_order,
    label_of,
    read_index,
    write_index,
)
from benchmark.errors import DataError

REAL_KEY = "FaceForensics++/original_sequences/youtube/c23/frames/000/000.png"
FAKE_KEY = "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/000_003/000.png"
STYLES = {
    "slash": "{key}",
    "released, backslash": "{backslash}",
    "dot": "./datasets/rgb/{key}",
    "dot, backslash": ".\\datasets\\rgb\\{backslash}",
    "datasets": "datasets/{key}",
    "Windows absolute": "T:\\some one\\datasets\\rgb\\{backslash}",
    "POSIX absolute": "/data/some one/{key}",
    "DF40": "deepfakes_detection_datasets/{key}",
    "DF40, dot": "./deepfakes_detection_datasets/{key}",
}


def shape_b(style: str) -> dict:
    def path(key: str) -> str:
        return style.format(key=key, backslash=key.replace("/", "\\"))

    real = {"label": "FF-real", "frames": [path(REAL_KEY)]}
    fake = {"label": "FF-DF", "frames": [path(FAKE_KEY)], "masks": [path(FAKE_KEY.replace("frames", "masks"))]}
    empty = {"val": {"c23": {}}, "test": {"c23": {}}}
    return {
        "FF-DF": {
            "FF-real": {"train": {"c23": {"000": real}}, **empty},
            "FF-DF": {"train": {"c23": {"000_003": fake}}, **empty},
        }
    }


@pytest.fixture
def read(tmp_path):
    def make(content: object, name: str = "X.json", **options):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return read_index(path, **options)

    return make


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_shape_b_reads_alike_in_every_path_style(read, style):
    index = read(shape_b(style), folders=["FaceForensics++"])
    assert index.records == (
        VideoRecord("FF-DF", "FF-real", 0, "train", "c23", "000", (REAL_KEY,)),
        VideoRecord("FF-DF", "FF-DF", 1, "train", "c23", "000_003", (FAKE_KEY,)),
    )
    assert index.name == "FF-DF"
    assert index.levels() == ["c23"]
    assert index.skipped == ()


def test_video_ids_are_unique_per_class(read):
    index = read(shape_b("{key}"), folders=["FaceForensics++"])
    assert [record.video_id for record in index.records] == ["FF-real/000", "FF-DF/000_003"]


def test_shape_a(read):
    index = read(
        {
            "UADFV": {
                "UADFV_Real": {
                    "train": {
                        "0008": {"label": "UADFV_Real", "frames": ["./datasets/rgb/UADFV/real/frames/0008/141.png"]}
                    },
                    "val": {},
                    "test": {},
                },
                "UADFV_Fake": {"train": {}, "val": {}, "test": {}},
            }
        }
    )
    assert index.records == (
        VideoRecord("UADFV", "UADFV_Real", 0, "train", None, "0008", ("UADFV/real/frames/0008/141.png",)),
    )
    assert index.levels() == []


DFDC = {
    "DFDC": {
        "DFDC_Real": {
            "train": {},
            "test": {"aaa": {"label": "DFDC_Real", "frames": ["DFDC\\test\\frames\\aaa\\000.png"]}},
            "val": {"label": "DFDC_Real", "frames": ["DFDC\\test\\frames\\aaa\\000.png"]},
        },
        "DFDC_Fake": {
            "train": {"ccc": {"label": "DFDC_Fake", "frames": ["DFDC\\train\\frames\\ccc\\000.png"]}},
            "test": {"bbb": {"label": "DFDC_Fake", "frames": ["DFDC\\test\\frames\\bbb\\000.png"]}},
            "val": {
                "label": "DFDC_Fake",
                "frames": ["x"],
                "ccc": {"label": "DFDC_Fake", "frames": ["DFDC\\val\\frames\\ccc\\000.png"]},
            },
        },
    }
}


def test_malformed_val_of_dfdc_is_passed_over_and_reported(read):
    index = read(DFDC)
    found = [(record.split, record.video, record.label, record.frames[0]) for record in index.records]
    assert found == [
        ("test", "aaa", 0, "DFDC/test/frames/aaa/000.png"),
        ("train", "ccc", 1, "DFDC/train/frames/ccc/000.png"),
        ("test", "bbb", 1, "DFDC/test/frames/bbb/000.png"),
        ("val", "ccc", 1, "DFDC/val/frames/ccc/000.png"),
    ]
    assert index.skipped == (
        "DFDC_Real/val/label is not a video record",
        "DFDC_Real/val/frames is not a video record",
        "DFDC_Fake/val/label is not a video record",
        "DFDC_Fake/val/frames is not a video record",
    )


def test_hand_made_index_with_free_names_and_missing_splits(read):
    index = read(
        {
            "mine": {
                "real": {"train": {"all": {"frames": ["m/a.png"]}}},
                "fake": {"test": {"all": {"frames": ["m/b.png"]}}},
            }
        }
    )
    assert [(record.cls, record.label, record.split, record.video) for record in index.records] == [
        ("real", 0, "train", "all"),
        ("fake", 1, "test", "all"),
    ]


def test_label_comes_from_the_record_not_from_the_class_key(read):
    index = read({"D": {"roop_Real": {"test": {"v": {"label": "roop_Fake", "frames": ["D/a.png"]}}}}})
    assert (index.records[0].label, index.records[0].cls) == (1, "roop_Fake")


def test_empty_videos_and_unknown_splits_are_counted_not_hidden(read):
    index = read(
        {
            "D": {
                "D_real": {"test": {"v": {"label": "D_real", "frames": []}}, "extra": {"w": {}}, "val": 3},
                "note": "text",
            }
        }
    )
    assert index.records == ()
    assert index.skipped == (
        "D_real/test/v has no frames",
        "D_real/extra is not a split (train, val, test)",
        "D_real/val is not an object",
        "note is not an object",
    )


def test_frames_are_sorted_by_number_with_their_facts(read):
    frames = [f"D/frames/v/{stem}.png" for stem in ("100", "20", "003", "1024", "0")]
    index = read(
        {"D": {"D_real": {"test": {"v": {"label": "D_real", "frames": frames, "numbers": [100, 20, 3, 1024, 0]}}}}}
    )
    record = index.records[0]
    assert [key.rsplit("/", 1)[1] for key in record.frames] == ["0.png", "003.png", "20.png", "100.png", "1024.png"]
    assert record.extra == {"numbers": (0, 3, 20, 100, 1024)}


def test_all_that_prepare_writes_is_read(read):
    matrices = [[1, 0, 5, 0, 1, 6], [2, 0, 7, 0, 2, 8]]
    facts, source = {"identity": "7", "attack": "print"}, {"file": "a.mp4", "bytes": 12}
    record = {
        "label": "D_real",
        "frames": ["D/2.png", "D/1.png"],
        "matrices": matrices,
        "facts": facts,
        "source": source,
    }
    extra = read({"D": {"D_real": {"test": {"v": record}}}}).records[0].extra
    assert extra == {"matrices": (matrices[1], matrices[0]), "facts": facts, "source": source}


def test_reals_listed_once_per_method_are_one_video(read):
    """DF40 lists its real videos under every method; with one label string they would get one id several times."""

    def real(*frames: str) -> dict:
        return {"label": "FSAll_Real", "frames": list(frames)}

    index = read(
        {
            "FSAll": {
                "fsgan_Real": {"test": {"000": real("F/000/1.png"), "001": real("F/001/1.png")}},
                "simswap_Real": {"test": {"000": real("F/000/1.png"), "all": real("F/x/1.png")}},
                "e4s_Real": {"test": {"all": real("F/y/1.png")}, "train": {"000": real("F/000/1.png")}},
            }
        }
    )
    ids = [(record.split, record.video_id) for record in index.records]
    assert ids == [
        ("test", "FSAll_Real/000"), ("test", "FSAll_Real/001"), ("test", "FSAll_Real/all"),
        ("test", "FSAll_Real/e4s_Real/all"), ("train", "FSAll_Real/000"),
    ]  # fmt: skip
    assert index.skipped == ("simswap_Real/test/000 is listed before under another class",)


def test_generator_file_names_sort_naturally():
    names = ["seed0188.png", "seed2.png", "7.png", "img10.png", "img9.png", "plain.png"]
    assert sorted(names, key=frame_order) == [
        "7.png",
        "plain.png",
        "seed2.png",
        "img9.png",
        "img10.png",
        "seed0188.png",
    ]


def test_per_frame_facts_of_the_wrong_length_are_not_attached(read):
    record = {"label": "D_real", "frames": ["D/1.png", "D/2.png"], "numbers": [1]}
    assert read({"D": {"D_real": {"test": {"v": record}}}}).records[0].extra == {}


# ------------------------------------------------------------------ labels


@pytest.mark.parametrize(("name", "label"), sorted(LABELS.items()))
def test_dictionary_labels(name, label):
    assert label_of(name, {}, "here") == label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("simswap_Real", 0), ("simswap_Fake", 1), ("0_real", 0), ("1_fake", 1), ("real", 0), ("fake", 1),
        ("WDF_Real", 0), ("SRI_fake", 1), ("DiFF_REAL", 0), ("msu_live", 0), ("casia_spoof", 1), ("replay_attack", 1),
        ("oulu_bona_fide", 0), ("bonafide", 0),
    ],
)  # fmt: skip
def test_suffix_rule(name, label):
    assert label_of(name, {}, "here") == label


def test_the_cards_labels_come_first_and_method_ids_count_as_fake():
    assert label_of("FF-real", {"FF-real": 1}, "here") == 1
    assert label_of("FF-NT", {"FF-NT": 4}, "here") == 1
    assert label_of("unreal engine", {"unreal engine": 0}, "here") == 0


def test_unknown_label_names_the_place_and_the_fix(read, tmp_path):
    with pytest.raises(DataError) as error:
        read({"D": {"DeepMagic": {"test": {"v7": {"label": "DeepMagic", "frames": ["D/1.png"]}}}}})
    assert str(error.value) == (
        f"{tmp_path / 'X.json'}, DeepMagic/test/v7: label 'DeepMagic' is not known, so it is not clear whether it "
        "means real or fake. Add one line to the dataset's YAML card:  labels: {'DeepMagic': 1}   (0 = real, 1 = fake)"
    )
    assert (
        read({"D": {"DeepMagic": {"test": {"v": {"frames": ["D/1.png"]}}}}}, labels={"DeepMagic": 1}).records[0].label
    )


# ------------------------------------------------------------------ paths


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "D/../../x.png", "D\\..\\..\\x.png", "./../x.png", "/data/D/../../x.png", "C:\\D\\..\\x.png"],
)
def test_path_that_climbs_out_of_the_root_is_refused(read, path, tmp_path):
    with pytest.raises(DataError) as error:
        read({"D": {"D_real": {"test": {"v": {"label": "D_real", "frames": [path]}}}}})
    assert str(error.value).startswith(f"{tmp_path / 'X.json'}, D_real/test/v: ")
    assert f"Path '{path}' leaves the data root ('..'); refused." in str(error.value)


@pytest.mark.parametrize("path", ["/etc/passwd", "C:\\Windows\\x.png", "\\\\server\\share\\x.png"])
def test_absolute_path_without_a_known_folder_is_refused(path):
    with pytest.raises(DataError, match=r"leaves the data root: no component is a known dataset folder \(FF\+\+\)"):
        canonical_key(path, ["FF++"])


def test_double_dots_inside_a_name_are_no_climbing():
    assert canonical_key("D/v..1/a...png") == "D/v..1/a...png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", r"expected an object \{NAME: \{CLASS: ...\}\}, found list"),
        ('{"A": {}, "B": {}}', r"expected one dataset at the top, found \['A', 'B'\]"),
        ('{"meta": {}}', "expected one dataset at the top, found none"),
        ('{"A": 3}', r"expected one dataset at the top, found \['A'\]"),
    ],
)
def test_files_that_are_no_index(read, text, message):
    with pytest.raises(DataError, match=message):
        read(text)


def test_missing_index_says_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match=r"No index file at .*none\.json\. Make one: python -m benchmark prepare"):
        read_index(tmp_path / "none.json")


# ------------------------------------------------------------------ writing


RECORDS = [
    VideoRecord("My", "FF-DF", 1, "test", "c40", "9", ("My/9/1.png",)),
    VideoRecord("My", "FF-DF", 1, "test", "c23", "9", ("My/9/1.png", "My/9/2.png"), {"numbers": (1, 2)}),
    VideoRecord("My", "FF-real", 0, "train", "c23", "ä 脸", ("My/ä 脸/1.png",)),
    VideoRecord("My", "FF-real", 0, "val", "raw", "2", ("My/2/1.png",), {"boxes": ([[0, 0, 5, 5]],), "numbers": (3,)}),
]


def test_round_trip(tmp_path):
    write_index(tmp_path / "My.json", "My", RECORDS, {"note": "x"})
    index = read_index(tmp_path / "My.json")
    order = sorted(RECORDS, key=lambda r: (r.cls, ["train", "val", "test"].index(r.split), r.level, r.video))
    assert list(index.records) == order
    assert index.meta == {"schema": 1, "note": "x"}
    assert index.levels() == ["raw", "c23", "c40"]


def test_writing_is_deterministic_and_the_fingerprint_follows_the_bytes(tmp_path):
    for name, records in (("a", RECORDS), ("b", RECORDS[::-1]), ("c", RECORDS[1:])):
        write_index(tmp_path / f"{name}.json", "My", records, {"note": "x"})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    prints = [read_index(tmp_path / f"{name}.json").fingerprint for name in "abc"]
    assert prints[0] == prints[1] != prints[2]


def test_one_line_per_video_and_no_leftovers(tmp_path):
    write_index(tmp_path / "My.json", "My", RECORDS, {})
    assert os.listdir(tmp_path) == ["My.json"]
    lines = (tmp_path / "My.json").read_text(encoding="utf-8").splitlines()
    assert sum('"frames":' in line for line in lines) == len(RECORDS)


def test_failed_write_leaves_the_old_index(tmp_path):
    write_index(tmp_path / "My.json", "My", RECORDS, {})
    before = (tmp_path / "My.json").read_bytes()
    with pytest.raises(TypeError):
        write_index(tmp_path / "My.json", "My", RECORDS, {"not json": object()})
    assert (tmp_path / "My.json").read_bytes() == before
    assert os.listdir(tmp_path) == ["My.json"]


def test_settings_fingerprint_ignores_key_order_only():
    assert fingerprint_of({"a": 1, "b": [1, 2]}) == fingerprint_of({"b": [1, 2], "a": 1})
    assert fingerprint_of({"a": 1, "b": [1, 2]}) != fingerprint_of({"a": 1, "b": [2, 1]})


def test_an_index_is_parsed_once_and_again_when_it_changes(tmp_path):
    path = tmp_path / "X.json"
    text = '{"X": {"X_real": {"test": {"a": {"label": "X_real", "frames": ["X/frames/a/0.png"]}}}}}'
    path.write_text(text)
    first = read_index(path)
    assert read_index(path) is first
    path.write_text(text.replace('"a":', '"bc":'))
    assert read_index(path).records[0].video == "bc"
