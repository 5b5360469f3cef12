"""Images: DiFF, DF40, pre-training faces, own folders and tables; crops indexed where they are."""

from __future__ import annotations

import pytest

from benchmark.data.readers import load_word
from benchmark.errors import DataError
from benchmark.registry import LAYOUTS
from benchmark.schema import PathsConfig
from preprocessing.layouts.derived import derive_all
from preprocessing.layouts.df40 import KNOWN, UNKNOWN
from preprocessing.layouts.processed import index_crops
from preprocessing.prepare import prepare


def test_diff_classes_by_name_not_by_sorting(tree, scan, rows, said):
    root = tree(
        "test/T2I/sd/a.png", "test/T2I/sd/a.jpg", "test/T2I/lora/a.png", "val/FE/x/1.0/b.png",
        "DiFF_real/test/p/r.jpg", "DiFF_real/test/q/r.jpg", "DiFF_real/val/r.jpg", "test/I2I/notes.txt",
    )  # fmt: skip
    found = scan("DiFF", root)
    assert rows(found) == {
        ("DiFF_T2I_fake", "test", "test/T2I/sd_a_png"), ("DiFF_T2I_fake", "test", "test/T2I/sd_a_jpg"),
        ("DiFF_T2I_fake", "test", "test/T2I/lora_a_png"), ("DiFF_FE_fake", "val", "val/FE/x_1_0_b_png"),
        ("DiFF_real", "test", "DiFF_real/test/p_r_jpg"), ("DiFF_real", "test", "DiFF_real/test/q_r_jpg"),
        ("DiFF_real", "val", "DiFF_real/val/r_jpg"),
    }  # fmt: skip
    assert {item.facts["format"] for item in found.items if item.cls == "DiFF_real"} == {"jpg"}
    assert "train/T2I" in said(found, "missing")


def test_diff_end_to_end_fakes_and_reals_are_stored_alike(tree, bright, tmp_path):
    """The release's JPEG and PNG would give the label away; the store has one format."""
    root = tree(images=("test/T2I/sd/a.png", "test/FS/m/b.png", "DiFF_real/test/p/r.jpg", "DiFF_real/test/q/r.jpg"))
    paths = PathsConfig(data=tmp_path / "data", indexes=tmp_path / "index")
    prepare(
        "DiFF", root, data_dir=paths.data, index_dir=paths.indexes, face_finder="bright", plugins=[bright], workers=1
    )
    listing = load_word("DiFF/T2I", "test", paths, {})[1]
    assert {(record.cls, record.label) for record in listing.records} == {("DiFF_T2I_fake", 1), ("DiFF_real", 0)}
    assert len(listing.records) == 3
    frames = [frame for record in listing.records for frame in record.frames]
    assert all(frame.endswith(".png") for frame in frames)
    assert all(listing.source.read(frame).startswith(b"\x89PNG") for frame in frames)


DF40_TREE = (
    "DF40_train/simswap/frames/001_002/010.png", "DF40/simswap/ff/frames/005_006/010.png",
    "DF40/simswap/cdf/frames/id0_id1_0000/010.png", "DF40/simswap/cdf/landmarks/id0_id1_0000/010.npy",
    "DF40/ddim/ff/005/seed0188.png", "DF40/ddim/cdf/005/seed0188.png",
    "DF40/heygen/fake/v1/0.png", "DF40/heygen/real/r1/0.png", "DF40/MidJourney/fake/flat.png",
    "DF40/lia/ff/frames/empty/notes.txt", "DF40/strange/ff/x/0.png",
    "FaceForensics++/original_sequences/youtube/c23/frames/005/000.png",
    "FaceForensics++/original_sequences/youtube/c23/frames/001/000.png",
    "Celeb-DF-v2/Celeb-real/frames/id0_0000/000.png", "Celeb-DF-v2/Celeb-real/frames/id0_0001/000.png",
)  # fmt: skip


