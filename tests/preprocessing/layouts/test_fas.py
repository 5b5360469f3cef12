"""Face anti-spoofing: MCIO domains, CelebA-Spoof, the few-shot lists, and WCS."""

from __future__ import annotations

import json
import sys
import types
from collections import Counter

import cv2
import numpy as np
import pytest

from benchmark.data.readers import load_word
from benchmark.errors import DataError
from benchmark.registry import LAYOUTS
from benchmark.schema import PathsConfig
from preprocessing.layouts.few_shot import build_lists, shots
from preprocessing.layouts.sources import Hdf5Frame, Trimmed, trim_black
from preprocessing.prepare import prepare
from preprocessing.video import ImageFiles, UnreadableError

COUNTS = {"msu": (70, 210), "casia": (150, 450), "replay": (140, 700), "oulu": (720, 2880)}


def listing(domain: str) -> list[str]:
    """A full listing of a domain's frames: its shots, and invented names up to the official number."""
    names = []
    for kind, count in zip(("real", "fake"), COUNTS[domain], strict=True):
        known = sorted(name for name in shots(domain) if f"/{kind}/" in name)
        assert len(known) == 10
        invented = [f"train/{kind}/invented_{i}" for i in range(count - len(known))]
        names += [f"{domain}/{name}_frame{i}.png" for name in (*known, *invented) for i in (0, 1)]
    return names


@pytest.mark.parametrize("domain", COUNTS)
def test_the_list_builder_gives_the_official_counts(domain):
    lists = build_lists(
        domain, [*listing(domain), f"{domain}/devel/real/x_frame0.png", "other/train/real/x_frame0.png"]
    )
    real, fake = COUNTS[domain]
    assert {name: len(entries) for name, entries in lists.items()} == {
        "real_train": real, "fake_train": fake, "real_test": real - 10, "fake_test": fake - 10}  # fmt: skip
    assert all(name.endswith("_frame0.png") for entries in lists.values() for name in entries)
    assert len(lists["real_test"]) in (60, 140, 130, 710)


def test_msu_labels_by_folder_and_partition_by_list(tree, scan, rows, said):
    root = tree(
        "scene01/real/real_client001_laptop_SD_scene01.mov", "scene01/real/real_client001_laptop_SD_scene01.face",
        "scene01/attack/attack_client007_laptop_SD_printed_photo_scene01.mov",
        "scene01/real/real_client099_laptop_SD_scene01.mov",
        texts={"train_sub_list.txt": "07\r\n", "test_sub_list.txt": "01\r\n"},
    )  # fmt: skip
    found = scan("MSU-MFSD", root)
    assert rows(found) == {
        ("msu_live", "test", "test/real/real_client001_laptop_SD_scene01"),
        ("msu_spoof", "train", "train/fake/attack_client007_laptop_SD_printed_photo_scene01"),
    }
    facts = {item.video[:4]: dict(item.facts) for item in found.items}
    assert facts["real"] == {"domain": "msu", "subject": "001", "shot": True}
    assert facts["atta"] == {"domain": "msu", "subject": "007", "attack": "printed_photo", "shot": True}
    assert list(said(found, "left out").values()) == ["its subject is in neither list"]
    (root / "test_sub_list.txt").unlink()
    with pytest.raises(DataError, match=r"MSU-MFSD: the list .*test_sub_list\.txt is missing"):
        scan("MSU-MFSD", root)


def test_casia_labels_by_number(tree, scan):
    numbers = [*map(str, range(1, 9)), *(f"HR_{i}" for i in range(1, 5))]
    names = [f"{top}/{i}/{n}.avi" for top, count in (("train_release", 20), ("test_release", 30))
             for i in range(1, count + 1) for n in numbers]  # fmt: skip
    found = scan("CASIA-FASD", tree(*names, "train_release/1/extra.avi"))
    totals = Counter(item.cls for item in found.items)
    assert {(cls, "all"): count for cls, count in totals.items()} == LAYOUTS.get("CASIA-FASD").official
    items = {item.id: item for item in found.items}
    assert items["train/real/1_HR_1"].cls == "casia_live"
    assert items["test/fake/30_HR_4"].facts["attack"] == "video"
    assert len({item.id for item in found.items if item.facts.get("shot")}) == 20
    assert items["train/fake/12_6"].facts["subject"] != items["test/fake/12_6"].facts["subject"], "both count from 1"
    assert [remark.place for remark in found.remarks] == ["train_release/1/extra.avi"]


