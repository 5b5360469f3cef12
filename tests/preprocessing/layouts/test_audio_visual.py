from __future__ import annotations

from preprocessing.layouts.files import split_of_group


def test_deepfaketimit_sound_beside_the_video_and_vidtimit(tree, scan, said):
    root = tree(
        "higher_quality/fadg0/sa1-video-fram1.avi", "higher_quality/fadg0/sa1.wav",
        "lower_quality/fadg0/sa1-video-fram1.avi",
        "VidTIMIT/fadg0/video/sa1/001", "VidTIMIT/fadg0/video/sa1/002", "VidTIMIT/fadg0/audio/sa1.wav",
        "VidTIMIT/fadg0/video/head/001",
    )  # fmt: skip
    found = scan("DeepfakeTIMIT", root)
    assert {(item.cls, item.id, item.facts["audio"]) for item in found.items} == {
        ("DFTIMIT_HQ_fake", "higher_quality/fadg0_sa1-video-fram1", "higher_quality/fadg0/sa1.wav"),
        ("DFTIMIT_LQ_fake", "lower_quality/fadg0_sa1-video-fram1", "lower_quality/fadg0/sa1-video-fram1.avi"),
        ("DFTIMIT_real", "VidTIMIT/fadg0_sa1", "VidTIMIT/fadg0/audio/sa1.wav"),
    }
    assert {item.split for item in found.items} == {split_of_group("fadg0")}, "one speaker, one split"
    real = next(item for item in found.items if item.cls == "DFTIMIT_real")
    assert len(real.source.files) == 2
    assert not real.is_cropped
    assert said(found, "left out") == {"VidTIMIT/fadg0/video/head": "no sentence: it has no sound"}


def test_deepfaketimit_alone_has_no_real_video(tree, scan, said):
    found = scan("DeepfakeTIMIT", tree("higher_quality/fadg0/sa1-video-fram1.avi"))
    assert said(found, "missing") == {
        "lower_quality": "the whole folder",
        "VidTIMIT": "the real videos; DeepfakeTIMIT itself has none",
    }


def test_ravdess_actors_and_emotions(tree, scan, said):
    names = [f"Video_Speech_Actor_{a}/Actor_{a}/01-01-05-02-01-01-{a}.mp4" for a in ("01", "05", "11")]
    found = scan("RAVDESS", tree(*names, "Video_Speech_Actor_01/Actor_01/02-01-05-02-01-01-01.mp4", "odd.mp4"))
    assert {item.facts["subject"]: item.split for item in found.items} == {"01": "train", "05": "test", "11": "val"}
    assert {(item.cls, item.facts["emotion"], item.facts["intensity"]) for item in found.items} == {
        ("RAVDESS_real", "angry", 2)
    }
    assert found.items[0].facts["audio"] == names[1]
    assert set(said(found, "left out").values()) == {
        "without sound; the same recording is 01-...", "its name is not seven numbers"}  # fmt: skip


def test_fakeavceleb_anything_fake_is_fake(tree, scan):
    folders = ("RealVideo-RealAudio", "RealVideo-FakeAudio", "FakeVideo-RealAudio", "FakeVideo-FakeAudio")
    names = [f"{folder}/African/men/id00076/00109.mp4" for folder in folders]
    found = scan("FakeAVCeleb", tree(*names, "meta_data.csv"))
    layout_facts = {
        (i.folder, i.cls.endswith("_fake"), i.facts["video_fake"], i.facts["audio_fake"]) for i in found.items
    }
    assert layout_facts == {
        (folders[0], False, 0, 0), (folders[1], True, 0, 1), (folders[2], True, 1, 0), (folders[3], True, 1, 1),
    }  # fmt: skip
    assert {tuple(i.facts[key] for key in ("subject", "race", "gender")) for i in found.items} == {
        ("id00076", "African", "men")
    }
    assert len({item.split for item in found.items}) == 1


def test_renamed_copies_of_2d3mf(tree, scan, rows, said):
    root = tree(
        "video/01-01-03-01-02-01-16-0.mp4", "audio/01-01-03-01-02-01-16-0.wav", "video/01-01-03-01-02-01-16-1.mp4",
        "video/african-id00076-x-1.mp4", "audio/african.wav",
    )  # fmt: skip
    assert {(i.cls, i.split, i.video, i.facts.get("audio")) for i in scan("RAVDESS", root).items} >= {
        ("RAVDESS_real", "test", "01-01-03-01-02-01-16-0", "audio/01-01-03-01-02-01-16-0.wav")}  # fmt: skip
    assert "video/01-01-03-01-02-01-16-1.mp4" in said(scan("RAVDESS", root), "left out"), "RAVDESS has no fakes"
    fake = next(i for i in scan("FakeAVCeleb", root).items if i.cls == "FAVC_fake" and "id00076" in i.video)
    assert (fake.facts["subject"], fake.facts["audio"]) == ("id00076", "audio/african.wav")
    assert fake.split == split_of_group(fake.facts["subject"])


def test_group_splits_are_stable_and_about_8_1_1():
    splits = [split_of_group(f"id{i:05d}") for i in range(2000)]
    assert 1500 < splits.count("train") < 1700
    assert 150 < splits.count("val") < 250
    assert split_of_group("id00076") == split_of_group("id00076")
