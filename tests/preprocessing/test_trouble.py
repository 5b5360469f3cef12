"""Every kind of trouble with a file: the run goes on, the good videos are stored, and the report names the bad one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmark.data.index import read_index
from preprocessing.prepare import prepare
from preprocessing.report import PrepareReport

GOOD = "good"
Trouble = tuple[str, dict[str, Any]]


def truncated(path: Path, write: Callable[..., None]) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:-400])  # the table of contents is at the end


def cut_short(path: Path, write: Callable[..., None]) -> None:
    write(path, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def zero_frames(path: Path, write: Callable[..., None]) -> None:
    write(path, num_frames=0)


def zero_frames_announced(path: Path, write: Callable[..., None]) -> None:
    write(path, codec="MJPG", num_frames=1)
    content = path.read_bytes()
    start, end = content.index(b"movi"), content.index(b"idx1")
    for box, offset in ((b"avih", 24), (b"strh", 40)):
        place = content.index(box) + offset
        content = content[:place] + bytes(4) + content[place + 4 :]
    path.write_bytes(content[: start + 4] + bytes(end - start - 4) + content[end:])


def no_face(path: Path, write: Callable[..., None]) -> None:
    write(path, has_face=False)


def empty(path: Path, write: Callable[..., None]) -> None:
    path.write_bytes(b"")


def not_a_video(path: Path, write: Callable[..., None]) -> None:
    path.write_text("<html>404 not found</html>" * 50)


def broken_image(path: Path, write: Callable[..., None]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes()[:40])


@pytest.fixture
def run(tmp_path: Path, bright: str, video_maker: Callable[..., None]) -> Callable[[str, Any], PrepareReport]:
    """Prepare a folder of one good video and one with trouble."""

    def make(name: str, spoil: Any, **options: Any) -> PrepareReport:
        root = tmp_path / "raw"
        video_maker(root / "real" / f"{GOOD}.mp4")
        spoil(root / "real" / name, video_maker)
        return prepare("folder", root, data_dir=tmp_path, index_dir=tmp_path, frames=4, face_finder="bright",
                       workers=1, plugins=[bright], **options)  # fmt: skip

    return make


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("a.mp4", truncated, "it cannot be opened as a video (truncated download, or not a video)"),
        ("a.mp4", not_a_video, "it cannot be opened as a video (truncated download, or not a video)"),
        ("a.mp4", empty, "the file is empty (0 bytes)"),
        ("a.mp4", zero_frames, "it cannot be opened as a video (truncated download, or not a video)"),
        ("a.avi", zero_frames_announced, "it has no frame that can be decoded"),
        ("a.png", broken_image, "a.png is not a readable image (40 bytes)"),
        ("a.png", empty, "a.png is not a readable image (0 bytes)"),
    ],
)
def test_a_file_without_a_frame(run: Callable[..., PrepareReport], name: str, spoil: Any, reason: str) -> None:
    report = run(name, spoil)
    assert reason in {trouble.reason for trouble in report.troubles if trouble.place == f"real/{name}"}
    assert report.is_damaged
    [row] = report.rows
    assert (row.videos, row.frames, row.empty) == (2, 4, 1)
    index = read_index(report.index)
    assert [record.video for record in index.records] == [GOOD]
    assert {"file": f"real/{name}", "reason": reason} in index.meta["skipped"]  # type: ignore[operator]
    page = (report.pages / "report.md").read_text()
    assert f"real/{name}: {reason}" in page


def test_a_video_cut_short_keeps_its_readable_frames(run: Callable[..., PrepareReport]) -> None:
    report = run("a.avi", cut_short)
    troubles = {trouble.reason: trouble.numbers for trouble in report.troubles}
    assert troubles == {"the header announces 12 frames, 8 can be decoded": (), "unreadable": (11,)}
    assert report.is_damaged
    assert {record.video: record.extra["numbers"] for record in read_index(report.index).records} == {
        "a": (0, 3, 7), GOOD: (0, 3, 7, 11)}  # fmt: skip


def test_no_face_in_any_frame(run: Callable[..., PrepareReport]) -> None:
    report = run("a.mp4", no_face)
    assert [(trouble.reason, trouble.numbers) for trouble in report.troubles] == [("no face", (0, 3, 7, 11))]
    assert not report.is_damaged, "the file is whole"
    assert (report.rows[0].faceless, report.rows[0].empty) == (4, 1)
    assert [record.video for record in read_index(report.index).records] == [GOOD]


def two_faces(path: Path, write: Callable[..., None]) -> None:
    image = np.full((64, 96, 3), 20, np.uint8)
    image[10:22, 4:16] = 255
    image[20:50, 50:80] = 255
    cv2.imwrite(str(path), image)


@pytest.mark.parametrize(("choice", "left"), [("first", 4), ("largest", 50)])
def test_several_faces_are_counted_and_all_kept_as_boxes(
    run: Callable[..., PrepareReport], choice: str, left: int
) -> None:
    report = run("two.png", two_faces, face_choice=choice)
    [row] = report.rows
    assert (row.several, row.frames, row.empty) == (1, 5, 0)
    record = next(record for record in read_index(report.index).records if record.video == "two_png")
    assert record.extra["boxes"] == ([[4, 10, 15, 21], [50, 20, 79, 49]],)
    x, _, size = record.extra["crops"][0]
    assert x < left < x + size
    assert read_index(report.index).meta["counts"]["several"] == 1  # type: ignore[index]
    assert "| several |" in (report.pages / "report.md").read_text()


def test_rotated_metadata(run: Callable[..., PrepareReport], rotate: Callable[[Path, int], None]) -> None:
    def spoil(path: Path, write: Callable[..., None]) -> None:
        write(path)
        rotate(path, 90)

    report = run("a.mp4", spoil)
    records = {record.video: record for record in read_index(report.index).records}
    assert records["a"].extra["source"]["rotation"] == 90
    assert "rotation" not in records[GOOD].extra["source"]
    (x, y, _), (u, v, _) = records["a"].extra["crops"][0], records[GOOD].extra["crops"][0]
    assert (x, y) != (u, v), "the crop is that of the upright frame"
    assert not report.is_damaged


def test_non_ascii_paths(run: Callable[..., PrepareReport], read_store: Callable[[Path], dict[str, bytes]]) -> None:
    name = "Vidéo №1 – 顔 ß.mp4"
    report = run(name, lambda path, write: write(path))
    assert report.troubles == ()
    records = {record.video: record for record in read_index(report.index).records}
    frames = records[name.removesuffix(".mp4")].frames
    assert len(frames) == 4
    assert set(frames) <= set(read_store(report.store))
    assert name in json.loads(report.index.read_text())["folder"]["real"]["test"][name[:-4]]["source"]["file"]
    assert (report.pages / "contact_sheet.png").is_file()
