"""``python -m benchmark verify``: our stores, DeepfakeBench's folders and LMDB, class folders; what is a problem."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import pytest

from benchmark.__main__ import main
from benchmark.data.index import VideoRecord, write_index
from benchmark.data.store import encode_npy
from benchmark.errors import ConfigError, DataError
from benchmark.verify.check import verify
from benchmark.verify.prune import prune_index
from benchmark.verify.report import VerifyReport
from preprocessing.prepare import prepare
from preprocessing.report import PrepareReport

FAKES = "manipulated_sequences/Deepfakes/c23/videos"


@pytest.fixture
def prepared(mini: Path, tmp_path: Path, bright: str, video_maker: Callable[..., None]) -> Callable[..., PrepareReport]:
    for number, name in enumerate(("001_002", "003_004", "005_006")):  # no two videos of equal content
        video_maker(mini / FAKES / f"{100 + number}.mp4")
        (mini / FAKES / f"{100 + number}.mp4").replace(mini / FAKES / f"{name}.mp4")

    def run(**changes: Any) -> PrepareReport:
        options: dict[str, Any] = {"frames": 4, "face_finder": "bright", "workers": 1, "plugins": [bright], **changes}
        return prepare("FF++", mini, data_dir=tmp_path / "data", index_dir=tmp_path / "index", **options)

    return run


def check(tmp_path: Path, name: str = "FF++", **options: Any) -> VerifyReport:
    return verify(name, data_dir=tmp_path / "data", index_dir=tmp_path / "index", **options)


def titles(report: VerifyReport, *, is_problem: bool) -> dict[str, int]:
    return {found.title: len(found.entries) for found in report.findings if found.is_problem == is_problem}


@pytest.mark.parametrize("kind", ["lmdb", "folder"])
def test_a_good_store(prepared: Callable[..., PrepareReport], tmp_path: Path, predictor_file: Path, kind: str) -> None:
    prepared(store_kind=kind, landmarks=predictor_file, parser="landmarks")
    report = check(tmp_path)
    assert not report.has_problems
    assert report.parts == {"landmarks": 32, "parsing": 32}
    counts = {(count.cls, count.split): (count.label, count.videos, count.frames, count.bad) for count in report.counts}
    assert counts["FF-DF", "test"] == (1, 1, 4, 0)
    assert counts["FF-real", "val"] == (0, 2, 8, 0)
    assert set(titles(report, is_problem=False)) == {"videos against the official release"}


def put(tmp_path: Path, key: str, value: bytes | None) -> None:
    """Change one value of the prepared LMDB store."""
    with lmdb.open(str(tmp_path / "data" / "FaceForensics++_lmdb"), lock=False) as env, env.begin(write=True) as txn:
        txn.put(key.encode(), value) if value is not None else txn.delete(key.encode())


def get(tmp_path: Path, key: str) -> bytes:
    with lmdb.open(str(tmp_path / "data" / "FaceForensics++_lmdb"), lock=False) as env, env.begin() as txn:
        return bytes(txn.get(key.encode()))


YOUTUBE = "FaceForensics++/original_sequences/youtube/c23"
FAKE = "FaceForensics++/manipulated_sequences/Deepfakes/c23"


def test_damage_is_found_and_pruned(
    prepared: Callable[..., PrepareReport],
    tmp_path: Path,
    predictor_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepared(landmarks=predictor_file, parser="landmarks")
    good = get(tmp_path, f"{YOUTUBE}/frames/001/000.png")
    put(tmp_path, f"{YOUTUBE}/frames/001/003.png", None)
    put(tmp_path, f"{YOUTUBE}/frames/001/007.png", good[:-20])
    put(tmp_path, f"{YOUTUBE}/landmarks/002/000.npy", b"12")
    put(tmp_path, f"{YOUTUBE}/parsing/002/003.png", cv2.imencode(".png", np.full((9, 9), 3, np.uint8))[1].tobytes())
    put(tmp_path, f"{YOUTUBE}/parsing/002/007.png", None)
    put(tmp_path, f"{FAKE}/frames/001_002/000.png", good)
    put(tmp_path, f"{YOUTUBE}/frames/005/011.png", get(tmp_path, f"{YOUTUBE}/frames/003/011.png"))
    put(tmp_path, f"{YOUTUBE}/frames/stray.png", good)
    for number in (0, 3, 7, 11):
        put(tmp_path, f"{YOUTUBE}/frames/004/{number:03d}.png", None)
    words = ["verify", "FF++", "--data", str(tmp_path / "data"), "--index", str(tmp_path / "index")]
    pruned, facts = tmp_path / "index" / "Pruned.json", tmp_path / "facts.json"
    assert main([*words, "--prune", str(pruned), "--json", str(facts), "--workers", "2"]) == 1
    printed = capsys.readouterr().out
    assert "Problem: frames missing or unreadable (6)" in printed
    assert "without 6 frames; 1 videos had none left" in printed
    found = json.loads(facts.read_text())
    assert found["ok"] is False
    problems = {entry["title"]: entry["entries"] for entry in found["findings"] if entry["problem"]}
    assert {title: len(entries) for title, entries in problems.items()} == {
        "frames missing or unreadable": 6,
        "broken landmarks, masks or maps": 2,
        "frames without landmarks": 1,
        "frames without parsing": 2,
        "equal pictures in real and fake": 1,
        "equal pictures in several splits": 1,
    }
    assert "size 9x9, its frame is" in " ".join(problems["broken landmarks, masks or maps"])
    [equal] = problems["equal pictures in real and fake"]
    assert f"{YOUTUBE}/frames/001/000.png" in equal
    assert f"{FAKE}/frames/001_002/000.png" in equal
    remarks = {entry["title"] for entry in found["findings"] if not entry["problem"]}
    assert any("that the index does not name" in title for title in remarks)
    after = json.loads(pruned.read_text())
    classes = after["FaceForensics++"]
    assert classes["FF-real"]["train"]["c23"]["001"]["numbers"] == [0, 11]
    assert len(classes["FF-real"]["train"]["c23"]["001"]["crops"]) == 2
    assert "004" not in classes["FF-real"]["val"]["c23"]
    assert after["meta"]["pruned"]["frames"] == 6
    again = verify(str(pruned), data_dir=tmp_path / "data", index_dir=tmp_path / "index")
    assert "frames missing or unreadable" not in titles(again, is_problem=True)
    assert "counts do not agree" not in titles(again, is_problem=True)


def test_a_missing_store_is_one_problem_for_every_frame(prepared: Callable[..., PrepareReport], tmp_path: Path) -> None:
    shutil.rmtree(prepared().store)
    report = check(tmp_path)
    assert titles(report, is_problem=True)["frames missing or unreadable"] == 32


def test_store_and_index_of_different_settings(prepared: Callable[..., PrepareReport], tmp_path: Path) -> None:
    report = prepared()
    content = json.loads(report.index.read_text())
    content["meta"]["fingerprint"] = "another"
    content["meta"]["counts"]["frames"] = 31
    report.index.write_text(json.dumps(content))
    problems = titles(check(tmp_path), is_problem=True)
    assert problems == {"store and index were made with other settings": 1, "counts do not agree": 1}


# ------------------------------------------------------------------------- DeepfakeBench's folders, JSON and LMDB


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def write_reference(tmp_path: Path, *, in_lmdb: bool) -> Path:
    """Celeb-DF v2 as DeepfakeBench leaves it: Windows paths, val == test, no masks, landmarks as bare int64."""
    index: dict[str, Any] = {"CelebDFv2_real": {"train": {}, "val": {}, "test": {}},
                             "CelebDFv2_fake": {"train": {}, "val": {}, "test": {}}}  # fmt: skip
    values: dict[str, bytes] = {}
    videos = [("real", "train", "id0_0001"), ("real", "test", "id1_0000"), ("fake", "train", "id0_id2_0001"),
              ("fake", "test", "id1_id2_0000")]  # fmt: skip
    for number, (kind, split, video) in enumerate(videos):
        folder = {"real": "Celeb-real", "fake": "Celeb-synthesis"}[kind]
        paths = []
        for frame in (0, 14):
            name = f"Celeb-DF-v2/{folder}/frames/{video}/{frame:03d}.png"
            values[name] = picture(10 * number + frame)
            landmarks = name.replace("frames", "landmarks").replace(".png", ".npy")
            points = np.full((81, 2), -3, np.int64)
            values[landmarks] = points.tobytes() if in_lmdb else encode_npy(points)
            paths.append(name.replace("/", "\\"))
        record = {"label": f"CelebDFv2_{kind}", "frames": paths}
        for name in (split, "val") if split == "test" else (split,):
            index[f"CelebDFv2_{kind}"][name][video] = record
    (tmp_path / "index").mkdir()
    path = tmp_path / "index" / "Celeb-DF-v2.json"
    path.write_text(json.dumps({"Celeb-DF-v2": index}))
    if in_lmdb:
        place = tmp_path / "data" / "Celeb-DF-v2_lmdb"
        place.mkdir(parents=True)
        with lmdb.open(str(place), map_size=1 << 24) as env, env.begin(write=True) as txn:
            for key, value in values.items():
                txn.put(key.replace("/", "\\").encode(), value)
    else:
        for key, value in values.items():
            target = tmp_path / "data" / "rgb" / key
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(value)
    return path


@pytest.mark.parametrize("in_lmdb", [True, False])
def test_deepfakebench_data(tmp_path: Path, in_lmdb: bool) -> None:
    write_reference(tmp_path, in_lmdb=in_lmdb)
    strict = check(tmp_path, "CDFv2")
    assert set(titles(strict, is_problem=True)) == {"videos in several splits", "equal pictures in several splits"}
    report = check(tmp_path, "CDFv2", allow_overlap=True)
    assert not report.has_problems
    remarks = {found.title: found.entries for found in report.findings}
    assert remarks["people in several splits"][0].startswith("test and train share 1, e.g. id2")
    assert remarks["videos in several splits"] == (
        "test and val share 2, e.g. CelebDFv2_fake/id1_id2_0000, CelebDFv2_real/id1_0000",
    )
    assert remarks["videos against the official release"] == ("test real: 1 of 178", "test fake: 1 of 340")
    assert report.parts == {"landmarks": 12}
    assert sum(count.frames for count in report.counts) == 12


def test_pruning_keeps_the_paths_of_others(tmp_path: Path) -> None:
    path = write_reference(tmp_path, in_lmdb=False)
    shutil.rmtree(tmp_path / "data/rgb/Celeb-DF-v2/Celeb-real/frames/id0_0001")
    bad = check(tmp_path, "CDFv2").bad_frames
    assert prune_index(path, tmp_path / "out.json", bad) == (2, 1)
    after = json.loads((tmp_path / "out.json").read_text())["Celeb-DF-v2"]
    assert after["CelebDFv2_real"]["train"] == {}
    assert after["CelebDFv2_fake"]["train"]["id0_id2_0001"]["frames"][0].startswith("Celeb-DF-v2\\Celeb-synthesis")


def test_class_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "test"):
        for kind in ("real", "fake"):
            folder = tmp_path / "faces" / split / kind
            folder.mkdir(parents=True)
            for number in range(2):
                seed = 100 * (split == "test") + 10 * (kind == "fake") + number
                (folder / f"{split}{number}_frame_0.png").write_bytes(picture(seed))
    assert main(["verify", str(tmp_path / "faces"), "--index", str(tmp_path)]) == 0
    assert "Everything listed is there and readable." in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--workers 0"):
        verify(str(tmp_path / "faces"), workers=0)
    assert main(["verify", str(tmp_path / "faces"), "--prune", str(tmp_path / "o.json")]) == 2
    assert "--prune works on JSON indexes" in capsys.readouterr().err


def test_named_identities_of_a_layout(tmp_path: Path) -> None:
    records = [
        VideoRecord("D", f"D_{kind}", int(kind == "fake"), split, None, f"{split}{kind}",
                    (f"D/{kind}/frames/{split}/0.png",), {"facts": {"subject": "ann" if kind == "real" else split}})
        for split in ("train", "test") for kind in ("real", "fake")
    ]  # fmt: skip
    write_index(tmp_path / "index" / "D.json", "D", records, {})
    report = check(tmp_path, "D")
    [people] = [found for found in report.findings if found.title == "people in several splits"]
    assert people.entries == ("test and train share 1, e.g. ann",)
    with pytest.raises(DataError, match="No dataset named"):
        check(tmp_path, "Nothing")
