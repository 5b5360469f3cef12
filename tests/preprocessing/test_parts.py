"""Masks, landmarks, parsing maps and aligned crops, from the command's options to the bytes in the store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmark.data.datasets import part_key
from benchmark.data.decode import decode_image, decode_map, decode_mask
from benchmark.data.index import read_index
from benchmark.data.store import decode_landmarks
from benchmark.errors import BenchmarkError, ConfigError
from preprocessing.faces.align import five_point_matrix
from preprocessing.faces.base import Face, FaceFinder
from preprocessing.faces.landmarks import ALIGNMENT_PARTS, Predictor, chip_points, find_predictor, resolve_predictor
from preprocessing.frames import NO_FACE_IN_CROP, FrameWorker, binary_mask
from preprocessing.parsers.base import FrameName
from preprocessing.report import PrepareReport
from preprocessing.settings import Settings
from preprocessing.tools import Tools

MASKS = "manipulated_sequences/Deepfakes/masks/videos"
Make = Callable[..., PrepareReport]
ReadStore = Callable[[Path], dict[str, bytes]]


def write_mask(path: Path, num_frames: int = 12, size: tuple[int, int] = (96, 64)) -> None:
    """Left half of the walking square masked, in a lossless codec."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 25, size)
    for index in range(num_frames):
        mask = np.zeros((size[1], size[0], 3), np.uint8)
        mask[20:40, 10 + 2 * index : 20 + 2 * index] = 90
        writer.write(mask)
    writer.release()


def frames_of(report: PrepareReport, video: str) -> tuple[str, ...]:
    return next(record.frames for record in read_index(report.index).records if record.video == video)


def test_masks_follow_their_frames(make: Make, mini: Path, tmp_path: Path, read_store: ReadStore) -> None:
    write_mask(tmp_path / "mask.avi")
    for name in ("001_002", "005_006"):
        target = mini / MASKS / f"{name}.mp4"  # FFmpeg looks at the content, not at the name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((tmp_path / "mask.avi").read_bytes())
    report = make()
    values = read_store(report.store)
    assert sum("/masks/" in key for key in values) == 8
    for key in frames_of(report, "001_002"):
        image, mask = decode_image(values[key], key), decode_mask(values[part_key(key, "mask")], key)
        assert mask.shape == image.shape[:2]
        assert set(np.unique(mask)) == {0, 255}
        bright = image.min(axis=2) > 200
        assert 0.4 < (bright & (mask > 0)).sum() / bright.sum() < 0.6, "half of the bright square is masked"
    assert part_key(frames_of(report, "003_004")[0], "mask") not in values
    assert not report.is_damaged
    without = make("none", masks=False)
    assert not any("/masks/" in key for key in read_store(without.store))
    assert without.fingerprint != report.fingerprint


def test_odd_masks_are_reported_and_frames_kept(make: Make, mini: Path, tmp_path: Path, read_store: ReadStore) -> None:
    write_mask(tmp_path / "short.avi", num_frames=5)
    write_mask(tmp_path / "small.avi", size=(48, 32))
    (mini / MASKS).mkdir(parents=True)
    for name, content in (
        ("001_002", (tmp_path / "short.avi").read_bytes()),
        ("003_004", (tmp_path / "small.avi").read_bytes()),
        ("005_006", b""),
    ):
        (mini / MASKS / f"{name}.mp4").write_bytes(content)
    report = make()
    reasons = {trouble.place.rpartition("/")[2]: trouble.reason for trouble in report.troubles}
    assert reasons == {
        "001_002.mp4": "its mask has no frame 7; frames from there on are stored without masks",
        "003_004.mp4": "its mask is 48x32, its frames are 96x64; masks are not stored",
        "005_006.mp4": "its mask cannot be read: the file is empty (0 bytes)",
    }
    assert report.is_damaged
    values = read_store(report.store)
    assert sum("/frames/" in key for key in values) == 32
    assert sum("/masks/" in key for key in values) == 2


def test_landmarks_and_maps_lie_on_the_crop(
    make: Make, predictor_file: Path, frontal: np.ndarray, read_store: ReadStore
) -> None:
    report = make(landmarks=predictor_file, parser="landmarks", size=50)
    values = read_store(report.store)
    keys = [key for key in values if "/frames/" in key]
    assert len(keys) * 3 == len(values) == 96
    for key in keys:
        points = decode_landmarks(values[part_key(key, "landmarks")], key)
        assert points.shape == (68, 2)
        # The box is 1 / 1.3 of the crop; the predictor puts the plain face into it, on whole pixels of the frame.
        expected = (0.15 / 1.3 + frontal / 1.3) * 50
        assert np.abs(points - expected).max() < 5
        parsing = decode_map(values[part_key(key, "parsing")], key)
        assert parsing.shape == (50, 50)
        assert {0, 1, 6, 10} <= set(np.unique(parsing).tolist())
    settings = read_index(report.index).meta["settings"]
    assert settings["landmarks"]["points"] == 68  # type: ignore[index]
    assert len(settings["landmarks"]["sha256"]) == 64  # type: ignore[index]
    assert settings["parser"]["name"] == "landmarks"  # type: ignore[index]
    assert make(landmarks=predictor_file, parser="landmarks", size=50).new == 0
    sheet = cv2.imread(str(report.pages / "contact_sheet.png"))
    assert sheet is not None