@pytest.fixture
def df40(tree, mini):
    texts = {
        f"FaceForensics++/{s}.json": (mini / f"dataset/splits/{s}.json").read_text() for s in ("train", "val", "test")
    }
    texts["Celeb-DF-v2/List_of_testing_videos.txt"] = "1 Celeb-real/id0_0000.mp4\n"
    return tree(*DF40_TREE, texts=texts)


def test_df40_methods_domains_and_reals(df40, scan, rows, said):
    assert (len(KNOWN), len(UNKNOWN)) == (31, 9)
    found = scan("DF40", df40)
    assert rows(found) == {
        ("simswap_Fake", "train", "DF40_train/simswap/001_002"),
        ("simswap_Fake", "test", "DF40/simswap/ff/ff_005_006"),
        ("simswap_Fake", "test", "DF40/simswap/cdf/cdf_id0_id1_0000"),
        ("ddim_Fake", "test", "DF40/ddim/ff/ff_005"),
        ("ddim_Fake", "test", "DF40/ddim/cdf/cdf_005"),
        ("heygen_Fake", "test", "DF40/heygen/fake/v1"),
        ("heygen_Real", "test", "DF40/heygen/real/r1"),
        ("MidJourney_Fake", "test", "DF40/MidJourney/fake/flat"),
        ("DF40_ff_Real", "test", "FaceForensics++/original_sequences/youtube/c23/005"),
        ("DF40_ff_Real", "train", "FaceForensics++/original_sequences/youtube/c23/001"),
        ("DF40_cdf_Real", "test", "Celeb-DF-v2/Celeb-real/id0_0000"),
    }
    left = said(found, "left out")
    assert left["DF40/strange"] == "not a method of DF40"
    assert left["DF40/lia/ff/frames/empty"] == "a folder without images"


def test_df40_parts_over_crops_where_they_are(df40, tmp_path):
    """No store at all: the index points to the released crops, and every subset gets the authors' index name."""
    indexes = tmp_path / "index"
    path = index_crops(LAYOUTS.get("DF40")(), df40, indexes / "DF40.json")
    names = {part.stem for part in derive_all(path)}
    assert names >= {"simswap_ff", "simswap_cdf", "FSAll_ff", "EFSAll_cdf", "heygen", "ddim_ff"}
    paths = PathsConfig(data=df40.parent, indexes=indexes)

    def videos(word: str, split: str = "test") -> set[tuple[str, str]]:
        listing = load_word(word, split, paths, {})[1]
        assert all(listing.source.has(frame) for record in listing.records for frame in record.frames)
        return {(record.cls, record.video) for record in listing.records}

    assert videos("DF40/simswap_ff") == {("simswap_Fake", "ff_005_006"), ("DF40_ff_Real", "005")}
    assert videos("DF40/simswap_ff", "train") == {("simswap_Fake", "001_002"), ("DF40_ff_Real", "001")}
    assert videos("DF40/simswap_cdf") == {("simswap_Fake", "cdf_id0_id1_0000"), ("DF40_cdf_Real", "id0_0000")}
    assert videos("DF40/EFSAll_cdf") == {("ddim_Fake", "cdf_005"), ("DF40_cdf_Real", "id0_0000")}
    assert videos("DF40/heygen") == {("heygen_Fake", "v1"), ("heygen_Real", "r1")}
    with pytest.raises(DataError, match="train split is empty"):
        videos("DF40/heygen", "train")


def test_crops_of_deepfakebench_are_indexed_beside_their_videos(tree, tmp_path):
    names = (
        "Celeb-real/videos/id0_0000.mp4",
        "Celeb-real/frames/id0_0000/014.png",
        "Celeb-real/frames/id0_0000/1024.png",
    )
    root = tree(*names, texts={"List_of_testing_videos.txt": "1 Celeb-real/id0_0000.mp4\n"})
    path = index_crops(LAYOUTS.get("CDFv2")(), root, tmp_path / "Celeb-DF-v2.json")
    paths = PathsConfig(data=root.parent, indexes=path.parent)
    [record] = load_word("CDFv2", "test", paths, {})[1].records
    assert record.frames == ("raw/Celeb-real/frames/id0_0000/014.png", "raw/Celeb-real/frames/id0_0000/1024.png")
    assert record.extra["numbers"] == (14, 1024)
    with pytest.raises(DataError, match="no index of face crops"):
        index_crops(LAYOUTS.get("UADFV")(), tree("real/0000.mp4"), tmp_path / "x.json")


