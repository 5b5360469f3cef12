"""Plain folders instead of LMDB, Ray instead of processes, report pages, and videos with rotated metadata."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from benchmark.data.index import VideoRecord
from benchmark.data.source import ByteSource
from benchmark.errors import DataError, RegistryError
from preprocessing.report import PrepareReport
from preprocessing.report_pages import contact_sheet
from preprocessing.video import VideoFile

Make = Callable[..., PrepareReport]
REAL = "original_sequences/youtube/c23/videos"


def files(folder: Path) -> dict[str, bytes]:
    """Files below the dataset folder, without those at its top."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.parent != folder)
    return {path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in paths}


def test_folders_hold_what_the_store_holds(make: Make, read_store: Callable[[Path], dict[str, bytes]]) -> None:
    lmdb, folder = make("lmdb"), make("folder", store_kind="folder")
    assert files(folder.store) == read_store(lmdb.store)
    assert folder.content == lmdb.content
    assert folder.index.read_bytes() == lmdb.index.read_bytes()
    key = "FaceForensics++/original_sequences/youtube/c23/frames/001/003.png"
    assert ByteSource([folder.store.parent]).read(key) == files(folder.store)[key]
    assert make("folder", store_kind="folder").new == 0


def test_an_interrupted_folder_is_continued(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make("whole", store_kind="folder")
    count = 0

    def stop(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("preprocessing.progress.Progress.update", stop)
        with pytest.raises(KeyboardInterrupt):
            make("cut", store_kind="folder")
    assert not (whole.store.parent.parent / "cut" / "FaceForensics++").exists()
    resumed = make("cut", store_kind="folder")
    assert (resumed.new, resumed.kept) == (5, 3)
    assert files(resumed.store) == files(whole.store)


def test_a_changed_video_leaves_no_old_files(make: Make, mini: Path, video_maker: Callable[..., None]) -> None:
    make(store_kind="folder")
    video_maker(mini / REAL / "001.mp4", num_frames=6)
    report = make(store_kind="folder")
    frames = sorted(path.stem for path in (report.store / "original_sequences/youtube/c23/frames/001").iterdir())
    assert frames == ["000", "001", "003", "005"]


class StubRay(ModuleType):
    """Ray's part that is used, in this process: work happens when its result is asked for."""

    def __init__(self, cpus: int = 2) -> None:
        super().__init__("ray")
        self.exceptions = SimpleNamespace(RayError=type("RayError", (Exception,), {}))
        self.cpus, self.waiting, self.most_waiting = cpus, 0, 0
        self.options: dict[str, Any] = {}
        self.failing = ""

    def init(self, **options: Any) -> None:
        if options["address"] == "nowhere":
            raise ConnectionError("no GCS at nowhere")
        self.options = options

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.cpus)}

    def remote(self, **options: Any) -> Any:
        self.options.update(options)

        def wrap(function: Callable[..., Any]) -> Any:
            def submit(*arguments: Any) -> Any:
                self.waiting += 1
                self.most_waiting = max(self.waiting, self.most_waiting)
                return lambda: function(*arguments)

            return SimpleNamespace(remote=submit)

        return wrap

    def get(self, reference: Callable[[], Any]) -> Any:
        self.waiting -= 1
        result = reference()
        if self.failing and self.failing in result.id:
            raise self.exceptions.RayError("worker died\nnode 7 is gone")
        return result


def test_ray_gives_the_same_store(
    make: Make, monkeypatch: pytest.MonkeyPatch, read_store: Callable[[Path], dict[str, bytes]]
) -> None:
    stub = StubRay()
    monkeypatch.setitem(sys.modules, "ray", stub)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    local, ray = make("local"), make("ray", engine="ray", workers=None)
    assert read_store(ray.store) == read_store(local.store)
    assert ray.index.read_bytes() == local.index.read_bytes()
    assert stub.most_waiting == 4, "twice the CPUs of the cluster"
    assert (stub.options["num_cpus"], stub.options["address"]) == (1, None)