def test_replay_names_and_unused_enrolment(tree, scan, rows, said):
    root = tree(
        "train/real/client025_session01_webcam_authenticate_controlled_2.mov",
        "train/attack/fixed/attack_print_client012_session01_highdef_photo_controlled.mov",
        "devel/attack/hand/attack_mobile_client003_session01_mobile_photo_adverse.mov",
        "test/real/client021_session01_webcam_authenticate_adverse_1.mov",
        "enroll/test/client001_session02_webcam_authenticate_controlled_1.mov",
    )
    found = scan("Replay-Attack", root)
    assert rows(found) == {
        ("replay_live", "train", "train/real/real_client025_session01_webcam_authenticate_controlled_2"),
        ("replay_spoof", "train", "train/fake/fixed_attack_print_client012_session01_highdef_photo_controlled"),
        ("replay_spoof", "val", "devel/fake/hand_attack_mobile_client003_session01_mobile_photo_adverse"),
        ("replay_live", "test", "test/real/real_client021_session01_webcam_authenticate_adverse_1"),
    }
    print_attack = next(item for item in found.items if "highdef" in item.video)
    assert dict(print_attack.facts) == {
        "domain": "replay", "subject": "012", "attack": "print", "support": "fixed", "shot": True}  # fmt: skip


def test_oulu_label_by_last_digit(tree, scan, rows):
    root = tree(
        "Train_files/2_2_12_1.avi", "Train_files/2_2_12_1.txt", "Dev_files/1_1_21_2.avi", "Test_files/5_3_49_5.avi"
    )
    found = scan("OULU-NPU", root)
    assert rows(found) == {
        ("oulu_live", "train", "train/real/2_2_12_1"),
        ("oulu_spoof", "val", "devel/fake/1_1_21_2"),
        ("oulu_spoof", "test", "test/fake/5_3_49_5"),
    }
    assert found.items[1].facts.keys() >= {"subject", "session", "attack"}


def test_celeba_spoof_as_listed(tree, scan, rows, said):
    names = ("Data/train/563/spoof/348234.jpg", "Data/train/563/live/1.png", "Data/train/563/live/1_BB.txt")
    root = tree(*names)
    expected = {
        ("celeb_spoof", "train", "train/fake/563_spoof_348234"),
        ("celeb_live", "train", "train/real/563_live_1"),
    }
    assert rows(scan("CelebA-Spoof", root)) == expected
    tree(texts={"txt/celeb_fake_train.txt": "celeb/fake/563_spoof_348234.jpg\n",
                "txt/celeb_real_train.txt": "celeb/real/7_live_9.jpg\n"})  # fmt: skip
    found = scan("CelebA-Spoof", root)
    assert rows(found) == {min(expected, key=lambda row: row[0] != "celeb_spoof")}
    assert said(found, "left out")["Data"] == "1 images that the lists in txt do not name"
    assert list(said(found, "missing")) == ["Data/test", "7_live_9"]


def test_ready_frames_have_the_names_of_raw_videos(tree, scan, rows):
    root = tree(
        "frame/casia/train/real/1_HR_1_frame0.png", "frame/casia/train/real/1_HR_1_frame1.png",
        "frame/casia/test/fake/11_HR_4_frame0.png", "frame/casia/test/odd/1_frame0.png",
        "frame/celeb/real/167_live_096546.jpg",
    )  # fmt: skip
    found = scan("CASIA-FASD", root)
    assert rows(found) == {
        ("casia_live", "train", "train/real/1_HR_1"), ("casia_spoof", "test", "test/fake/11_HR_4")}  # fmt: skip
    assert [len(item.source.files) for item in found.items] == [2, 1]
    assert all(item.is_cropped for item in found.items)
    assert [remark.place for remark in found.remarks] == ["frame/casia/test/odd/1_frame0.png"]
    assert rows(scan("CelebA-Spoof", root)) == {("celeb_live", "train", "train/real/167_live_096546")}


