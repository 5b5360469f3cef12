from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from preprocessing.video import ImageFiles, UnreadableError, VideoFile, decoder_versions


def square_left(image: np.ndarray) -> int:
    return int(np.nonzero(image.min(axis=2) > 200)[1].min())


def test_frame_numbers_are_positions_and_colours_are_rgb(tmp_path: Path, video_maker: Callable[..., None]) -> None:
    video_maker(tmp_path / "ünï.mp4")
    reader = VideoFile(tmp_path / "ünï.mp4").open()
    frames = list(reader.read([0, 5, 11]))
    assert [number for number, _ in frames] == [0, 5, 11]
    assert [square_left(image) for _, image in frames] == pytest.approx([10, 20, 32], abs=1)
    assert reader.count == 12
    assert reader.notes == []
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "red.png"), red)
    ((_, image),) = ImageFiles((tmp_path / "red.png",)).open().read(None)
    assert image[0, 0].tolist() == [255, 0, 0]


def test_all_frames(tmp_path: Path, video_maker: Callable[..., None]) -> None:
    video_maker(tmp_path / "a.mp4")
    assert [number for number, _ in VideoFile(tmp_path / "a.mp4").open().read(None)] == list(range(12))


def test_a_file_cut_short_is_noted(tmp_path: Path, video_maker: Callable[..., None]) -> None:
    path = tmp_path / "a.avi"
    video_maker(path, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    reader = VideoFile(path).open()
    numbers = [number for number, _ in reader.read([0, 3, 7, 11])]
    assert numbers == [0, 3, 7]
    assert reader.notes == ["the header announces 12 frames, 8 can be decoded"]


def test_a_header_that_announces_too_few_is_noted(tmp_path: Path, video_maker: Callable[..., None]) -> None:
    path = tmp_path / "a.avi"
    video_maker(path, codec="MJPG")
    content = path.read_bytes()
    for box, offset in ((b"avih", 24), (b"strh", 40)):  # frame counts of the AVI main and stream headers
        place = content.index(box) + offset
        content = content[:place] + (9).to_bytes(4, "little") + content[place + 4 :]
    path.write_bytes(content)
    reader = VideoFile(path).open()
    assert reader.count == 9
    assert [number for number, _ in reader.read([0, 8])] == [0, 8]
    assert reader.notes == ["the header announces 9 frames, 12 can be decoded"]
    assert len(list(VideoFile(path).open().read(None))) == 12


def test_a_stream_without_frame_count_is_counted(tmp_path: Path) -> None:
    image = np.full((32, 32, 3), 90, np.uint8)
    (tmp_path / "a.mjpeg").write_bytes(cv2.imencode(".jpg", image)[1].tobytes() * 5)
    reader = VideoFile(tmp_path / "a.mjpeg").open()
    assert reader.count == 5
    assert [number for number, _ in reader.read([0, 4])] == [0, 4]
    assert "counted by decoding" in reader.notes[0]


def test_unreadable_files_say_why(tmp_path: Path, video_maker: Callable[..., None]) -> None:
    empty, text, cut = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "cut.mp4"
    empty.touch()
    text.write_text("not a video" * 100)
    video_maker(cut)
    cut.write_bytes(cut.read_bytes()[:-400])  # the table of contents is at the end
    for path, reason in ((empty, "0 bytes"), (text, "cannot be opened"), (cut, "cannot be opened")):
        with pytest.raises(UnreadableError, match=reason):
            VideoFile(path).open()
    with pytest.raises(UnreadableError, match="no images"):
        ImageFiles(()).open()


def test_broken_images_are_left_out_and_noted(tmp_path: Path) -> None:
    paths = tuple(tmp_path / f"{index}.png" for index in range(3))
    cv2.imwrite(str(paths[0]), np.zeros((8, 8, 3), np.uint8))
    paths[1].touch()
    paths[2].write_bytes(paths[0].read_bytes()[:30])
    reader = ImageFiles(paths).open()
    assert [number for number, _ in reader.read(None)] == [0]
    assert reader.notes == ["1.png is not a readable image (0 bytes)", "2.png is not a readable image (30 bytes)"]


def test_decoder_versions_are_known() -> None:
    assert decoder_versions()["opencv"] == cv2.__version__
    assert decoder_versions()["avcodec"] != "unknown"