def test_settings_of_all_parts_are_in_the_fingerprint(make: Make, predictor_file: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"landmarks": predictor_file},
        {"landmarks": predictor_file, "align": "chip"},
        {"landmarks": predictor_file, "align": "five_point"},
        {"landmarks": predictor_file, "align": "five_point", "legacy_bgr": True},
        {"landmarks": predictor_file, "parser": "landmarks"},
        {"landmarks": predictor_file, "parser": "landmarks", "parse_options": {"hair": 0}},
        {"masks": False},
        {"face_choice": "largest_mask_overlap"},
    ]
    found = [make(str(number), limit=1, frames=1, **change).fingerprint for number, change in enumerate(changes)]
    assert len(set(found)) == len(changes)


def test_maps_of_the_reference_are_imported(
    make: Make, tmp_path: Path, read_store: ReadStore, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "parsing_maps"
    folder.mkdir()
    for number in (0, 3, 7):
        np.save(folder / f"005_frame_{number}.npy", np.full((1, 224, 224), number, np.int8))
    np.save(folder / "001_frame_0.npy", np.full((1, 224, 224), 12, np.int8))
    report = make(parser="import", parse_options={"folder": str(folder)}, size=224)
    values = read_store(report.store)
    assert {key: int(decode_map(value, key).max()) for key, value in values.items() if "/parsing/" in key} == {
        f"FaceForensics++/original_sequences/youtube/c23/parsing/005/{number:03d}.png": number for number in (0, 3, 7)
    }
    troubles = {(trouble.place.rpartition("/")[2], trouble.reason): trouble for trouble in report.troubles}
    assert troubles["005.mp4", "no parsing map"].numbers == (11,)
    assert troubles["001.mp4", "unreadable parsing map"].is_damage
    assert sum(row.dropped for row in report.rows) == 29
    assert read_index(report.index).meta["counts"]["dropped"] == 29  # type: ignore[index]


class Fixed(FaceFinder):
    """Finds what it is told; counts faces per call of ``find_still``, with the pictures it was given."""

    def __init__(self, faces: list[Face], inside: list[Face]) -> None:
        self.faces, self.inside = faces, inside
        self.crops: list[np.ndarray] = []

    def find(self, image: np.ndarray) -> list[Face]:
        return self.faces

    def find_still(self, image: np.ndarray) -> list[Face]:
        self.crops.append(image)
        return self.inside


NAME = FrameName("f", "v", 0)
SMALL, LARGE = Face((60, 60, 160, 160), 0.9), Face((40, 40, 200, 200), 0.1)


def align_frame(predictor_file: Path, **options: Any) -> tuple[Any, Fixed, Predictor, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    finder, predictor = Fixed([Face((100, 60, 180, 140))], [SMALL, LARGE]), Predictor(predictor_file)
    settings = Settings(align="five_point", predictor=str(predictor_file), landmarks=True, **options)
    stored = FrameWorker(settings, Tools(finder, predictor)).process(image, None, NAME)
    return stored, finder, predictor, image


def test_aligned_as_deepfakebench_does(predictor_file: Path) -> None:
    stored, finder, predictor, image = align_frame(predictor_file)
    points = predictor.predict(image, (100, 60, 180, 140))
    matrix = five_point_matrix(points[list(ALIGNMENT_PARTS)])
    np.testing.assert_allclose(np.array(stored.matrix).reshape(2, 3), matrix, atol=1e-4)
    crop = decode_image(stored.image, "")
    assert crop.shape == (256, 256, 3)
    assert (finder.crops[0] == crop).all(), "the second search sees the RGB crop"
    inside = decode_landmarks(stored.parts["landmarks"], "")
    assert (inside == predictor.predict(crop, LARGE.box)).all(), "landmarks of the largest face in the crop"
    assert stored.crop is None
    assert stored.boxes == [[100, 60, 180, 140]]


def test_legacy_second_search(predictor_file: Path) -> None:
    stored, finder, predictor, _ = align_frame(predictor_file, legacy_bgr=True)
    crop = decode_image(stored.image, "")
    assert (finder.crops[0][..., ::-1] == crop).all(), "the second search sees the BGR crop"
    inside = decode_landmarks(stored.parts["landmarks"], "")
    assert (inside == predictor.predict(finder.crops[0], SMALL.box)).all(), "landmarks of the first face there"


def test_no_face_in_the_aligned_crop_drops_the_frame(predictor_file: Path) -> None:
    finder, predictor = Fixed([LARGE], []), Predictor(predictor_file)
    settings = Settings(align="five_point", predictor=str(predictor_file))
    image = np.zeros((240, 320, 3), np.uint8)
    assert FrameWorker(settings, Tools(finder, predictor)).process(image, None, NAME) == NO_FACE_IN_CROP


def test_chip_by_predictor_and_by_five_points(predictor_file: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    predictor = Predictor(predictor_file)
    points = predictor.predict(image, LARGE.box)
    five = chip_points(LARGE, points)
    assert five is not None
    np.testing.assert_allclose(five[0], points[36:42].mean(axis=0))
    with_points = Face(LARGE.box, 0.5, five.astype(np.float32))
    mask = np.zeros((240, 320), np.uint8)
    mask[40:200, 40:120] = 3
    worker = FrameWorker(Settings(align="chip"), Tools(Fixed([with_points], [])))
    first = worker.process(image, mask, NAME)
    settings = Settings(align="chip", predictor=str(predictor_file))
    second = FrameWorker(settings, Tools(Fixed([LARGE], []), predictor)).process(image, mask, NAME)
    assert not isinstance(first, str)
    assert first == second
    assert decode_image(first.image, "").shape == (224, 224, 3)
    assert set(np.unique(decode_mask(first.parts["masks"], ""))) == {0, 255}
    assert "landmarks" not in first.parts
    assert FrameWorker(Settings(align="chip"), Tools(Fixed([LARGE], []))).process(image, None, NAME) == (
        "no landmarks to align by"
    )


def test_aligned_store(make: Make, predictor_file: Path, read_store: ReadStore) -> None:
    report = make(align="chip", landmarks=predictor_file, size=64)
    record = json.loads(report.index.read_text())["FaceForensics++"]["FF-DF"]["test"]["c23"]["005_006"]
    assert len(record["matrices"]) == len(record["frames"]) == len(record["boxes"]) == 4
    assert "crops" not in record
    values = read_store(report.store)
    assert {decode_image(value, key).shape for key, value in values.items() if "/frames/" in key} == {(64, 64, 3)}
    assert read_index(report.index).meta["settings"]["align"] == "chip"  # type: ignore[index]


def test_thresholded_masks() -> None:
    assert binary_mask(np.array([[0, 1, 200]], np.uint8)).tolist() == [[0, 255, 255]]


def test_predictor_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predictor_file: Path) -> None:
    monkeypatch.setattr("preprocessing.faces.landmarks.find_predictor", lambda: None)
    with pytest.raises(ConfigError, match=r"no installed package brings one.*excludes commercial use"):
        resolve_predictor("auto")
    with pytest.raises(ConfigError, match=r"there is no file nowhere\.dat"):
        resolve_predictor("nowhere.dat")
    broken = tmp_path / "broken.dat"
    broken.write_bytes(b"12345")
    with pytest.raises(ConfigError, match="not a dlib shape predictor"):
        Predictor(broken)
    assert resolve_predictor(str(predictor_file)) == predictor_file
    package = tmp_path / "site" / "face_recognition_models"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    model = package / "models" / "shape_predictor_68_face_landmarks.dat"
    model.write_bytes(predictor_file.read_bytes())
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert find_predictor() == model
    assert resolve_predictor("auto") == model


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"align": "five-point"}, "Did you mean five_point"),
        ({"legacy_bgr": True}, "--legacy-bgr is a rule of --align five_point"),
        ({"align": "chip", "legacy_bgr": True}, "--legacy-bgr is a rule of --align five_point"),
        ({"parser": "facr"}, "Closest: facer"),
        ({"parse_options": {"hair": 0}}, "--parse-option needs --parse"),
        ({"parser": "import"}, "--parse-option folder=PATH"),
        ({"store_kind": "zip"}, "--store zip is not known"),
        ({"engine": "rya"}, "Did you mean ray"),
        ({"layout_options": {"nmae": "x"}}, "does not take these options"),
    ],
)
def test_wrong_settings(
    make: Make, changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch, predictor_file: Path
) -> None:
    monkeypatch.setattr("preprocessing.faces.landmarks.find_predictor", lambda: predictor_file)
    with pytest.raises(BenchmarkError, match=words):
        make(**changes)


def test_landmarks_are_asked_for_where_they_are_needed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preprocessing.faces.landmarks.find_predictor", lambda: None)
    for changes in ({"align": "five_point"}, {"parser": "landmarks"}, {"landmarks": "auto"}):
        with pytest.raises(ConfigError, match="--landmarks: a dlib landmark model is needed"):
            make(**changes)