def test_ray_errors(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = StubRay()
    stub.failing = "003_004"
    monkeypatch.setitem(sys.modules, "ray", stub)
    with pytest.raises(DataError, match=r"003_004 failed \(node 7 is gone\)\. What was finished is kept"):
        make(engine="ray")
    stub.failing = ""
    assert make(engine="ray").kept >= 1
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    with pytest.raises(DataError, match=r"no cluster \(no GCS at nowhere\)"):
        make("other", engine="ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RegistryError, match=r"face-security-benchmark\[cluster\]"):
        make("other", engine="ray")


def test_report_pages(make: Make, mini: Path, video_maker: Callable[..., None]) -> None:
    (mini / REAL / "001.mp4").write_bytes(b"")
    video_maker(mini / REAL / "006.mp4", has_face=False)
    report = make()
    markdown = (report.pages / "report.md").read_text()
    assert "| FF-real | train | c23 | 2 | 720 | 4 | 0 | 0 | 0 | 0 | 1 |" in markdown
    assert "| all |  |  | 9 | 2,000 | 28 | 0 | 4 | 0 | 0 | 2 |" in markdown
    for words in (
        "## Broken or odd files (1)", f"- {REAL}/001.mp4: the file is empty (0 bytes)",
        "## Frames not stored (1)", "006.mp4: no face in 4 frames (0, 3, 7, 11)",
        "FF-DF at c23: 3 of 1000 videos", "![contact sheet](contact_sheet.png)",
    ):  # fmt: skip
        assert words in markdown
    page = (report.pages / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<td>FF-real</td>" in page
    sheet = cv2.imread(str(report.pages / "contact_sheet.png"))
    assert sheet is not None
    assert sheet.shape == (4 * (128 + 26), 8 * 128, 3), "28 crops in rows of eight, each with a caption"
    assert (sheet[40:90, 40:90] > 200).any(), "a crop of the bright square"
    again = make("again")
    sheets = [(pages / "contact_sheet.png").read_bytes() for pages in (report.pages, again.pages)]
    assert sheets[0] == sheets[1]
    (report.pages / "report.html").unlink()
    make()
    assert (report.pages / "report.html").is_file(), "a deleted page is written again"


def test_the_sheet_shows_no_frame_twice_and_all_of_few(tmp_path: Path) -> None:
    def video(name: str, count: int, label: int = 0) -> VideoRecord:
        cls = ("a_real", "a_fake")[label]
        return VideoRecord("D", cls, label, "test", None, name, tuple(f"D/{name}/{k}.png" for k in range(count)))

    asked: list[str] = []

    def read(key: str) -> bytes:
        asked.append(key)
        return cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()

    contact_sheet([video("one", 2), video("two", 2), video("three", 1, label=1)], read, tiles=12)
    assert sorted(asked) == ["D/one/0.png", "D/one/1.png", "D/three/0.png", "D/two/0.png", "D/two/1.png"]
    asked.clear()
    contact_sheet([video("long", 100), video("many", 100, label=1)], read, tiles=8)
    assert asked == [f"D/many/{k}.png" for k in (0, 25, 50, 75)] + [f"D/long/{k}.png" for k in (0, 25, 50, 75)]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_metadata_is_applied_and_kept_as_a_fact(
    tmp_path: Path, video_maker: Callable[..., None], rotate: Callable[[Path, int], None], degrees: int
) -> None:
    path = tmp_path / "1.mp4"
    video_maker(path)
    [(_, upright)] = VideoFile(path).open().read([3])
    rotate(path, degrees)
    reader = VideoFile(path).open()
    [(number, turned)] = reader.read([3])
    assert number == 3
    assert reader.facts == {"rotation": degrees}
    expected = np.rot90(upright, k=-degrees // 90)
    assert turned.shape == expected.shape
    assert np.abs(turned.astype(int) - expected).mean() < 3
    assert reader.notes == []


def test_a_rotated_video_is_prepared(make: Make, mini: Path, rotate: Callable[[Path, int], None]) -> None:
    rotate(mini / REAL / "001.mp4", 90)
    report = make()
    assert not report.is_damaged
    text = report.index.read_text()
    assert text.count('"rotation":90') == 1