def test_protocol_lists_over_a_prepared_domain(tree, bright, tmp_path):
    """End to end: ready frames to a store, then the MCIO lists without touching it."""
    names = (
        "train/real/1_HR_1", "train/real/5_1", "test/real/1_HR_1",
        "test/fake/11_HR_4", "test/fake/1_3", "train/fake/1_3",
    )  # fmt: skip
    root = tree(images=tuple(f"frame/casia/{name}_frame{i}.png" for name in names for i in (0, 1)))
    paths = PathsConfig(data=tmp_path / "data", indexes=tmp_path / "index")
    with pytest.raises(DataError, match="Prepare CASIA-FASD first"):
        load_word("MCIO/casia", "test", paths, {})
    prepare("CASIA-FASD", root, data_dir=paths.data, index_dir=paths.indexes, face_finder="bright", plugins=[bright],
            workers=1)  # fmt: skip
    train, test = (load_word("MCIO/casia", split, paths, {})[1] for split in ("train", "test"))
    assert {record.video: record.label for record in train.records} == {
        "train_1_HR_1": 0, "train_5_1": 0, "test_1_HR_1": 0, "test_11_HR_4": 1, "test_1_3": 1, "train_1_3": 1,
    }  # fmt: skip
    without_shots = {"train_1_HR_1", "train_5_1", "test_1_3", "train_1_3"}
    assert {record.video for record in test.records} == without_shots
    assert all(len(record.frames) == 2 for record in test.records)
    assert test.source.read(test.records[0].frames[0])
    own = load_word("CASIA-FASD", "test", paths, {})[1]
    assert {record.video for record in own.records} == {"1_HR_1", "11_HR_4", "1_3"}


WMCA = {
    "txt/wmca_real_train.txt": "wmca/train/real/23.05.18_012_06_000_0_00_02.jpg\r\nwmca/train/real/x_1_03.jpg\r\n",
    "txt/wmca_real_test.txt": "wmca/test/real/23.05.18_012_06_000_0_00_02.jpg\n",
    "txt/wmca_fake_train.txt": "wmca/train/fake/23.05.18_098_07_006_3_11_12.jpg\n",
    "txt/wmca_fake_test.txt": "wmca/test/fake/23.05.18_098_07_006_3_11_01.jpg\n",
}


def test_wmca_frames_of_recordings(tree, scan, rows, said):
    root = tree("23.05.18/012_06_000_0_00.hdf5", "23.05.18/098_07_006_3_11.hdf5", texts=WMCA)
    found = scan("WMCA", root)
    assert rows(found) == {
        ("wmca_live", "test", "test/real/23.05.18_012_06_000_0_00_02"),
        ("wmca_spoof", "train", "train/fake/23.05.18_098_07_006_3_11_12"),
        ("wmca_spoof", "test", "test/fake/23.05.18_098_07_006_3_11_01"),
    }
    live = next(item for item in found.items if item.cls == "wmca_live")
    assert live.source == Trimmed(Hdf5Frame(root / "23.05.18/012_06_000_0_00.hdf5", "Frame_02"))
    assert live.facts["lists"] == ["train", "test"]
    assert live.facts["shot"] is True
    assert said(found, "missing")["x_1_03.jpg"] == "1 of 4 entries of the lists of wmca are not in this copy"
    (root / "txt/wmca_real_test.txt").write_text("wmca/test/real/23.05.18_098_07_006_3_11_01.jpg\n")
    with pytest.raises(DataError, match="is in a list of real images too"):
        scan("WMCA", root)
    (root / "txt/wmca_real_train.txt").unlink()
    with pytest.raises(DataError, match=r"wmca_real_train\.txt is missing.*few_shot_fas"):
        scan("WMCA", root)


def test_hdf5_frame_is_read_lazily(tmp_path, monkeypatch):
    path = tmp_path / "a.hdf5"
    path.touch()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UnreadableError, match="pip install h5py"):
        Hdf5Frame(path, "Frame_02").open()
    monkeypatch.delitem(sys.modules, "h5py")
    if "h5py" not in sys.modules:
        image = np.zeros((3, 8, 8), np.uint8)
        image[0, 2:6, 1:7] = 200
        content = {"Frame_02": {"array": image}, "Frame_03": {"array": image.astype(float)}}
        fake = types.SimpleNamespace(File=lambda path, mode: FakeFile(content), Dataset=np.ndarray)
        monkeypatch.setitem(sys.modules, "h5py", fake)
    [(number, picture)] = Trimmed(Hdf5Frame(path, "Frame_02")).open().read(None)
    assert (number, picture.shape) == (0, (3, 5, 3)), "first to last row and column, without the last"
    assert picture[..., 0].min() == 200
    assert picture[..., 1].max() == 0, "channels are RGB"
    with pytest.raises(UnreadableError, match="Frame_07 cannot be read"):
        Hdf5Frame(path, "Frame_07").open()
    with pytest.raises(UnreadableError, match="float64"):
        Hdf5Frame(path, "Frame_03").open()


