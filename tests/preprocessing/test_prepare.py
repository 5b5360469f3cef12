from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmark.data.index import read_index
from benchmark.data.store import Store, StoreWriter
from benchmark.errors import BenchmarkError, ConfigError, DataError, RegistryError
from preprocessing.prepare import main, prepare
from preprocessing.report import PrepareReport
from preprocessing.writer import exclusive

REAL = "original_sequences/youtube/c23/videos"
FAKE = "manipulated_sequences/Deepfakes/c23/videos"

ReadStore = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def ready(mini: Path, out: Path, bright: str) -> Callable[..., PrepareReport]:
    """``prepare`` on the miniature tree with the quick finder, one worker, four frames."""

    def make(**changes: Any) -> PrepareReport:
        options: dict[str, Any] = {
            "data_dir": out / "data", "index_dir": out / "index", "frames": 4,
            "face_finder": "bright", "workers": 1, "plugins": [bright],
        }  # fmt: skip
        return prepare("FF++", mini, **{**options, **changes})

    return make


def decode(content: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def meta(report: PrepareReport) -> dict[str, Any]:
    return dict(read_index(report.index).meta)


def test_store_and_index(ready: Callable[..., PrepareReport]) -> None:
    report = ready()
    index, store = read_index(report.index), Store(report.store)
    assert index.name == "FaceForensics++"
    assert index.levels() == ["c23"]
    assert len(index.records) == 8
    fake = next(record for record in index.records if record.video == "005_006")
    assert (fake.cls, fake.label, fake.split, fake.level) == ("FF-DF", 1, "test", "c23")
    assert fake.frames[1] == "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/005_006/003.png"
    assert fake.extra["numbers"] == (0, 3, 7, 11)
    assert len(store) == 8 * 4 == sum(len(record.frames) for record in index.records)
    for record in index.records:
        for key, (x, y, size), boxes in zip(record.frames, record.extra["crops"], record.extra["boxes"], strict=True):
            image = decode(store.get(key))
            assert image.shape == (size, size, 3)
            left, top, right, bottom = boxes[0]
            assert image[top - y, left - x].min() > 200
            assert size == int(1.3 * max(right - left, bottom - top))
    raw = json.loads(report.index.read_text())["FaceForensics++"]["FF-DF"]["test"]["c23"]["005_006"]
    assert raw["source"]["file"] == f"{FAKE}/005_006.mp4"
    assert raw["source"]["frame_count"] == 12
    assert len(raw["source"]["sha256"]) == 64


def test_meta_records_settings_versions_and_counts(ready: Callable[..., PrepareReport]) -> None:
    report = ready(frames_real="stride:5", margin=1.5)
    facts = meta(report)
    assert facts["settings"]["face_finder"] == {"name": "bright", "threshold": 200}
    assert facts["settings"]["margin"] == 1.5
    assert facts["settings"]["frame_rule_real"] == "stride:5"
    assert facts["versions"]["opencv"] == cv2.__version__
    nothing = dict.fromkeys(("several", "faceless", "dropped", "unreadable", "empty"), 0)
    assert facts["counts"] == {"videos": 8, "frames": 5 * 3 + 3 * 4, **nothing}
    assert (
        facts["fingerprint"]
        == report.fingerprint
        == json.loads((report.store / "meta.json").read_text())["fingerprint"]
    )
    assert "FF-DF at c23: 3 of 1000 videos" in facts["missing"]
    assert not report.is_damaged
    assert "face-security-benchmark" in facts["tool"]


def test_again_does_nothing(ready: Callable[..., PrepareReport]) -> None:
    first = ready()
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in [first.index, *first.store.iterdir()]}
    again = ready()
    assert (again.new, again.kept) == (0, 8)
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in before}
    assert (again.rows, again.content) == (first.rows, first.content)


def test_workers_do_not_change_the_result(
    ready: Callable[..., PrepareReport], out: Path, read_store: ReadStore
) -> None:
    one = ready()
    two = ready(workers=2, data_dir=out / "data2", index_dir=out / "index2")
    assert read_store(one.store) == read_store(two.store)
    assert one.index.read_bytes() == two.index.read_bytes()
    assert (one.store / "videos.jsonl").read_bytes() == (two.store / "videos.jsonl").read_bytes()


def test_a_store_grows_with_the_copy(
    ready: Callable[..., PrepareReport], mini: Path, out: Path, read_store: ReadStore
) -> None:
    taste = ready(limit=1)
    assert taste.new == 6
    assert len(read_index(taste.index).records) == 6
    (mini / FAKE / "001_002.mp4").rename(mini / FAKE / "002_001.mp4")  # another video of the same split
    grown = ready()
    assert (grown.new, grown.kept) == (3, 5)
    assert len(read_index(grown.index).records) == 9, "a video that is no longer under the root stays prepared"
    (mini / FAKE / "002_001.mp4").unlink()
    assert ready().new == 0
    assert len(read_store(grown.store)) == 36
    assert not (out / "data" / "FaceForensics++_lmdb.partial").exists()


