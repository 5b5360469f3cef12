"""``python -m benchmark detect``: from files to people, scores, verdicts, JSON and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from benchmark.__main__ import main
from benchmark.registry import load_plugin
from benchmark.results import read_result
from preprocessing.faces.crop import cut, face_square
from preprocessing.people import Person
from preprocessing.video import VideoFile
from training.detect_pictures import box_at
from training.detect_scores import NO_THRESHOLD, PersonScore, Scorer, Unit, operating_threshold_of
from training.distributed import Processes

PATCHES = Path(__file__).parent / "plugins" / "patches.py"
WIDTH, HEIGHT, FRAMES, RATE = 200, 120, 12, 24
SQUARES = ((20, 30), (120, 50))  # top-left corners of the two "faces"
SIDE = 30


def scene(number: int, people: int = 2) -> np.ndarray:
    """A dark frame with a smooth and a grainy bright square; both walk a pixel a frame."""
    rng = np.random.default_rng(3)
    frame = rng.integers(0, 40, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for person, (x, y) in enumerate(SQUARES[:people]):
        grain = rng.integers(0, 60, (SIDE, SIDE, 1)) * person
        frame[y : y + SIDE, x + number : x + number + SIDE] = np.clip(235 - grain, 0, 255)
    return frame


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video of two people, a picture of one, an empty picture, damaged files and a text."""
    folder = tmp_path_factory.mktemp("media")
    (folder / "more").mkdir()
    writer = cv2.VideoWriter(str(folder / "two.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    for number in range(FRAMES):
        writer.write(scene(number)[..., ::-1])
    writer.release()
    cv2.imwrite(str(folder / "more" / "one.png"), scene(0, people=1))
    cv2.imwrite(str(folder / "nobody.png"), scene(0, people=0))
    (folder / "broken.mp4").write_bytes((folder / "two.mp4").read_bytes()[:900])
    (folder / "bad.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("neither")
    return folder


@pytest.fixture
def trained(session: Callable[..., Any], toy_world: Any, tmp_path: Path) -> Callable[..., Path]:
    """Trains for one step on data whose index says that ``patches`` found its faces; gives the run folder."""
    load_plugin(str(PATCHES))

    def train(*overrides: str, test: bool = True) -> Path:
        indexes = tmp_path / "indexes"
        indexes.mkdir()
        index = json.loads((toy_world.indexes / "Toy.json").read_text())
        index["meta"]["settings"] = {
            "dataset": "Toy", "margin": 1.6, "size": 48, "image_format": "png", "align": None,
            "face_finder": {"name": "patches", "threshold": 140, "sha256": "x"},
        }  # fmt: skip
        (indexes / "Toy.json").write_text(json.dumps(index))
        steps = ("schedule.epochs=null", "schedule.steps=1", f"paths.indexes={indexes}")
        words = () if test else ("data.test=[]",)
        assert session(*steps, *words, *overrides).train_and_test(resume=False) == 0
        return tmp_path / "runs" / "toy"

    return train


def detect(*arguments: object) -> int:
    return main(["detect", "--plugins", str(PATCHES), *map(str, arguments)])


def test_a_folder_from_files_to_verdicts(trained: Any, media: Path, tmp_path: Path, capsys: Any) -> None:
    run, out = trained(), tmp_path / "out"
    assert detect("--weights", run, "--out", out, "--frames", 6, "--", media) == 1, "two files cannot be read"
    summary = json.loads((out / "summary.json").read_text())
    counts = summary["counts"]
    assert (summary["files"], counts["unreadable"], counts["no_face"], counts["not_scored"]) == (5, 2, 1, 0)
    assert counts["flagged"] + counts["not_flagged"] == 2
    assert summary["other_files_passed_over"] == 1
    problems = {report["file"]: report["problem"] for report in summary["reports"] if report["problem"]}
    assert problems.keys() == {"bad.jpg", "broken.mp4"}
    assert all(len(problem) > 15 for problem in problems.values())
    printed = " ".join(capsys.readouterr().out.split())
    assert "no face found" in printed
    assert "no proof" in printed
    assert "Detector: fsfm, trained on Toy." in printed
    assert detect("--weights", run, "--out", out, "--no-video", "--", media / "more" / "one.png") == 0


def test_two_people_are_scored_apart_as_test_data_is_scored(trained: Any, media: Path, tmp_path: Path) -> None:
    run, out = trained(), tmp_path / "out"
    assert detect("--weights", run, "--out", out, "--frames", "stride:2", "--", media / "two.mp4") == 0
    report = json.loads((out / "two.mp4.json").read_text())
    assert report["media"]["frames_looked_at"] == 6
    assert report["media"]["seconds"] == FRAMES / RATE
    first, second = report["people"]
    assert (first["person"], second["person"]) == (1, 2)
    assert first["boxes"]["0"][0] < 60 < second["boxes"]["0"][0]
    assert [score["first_frame"] for score in first["scores"]] == [0, 2, 4, 6, 8, 10]
    assert first["scores"][3]["seconds"] == [6 / RATE, 6 / RATE]
    assert abs(first["score"] - second["score"]) > 1e-5
    assert report["score"] == max(first["score"], second["score"])
    assert first["flagged"] == (first["score"] > report["threshold"]["value"])
    for person in (first, second):
        assert person["score"] == pytest.approx(np.mean([score["score"] for score in person["scores"]]))
        assert person["score"] == pytest.approx(by_hand(run, media / "two.mp4", person["boxes"]), abs=1e-5)
    assert report["detector"]["trained_on"] == ["Toy"]
    assert report["crops"]["face_finder"] == "patches"
    assert report["crops"]["margin"] == 1.6
    assert report["crops"]["rule"] == "that of the training data Toy"


def by_hand(run: Path, video: Path, boxes: dict[str, list[int]]) -> float:
    """Mean score of a person's crops, cut, resized and normalised here."""
    from benchmark.data.transforms import resize_image
    from benchmark.schema import load_run_config
    from preprocessing.faces.crop import resize

    config, settings = load_run_config(run / "config.yaml")
    detector = Scorer(config, settings, str(run), Processes(0, 1, torch.device("cpu"))).detector.eval()
    crops = []
    for number, image in VideoFile(video).open().read([int(number) for number in boxes]):
        square = face_square(tuple(boxes[str(number)]), WIDTH, HEIGHT, 1.6)
        crops.append(resize_image(resize(cut(image, square), 48), 32, 32))
    pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        return float(detector.predict({"image": (pixels - 0.5) / 0.5}).mean())


def test_pictures_and_the_annotated_video(trained: Any, media: Path, tmp_path: Path) -> None:
    run, out = trained(), tmp_path / "out"
    assert detect("--weights", run, "--out", out, "--frames", 6, "--", media / "two.mp4", media / "more") == 0
    reader = VideoFile(out / "two.mp4.annotated.mp4").open()
    frames = [image for _, image in reader.read(None)]
    assert (len(frames), reader.rate) == (FRAMES, RATE)
    picture = cv2.imread(str(out / "two.mp4.png"))
    still = cv2.imread(str(out / "one.png.png"))
    scale = 720 / WIDTH
    assert picture.shape[1] == still.shape[1] == 720
    assert picture.shape[0] > still.shape[0] > HEIGHT * scale, "a panel below, with a curve for videos only"
    blue = np.array([233, 180, 86])  # the first person's colour, BGR
    left, top, right, bottom = (
        round(edge * scale) for edge in json.loads((out / "one.png.json").read_text())["people"][0]["boxes"]["0"]
    )
    for y, x in ((top, (left + right) // 2), (bottom, (left + right) // 2), ((top + bottom) // 2, left)):
        assert np.abs(still[y, x].astype(int) - blue).max() < 40, "the box is where the face is"
    assert not list(out.glob(".*")), "nothing half-written is left"


def test_clip_detectors_get_clips_and_say_when_they_cannot(trained: Any, media: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = trained("detector={name: mean_pool}", "data.clip={length: 4}", "trainer.batch_size=4")
    files = (media / "two.mp4", media / "more" / "one.png")
    assert detect("--weights", run, "--out", out, "--frames", "all", "--no-video", "--", *files) == 0
    report = json.loads((out / "two.mp4.json").read_text())
    assert report["detector"]["scores"] == "clip of 4 frames"
    assert [(s["first_frame"], s["last_frame"]) for s in report["people"][1]["scores"]] == [(0, 3), (4, 7), (8, 11)]
    assert "video" not in report["pictures"]
    picture = json.loads((out / "one.png.json").read_text())
    assert picture["status"] == "not_scored"
    assert picture["people"][0]["not_scored_because"] == "seen in 1 frame, and the detector looks at clips of 4"
    assert detect("--weights", run, "--out", out, "--", files[1]) == 1, "nothing could be scored"


def test_the_threshold_belongs_to_exactly_these_weights(trained: Any, tmp_path: Path) -> None:
    run = trained()
    result = read_result(run / "results" / "Toy.json")
    weights = Path(result["weights"]["file"])
    found = operating_threshold_of(weights, result["weights"]["sha256"])
    assert found.value == result["operating_point"]["threshold"]
    assert found.origin == "equal error rate of the videos in the val split of Toy (in results/Toy.json)"
    other = operating_threshold_of(weights, "another file's hash")
    assert (other.value, other.origin) == (0.5, NO_THRESHOLD)
    assert operating_threshold_of(tmp_path / "elsewhere.safetensors", "").value == 0.5


def test_a_weights_file_with_its_configuration(
    trained: Any, media: Path, tmp_path: Path, toy_config: Path, capsys: Any
) -> None:
    run, out = trained(), tmp_path / "out"
    weights = tmp_path / "moved.safetensors"
    weights.write_bytes(Path(read_result(run / "results" / "Toy.json")["weights"]["file"]).read_bytes())
    one = media / "more" / "one.png"
    assert detect("--weights", weights, "--detector", toy_config, "--out", out, "--", one) == 0
    moved = json.loads((out / "one.png.json").read_text())
    assert detect("--weights", run, "--out", out, "--", one) == 0
    kept = json.loads((out / "one.png.json").read_text())
    assert moved["score"] == kept["score"]
    assert moved["detector"]["weights_sha256"] == kept["detector"]["weights_sha256"]
    assert (moved["threshold"]["origin"], moved["crops"]["margin"]) == (NO_THRESHOLD, 1.6), "that is in the weights"
    assert detect("--weights", weights, "--out", out, "--", one) == 2
    assert "say --detector YAML too" in capsys.readouterr().err


def test_without_a_stored_threshold_the_report_says_so(trained: Any, media: Path, tmp_path: Path) -> None:
    run, out = trained(test=False), tmp_path / "out"
    one = media / "more" / "one.png"
    assert detect("--weights", run, "--out", out, "--", one) == 0
    report = json.loads((out / "one.png.json").read_text())
    assert report["threshold"] == {"value": 0.5, "origin": NO_THRESHOLD}
    assert detect("--weights", run, "--out", out, "--threshold", 0.0, "--", one) == 0
    report = json.loads((out / "one.png.json").read_text())
    assert (report["status"], report["threshold"]["origin"]) == ("flagged", "given on the command line")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4", "--weights", "RUN"], "nowhere.mp4: no such file or folder"),
        (["MEDIA", "--weights", "nowhere"], "No weights at 'nowhere'"),
        (["MEDIA", "--weights", "RUN", "--threshold", "7"], "not between 0 and 1"),
        (["MEDIA", "--weights", "RUN", "--face-finder", "dlab"], "No face finder named 'dlab'"),
        (["MEDIA", "--weights", "RUN", "--frames", "some"], "not a frame rule"),
        (["MEDIA", "trainer.batch=3", "--weights", "RUN"], "trainer.batch is not a known key"),
        (["MEDIA", "MEDIA", "--weights", "RUN"], "Two files are called"),
        (["MEDIA", "--weights", "RUN", "--out", "MEDIA/notes.txt"], "the folder cannot be made"),
    ],
)
def test_wrong_commands_end_with_a_reason(
    trained: Any, media: Path, tmp_path: Path, capsys: Any, arguments: list[str], message: str
) -> None:
    places = {"RUN": str(trained(test=False)), "MEDIA": str(media)}
    words = arguments
    for name, place in places.items():
        words = [word.replace(name, place) for word in words]
    assert main(["detect", "--out", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err


def test_parts_of_crops_reach_a_detector_that_needs_them(trained: Any) -> None:
    from benchmark.data.store import encode_npy
    from benchmark.errors import DataError
    from benchmark.schema import load_run_config
    from preprocessing.frames import StoredFrame
    from preprocessing.people import People

    run = trained(test=False)
    scorer = Scorer(*load_run_config(run / "config.yaml"), str(run), Processes(0, 1, torch.device("cpu")))
    scorer.needs = frozenset({"landmarks"})
    image = cv2.imencode(".png", scene(0))[1].tobytes()
    crop = StoredFrame(image, parts={"landmarks": encode_npy(np.zeros((68, 2), np.float32))})
    person = Person(1, {4: (0, 0, 9, 9)}, {4: crop})
    people = People([person], [], [4], [], [], WIDTH, HEIGHT, 5, 25.0, [])
    (score,) = scorer.score(people, ".png")
    assert [(unit.first, unit.last) for unit in score.units] == [(4, 4)]
    person.crops[4] = StoredFrame(image)
    with pytest.raises(DataError, match="no 'landmarks'"):
        scorer.score(people, ".png")


def test_boxes_between_two_looks() -> None:
    person = Person(1, {10: (0, 0, 10, 10), 20: (10, 20, 20, 30), 90: (0, 0, 4, 4)})
    assert box_at(person, 15, reach=6) == (5, 10, 15, 20)
    assert box_at(person, 8, reach=6) == (0, 0, 10, 10)
    assert box_at(person, 2, reach=6) is None
    assert box_at(person, 24, reach=6) == (10, 20, 20, 30)
    assert box_at(person, 50, reach=6) is None, "seen before and after, but too long ago"


def test_a_persons_score_is_the_mean_of_its_units() -> None:
    assert PersonScore(1, (Unit(0, 0, 0.2), Unit(1, 1, 0.6))).score == pytest.approx(0.4)
    assert PersonScore(1, (), "why").score is None


def test_a_real_clip_with_sound_and_a_portrait_of_two(trained: Any, shared: Path, tmp_path: Path) -> None:
    real = shared / "data" / "real"
    if not real.is_dir():
        pytest.skip("the real inputs are not on this machine")
    run, out = trained(test=False), tmp_path / "out"
    files = (real / "av_clips" / "video05.mp4", real / "portraits" / "twogirls.jpg")
    assert detect("--weights", run, "--out", out, "--face-finder", "dlib", "--margin", 1.3, "--frames", 4, *files) == 0
    clip = json.loads((out / "video05.mp4.json").read_text())
    assert clip["media"]["frames_without_face"] >= 1, "it starts with black frames"
    assert len(clip["people"]) == 1
    assert len(json.loads((out / "twogirls.jpg.json").read_text())["people"]) == 2