class FakeFile(dict):
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


def test_real_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    image = np.full((3, 8, 8), 7, np.uint8)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_group("Frame_02").create_dataset("array", data=image)
        file.create_dataset("Frame_03", data=image)
    for group in ("Frame_02", "Frame_03"):
        [(_, picture)] = Hdf5Frame(tmp_path / "a.hdf5", group).open().read([0])
        assert picture.shape == (8, 8, 3)


def test_trimming_and_black_pictures(tmp_path):
    assert trim_black(np.zeros((4, 4, 3), np.uint8)).size == 0
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((4, 4, 3), np.uint8))
    reader = Trimmed(ImageFiles((tmp_path / "black.png",))).open()
    assert list(reader.read(None)) == []
    assert reader.notes == ["picture 0 is black"]


def test_cefa_ten_equidistant_frames(tree, scan):
    folder = "AF/AF-213/1_213_1_1_1/profile"
    texts = {f"txt/cefa_{kind}_{split}.txt": "" for kind in ("real", "fake") for split in ("train", "test")}
    texts["txt/cefa_real_test.txt"] = "cefa/test/real/1_213_1_1_1_05.jpg\ncefa/test/real/3_213_1_1_1_05.jpg\n"
    found = scan("CeFA", tree(*(f"{folder}/{i:04d}.jpg" for i in range(25)), texts=texts))
    [item] = found.items
    assert (item.cls, item.split, item.video) == ("cefa_live", "test", "1_213_1_1_1_05")
    assert item.source.files[0].name == "0010.jpg", "5 * (25 // 10)"
    assert [remark.place for remark in found.remarks] == ["3_213_1_1_1_05.jpg"]


def test_surf_names_with_underscores_of_their_own(tree, scan, rows):
    clip = "Training/fake_part/CLKJ_AS0005/06_enm_b.rssdk/color"
    texts = {f"txt/surf_{kind}_{split}.txt": "" for kind in ("real", "fake") for split in ("train", "test")}
    texts["txt/surf_fake_train.txt"] = f"surf/train/fake/{clip.replace('/', '_')}_31.jpg\n"
    texts["txt/surf_real_test.txt"] = "surf/test/real/Val_0006_006102-color.jpg\n"
    root = tree(
        f"{clip}/31.jpg", f"{clip}/32.jpg", "Val/0006/006102-color.jpg", "Val/0006/006102-depth.jpg", texts=texts
    )
    found = scan("SURF", root)
    assert {(item.cls, item.split, item.source.files[0].relative_to(root).as_posix()) for item in found.items} == {
        ("surf_spoof", "train", f"{clip}/31.jpg"), ("surf_live", "test", "Val/0006/006102-color.jpg")}  # fmt: skip


def test_wcs_lists_keep_an_image_in_both_splits(tmp_path):
    """The index is that of a prepared SURF; the protocol's train list repeats its test items, as published."""

    def record(cls: str, name: str, lists: list[str]) -> dict:
        return {"label": cls, "frames": [f"CASIA-SURF/{name}/000.png"], "facts": {"lists": lists}}

    videos = {"a": record("surf_live", "a", ["train", "test"]), "b": record("surf_live", "b", ["test"])}
    fakes = {"c": record("surf_spoof", "c", ["train"])}
    content = {"CASIA-SURF": {"surf_live": {"test": videos}, "surf_spoof": {"train": fakes}}}
    (tmp_path / "CASIA-SURF.json").write_text(json.dumps(content))
    paths = PathsConfig(data=tmp_path, indexes=tmp_path)
    splits = {split: {record.video for record in load_word("WCS/surf", split, paths, {})[1].records}
              for split in ("train", "test")}  # fmt: skip
    assert splits == {"train": {"test_a", "train_c"}, "test": {"test_a", "test_b"}}


def test_shots_are_the_golden_ones(shared):
    facts = json.loads((shared / "golden/fsfm_downstream/fas_list_facts.json").read_text())
    for key, entry in facts.items():
        domain = key.partition("_")[0]
        names = {name.partition("/")[2].rpartition(".")[0].removesuffix("_frame0") for name in entry.get("shot", ())}
        assert names <= shots(domain)
        if domain in COUNTS:
            assert entry["train_count"] in COUNTS[domain]