def test_a_deleted_index_is_written_again(ready: Callable[..., PrepareReport]) -> None:
    report = ready()
    content = report.index.read_bytes()
    report.index.unlink()
    assert ready().new == 0
    assert report.index.read_bytes() == content


def test_a_changed_file_or_split_is_done_again(
    ready: Callable[..., PrepareReport], mini: Path, video_maker: Callable[..., None], read_store: ReadStore
) -> None:
    ready()
    video_maker(mini / FAKE / "001_002.mp4", num_frames=6)
    splits = mini / "dataset" / "splits"
    (splits / "val.json").write_text('[["005", "006"]]')
    (splits / "test.json").write_text('[["003", "004"]]')
    report = ready()
    assert report.new == 1 + 5
    records = read_index(report.index).records
    assert next(record for record in records if record.video == "001_002").extra["numbers"] == (0, 1, 3, 5)
    assert next(record for record in records if record.video == "005_006").split == "val"
    assert set(read_store(report.store)) == {key for record in records for key in record.frames}


def test_other_settings_are_refused(ready: Callable[..., PrepareReport], read_store: ReadStore) -> None:
    first = ready()
    before = read_store(first.store)
    with pytest.raises(DataError, match=r"margin was 1.3, now 2.0.*--data.*--overwrite"):
        ready(margin=2.0)
    assert read_store(first.store) == before
    replaced = ready(margin=2.0, overwrite=True)
    assert replaced.fingerprint != first.fingerprint
    assert meta(replaced)["settings"]["margin"] == 2.0
    assert read_store(replaced.store) != before