def test_faces_for_pre_training(tree, scan, rows):
    root = tree(
        "train/n000002/0001_01.jpg", "train/n000002/0010_01.jpg", "test/n000001/0001_01.jpg", "train/stray.jpg",
        "frame_images_DB/Aaron_Eckhart/0/0.555.jpg", "frame_images_DB/Aaron_Eckhart.labeled_faces.txt",
    )  # fmt: skip
    found = scan("VGGFace2", root)
    assert rows(found) == {
        ("VGGFace2_real", "train", "train/train_n000002"),
        ("VGGFace2_real", "train", "test/test_n000001"),
    }
    assert [remark.place for remark in found.remarks] == ["train/stray.jpg"]
    assert found.items[1].facts["images"] == ["0001_01.jpg", "0010_01.jpg"]
    assert found.items[0].facts["official_split"] == "test"
    faces = scan("YTF", root)
    assert rows(faces) == {("YTF_real", "train", "frame_images_DB/Aaron_Eckhart_0")}
    assert faces.items[0].facts["images"] == ["0.555.jpg"]
    assert not found.items[0].is_cropped, "photographs: the face is searched"


def test_own_class_folders(tree, scan, rows):
    root = tree("real/a.mp4", "real/b.png", "my_fake/clip/0.png", "my_fake/clip/1.png", "my_fake/sub/c.mp4")
    found = scan("folder", root, name="mine")
    assert rows(found) == {
        ("real", "test", "real/a"), ("real", "test", "real/b_png"),
        ("my_fake", "test", "my_fake/clip"), ("my_fake", "test", "my_fake/sub_c"),
    }  # fmt: skip
    assert rows(scan("folder", tree("train/live/x.png", "val/spoof/y.png"))) == {
        ("live", "train", "train/live/x_png"), ("spoof", "val", "val/spoof/y_png")}  # fmt: skip
    (root / "train" / "unclear").mkdir()
    with pytest.raises(DataError, match="label 'unclear' is not known"):
        scan("folder", root)


def test_own_table(tree, scan, rows, said):
    frames = "a/1.png,0,train,v1,front\r\na/2.png,0,train,v1,front\r\n"
    table = f"\ufeffpath,label,split,video,camera\r\n{frames}b.mp4,fake,,,\r\nno.png,1,,,\r\n"
    root = tree("a/1.png", "a/2.png", "b.mp4", texts={"labels.csv": table})
    found = scan("folder", root)
    assert rows(found) == {("real", "train", "train/real/v1"), ("fake", "test", "test/fake/b_mp4")}
    real = next(item for item in found.items if item.cls == "real")
    assert len(real.source.files) == 2
    assert real.facts == {"camera": "front"}
    assert said(found, "missing") == {"no.png": "1 of 4 entries of labels.csv are not in this copy"}
    (root / "labels.csv").write_text("path,label\n../../etc/passwd,1\nb.mp4,1\n")
    assert rows(scan("folder", root)) == {("fake", "test", "test/fake/b_mp4")}
    (root / "labels.csv").write_text("path,label\nb.mp4,2\n")
    with pytest.raises(DataError, match="line 2: label '2' is not one of"):
        scan("folder", root)


def test_two_videos_of_one_name_in_a_class_are_refused(tree, scan):
    root = tree("real/a.mp4", "real/videos/a.mp4")
    with pytest.raises(DataError, match=r"one name: real/a\.mp4, real/videos/a\.mp4"):
        scan("UADFV", root)