def test_other_versions_are_refused_only_when_there_is_work(
    ready: Callable[..., PrepareReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ready(limit=1)
    monkeypatch.setattr("preprocessing.video.decoder_versions", lambda: {"opencv": "0.1", "avcodec": "0"})
    assert ready(limit=1).new == 0
    assert meta(first)["versions"]["opencv"] == cv2.__version__
    with pytest.raises(DataError, match=r"was made with opencv .* but here is opencv 0\.1"):
        ready()


def test_a_foreign_store_and_a_second_writer(ready: Callable[..., PrepareReport], out: Path) -> None:
    store = out / "data" / "FaceForensics++_lmdb"
    with StoreWriter(store) as writer:
        writer.put("a", b"b")
    with pytest.raises(DataError, match="was not made by prepare"):
        ready()
    assert len(Store(store)) == 1
    with exclusive(store), pytest.raises(DataError, match="Another process is writing"):
        ready()


def test_trouble_is_counted_and_named(
    ready: Callable[..., PrepareReport], mini: Path, video_maker: Callable[..., None]
) -> None:
    (mini / REAL / "001.mp4").write_bytes(b"")
    whole = (mini / REAL / "002.mp4").read_bytes()
    (mini / REAL / "002.mp4").write_bytes(whole[:-400])
    video_maker(mini / REAL / "006.mp4", has_face=False)
    (mini / REAL / "003.mp4").unlink()
    video_maker(mini / REAL / "003.avi", codec="MJPG")
    (mini / REAL / "003.avi").write_bytes((mini / REAL / "003.avi").read_bytes()[:-9000])
    (mini / REAL / "999.mp4").write_bytes(whole)
    report = ready()
    troubles = {(trouble.place.rpartition("/")[2], trouble.reason): trouble.numbers for trouble in report.troubles}
    assert troubles == {
        ("001.mp4", "the file is empty (0 bytes)"): (),
        ("002.mp4", "it cannot be opened as a video (truncated download, or not a video)"): (),
        ("003.avi", "the header announces 12 frames, 9 can be decoded"): (),
        ("003.avi", "unreadable"): (11,),
        ("006.mp4", "no face"): (0, 3, 7, 11),
    }
    assert report.is_damaged
    rows = {(row.cls, row.split): row for row in report.rows}
    assert (rows["FF-real", "train"].videos, rows["FF-real", "train"].empty, rows["FF-real", "train"].official) == (
        2,
        2,
        720,
    )
    assert (rows["FF-real", "val"].unreadable, rows["FF-real", "test"].faceless) == (1, 4)
    facts = meta(report)
    assert {"file": f"{REAL}/006.mp4", "reason": "no face", "frames": [0, 3, 7, 11]} in facts["skipped"]
    assert facts["left_out"] == [{"file": f"{REAL}/999.mp4", "reason": "'999' is in no split"}]
    assert facts["counts"]["empty"] == 3
    videos = {record.video for record in read_index(report.index).records}
    assert not videos & {"001", "002", "006", "999"}
    assert ready().new == 0, "a broken file is not tried again while it stays as it is"
    (mini / REAL / "002.mp4").write_bytes(whole)
    assert ready().new == 1, "a file that was fetched again is"


def test_formats_and_sizes(ready: Callable[..., PrepareReport], out: Path, read_store: ReadStore) -> None:
    report = ready(image_format="jpeg", quality=80, size=32, limit=1, data_dir=out / "small")
    values = read_store(report.store)
    assert all(key.endswith(".jpg") and value[:2] == b"\xff\xd8" for key, value in values.items())
    assert {decode(value).shape for value in values.values()} == {(32, 32, 3)}
    assert meta(report)["settings"]["quality"] == 80
    assert "area" in meta(report)["settings"]["resize_filter"]


def test_all_frames_and_short_videos(ready: Callable[..., PrepareReport], out: Path) -> None:
    every = ready(frames="all", limit=1)
    assert {len(record.frames) for record in read_index(every.index).records} == {12}
    more = ready(frames=32, limit=1, data_dir=out / "more")
    assert {record.extra["numbers"] for record in read_index(more.index).records} == {tuple(range(12))}


def test_images_sequences_and_further_labels(tmp_path: Path, stills: str, bright: str, read_store: ReadStore) -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    image[10:40, 20:50] = 255
    for name in ("photos/a_0.png", "photos/b_3.jpg", "crops/seq/2.png", "crops/seq/10.png"):
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    (tmp_path / "raw/photos/list.txt").touch()
    out: dict[str, Any] = {"data_dir": tmp_path, "index_dir": tmp_path}
    report = prepare("stills", tmp_path / "raw", **out, face_finder="bright", workers=2, plugins=[stills, bright])
    records = {record.video: record for record in read_index(report.index).records}
    assert {video: (record.label, record.level) for video, record in records.items()} == {
        "a_0": (0, None), "b_3": (1, None), "seq": (1, None),
    }  # fmt: skip
    assert records["a_0"].frames == ("Stills/photos/frames/a_0/000.png",)
    assert json.loads(report.index.read_text())["Stills"]["stills_spoof"]["test"]["b_3"]["facts"] == {"attack": 3}
    values = read_store(report.store)
    assert decode(values["Stills/crops/frames/seq/001.png"]).shape == (60, 80, 3), "face crops are stored whole"
    assert decode(values["Stills/photos/frames/a_0/000.png"]).shape == (37, 37, 3)
    assert [trouble.place for trouble in report.left_out] == ["photos/list.txt"]
    assert report.rows[0].official is None


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"margin": 0.5}, ConfigError, "--margin 0.5"),
        ({"size": 0}, ConfigError, "--size 0"),
        ({"image_format": "tiff"}, ConfigError, "--format tiff"),
        ({"quality": 90}, ConfigError, "--quality is for --format jpeg"),
        ({"image_format": "jpeg", "quality": 101}, ConfigError, "--quality 101"),
        ({"face_choice": "frist"}, ConfigError, "Did you mean first"),
        ({"frames": "some"}, ConfigError, "not a frame rule"),
        ({"limit": 0}, ConfigError, "--limit 0"),
        ({"workers": 0}, ConfigError, "--workers 0"),
        ({"face_finder": "brigth"}, RegistryError, "Closest: bright"),
        ({"face_options": {"treshold": 3}}, ConfigError, "does not take these options"),
        ({"levels": ["c32"]}, DataError, "c32"),
    ],
)
def test_wrong_settings(
    ready: Callable[..., PrepareReport], out: Path, changes: dict[str, Any], error: type[BenchmarkError], words: str
) -> None:
    with pytest.raises(error, match=words):
        ready(**changes)
    assert not (out / "index").exists()


def test_command_line(mini: Path, out: Path, bright: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["FF++", "--root", str(mini), "--data", str(out), "--index", str(out), "--face-finder", "bright"]
    words += ["--frames", "2", "--workers", "1", "--face-option", "threshold=180", "--plugins", bright]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "FF-DF" in printed
    assert "FF-real at c23: 5 of 1000 videos" in printed
    assert "New: 8, kept: 0" in printed
    assert main([*words, "--margin", "2"]) == 2
    assert "margin was 1.3, now 2.0" in capsys.readouterr().err
    (mini / REAL / "006.mp4").write_bytes(b"")
    assert main(words) == 1
    assert "006.mp4: the file is empty" in capsys.readouterr().out
    assert main([*words, "--face-option", "oops"]) == 2


def test_help_is_light() -> None:
    heavy = {"cv2", "numpy", "lmdb", "dlib", "torch", "rich", "tqdm"}
    code = f"import sys, preprocessing.prepare; print(sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
