"""Run a trained detector on one's own videos and pictures.

python -m benchmark detect VIDEO|IMAGE|FOLDER ... --weights runs/sbi

This is where the two halves of the project meet in one process: ``preprocessing`` finds the people and makes the crops,
the detector's side scores them as it scores a test set.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.cli import guarded, setup_logging, split_overrides
from benchmark.errors import BenchmarkError, ConfigError, DataError

if TYPE_CHECKING:
    from preprocessing.frame_rules import FrameRule
    from preprocessing.frames import FrameWorker
    from preprocessing.people import People
    from preprocessing.settings import Settings as CropSettings
    from preprocessing.video import FrameSource
    from training.detect_scores import PersonScore, Scorer
    from training.scoring import Threshold

SCHEMA = 1
_LEAST_FRAMES = 32
NOTE = (
    "A score is one detector's estimate that a face was manipulated, learned from its training data. It is no proof, "
    "neither of forgery nor of authenticity; manipulations, cameras and compressions it never saw can mislead it."
)
STATUS_WORDS = {
    "flagged": "flagged", "not_flagged": "not flagged", "not_scored": "not scored", "no_face": "no face found",
    "unreadable": "unreadable",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Score the faces in videos and pictures; JSON and annotated copies go to --out."
    parser.epilog = (
        "Exit status: 0, 1 when a file could not be read or none could be scored, 2 for a wrong command.\n"
        "example: python -m benchmark detect interview.mp4 photos/ --weights runs/sbi --out detections"
    )
    parser.add_argument("inputs", nargs="+", metavar="FILE", help="video, picture or folder; also settings: key=value")
    parser.add_argument("--weights", required=True, metavar="W", help="run folder, .safetensors, .pth or hf-hub:...")
    parser.add_argument("--detector", metavar="YAML", help="configuration (default: the one in the run folder)")
    parser.add_argument("--out", type=Path, default=Path("detections"), help="folder for results (default: detections)")
    parser.add_argument(
        "--frames", metavar="N", help="frames per video: 64, all, stride:10 (default: as in tests, at least 32)"
    )
    parser.add_argument("--threshold", type=float, metavar="T", help="flag scores above it (default: from validation)")
    parser.add_argument("--face-finder", metavar="NAME", help="default: that of the training data, else dlib")
    parser.add_argument("--margin", type=float, help="crop over face box (default: as the training data, else 1.3)")
    parser.add_argument("--no-video", action="store_true", help="no annotated copy of videos, only the picture")
    parser.add_argument("--plugins", nargs="+", default=[], metavar="P", help="own plugins: .py files or module names")


@dataclass(frozen=True)
class Tools:
    """What every file is looked at with."""

    scorer: Scorer
    threshold: Threshold
    settings: CropSettings
    settings_origin: str
    worker: FrameWorker
    rule: FrameRule
    out: Path
    makes_videos: bool


@dataclass(frozen=True)
class Medium:
    """A file, and its name in results (its path below the folder that was given)."""

    path: Path
    name: str


def run(options: argparse.Namespace) -> int:
    """Look at every file, write its results, print a table; see ``add_arguments``.

    Returns:
        0; 1 when a file could not be read or nothing could be scored.
    """
    from benchmark.registry import load_plugin

    for plugin in options.plugins:
        load_plugin(plugin)
    words, overrides = split_overrides(options.inputs)
    media, others = find_media([Path(word) for word in words], options.out)
    tools = _prepare(options, overrides)
    _make_folder(options.out)
    reports = _look_at_all(media, tools)
    counts = {status: sum(report["status"] == status for report in reports) for status in STATUS_WORDS}
    summary = {
        "schema": SCHEMA,
        "files": len(media),
        "counts": counts,
        "other_files_passed_over": others,
        "reports": [{key: report.get(key) for key in ("file", "status", "score", "problem")} for report in reports],
    }
    _write_json(tools.out / "summary.json", summary)
    _print_table(reports, tools, others)
    return int(counts["unreadable"] > 0 or counts["flagged"] + counts["not_flagged"] == 0)


def find_media(inputs: Sequence[Path], out: Path) -> tuple[list[Medium], int]:
    """The files meant by files and folders; folders are searched to any depth, results of earlier runs left out.

    Returns:
        The files, and how many others in the folders are neither videos nor pictures.

    Raises:
        DataError: nothing there.
    """
    from preprocessing.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES

    media, others = [], 0
    for given in inputs:
        if given.is_file():
            media.append(Medium(given, given.name))
        elif not given.is_dir():
            raise DataError(f"{given}: no such file or folder.")
        else:
            files = [path for path in sorted(given.rglob("*")) if path.is_file() and not _hidden(path, given)]
            files = [path for path in files if out.resolve() not in path.resolve().parents]
            known = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES]
            media += [Medium(path, path.relative_to(given).as_posix()) for path in known]
            others += len(files) - len(known)
    if not media:
        raise DataError(f"No video or picture in {', '.join(map(str, inputs))}.")
    repeated = [name for name, count in Counter(medium.name for medium in media).items() if count > 1]
    if repeated:
        raise DataError(f"Two files are called {repeated[0]}, and their results would be too; run them one by one.")
    return media, others


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--out {folder}: the folder cannot be made ({error.strerror}).") from error


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


# ------------------------------------------------------------------------------------------------------ preparation


def _prepare(options: argparse.Namespace, overrides: list[str]) -> Tools:
    """Load configuration, weights and face tools: everything that can be wrong is wrong before the first file."""
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise ConfigError(f"--threshold {options.threshold} is not between 0 and 1.")
    import torch
    from loguru import logger

    from benchmark.schema import load_run_config
    from preprocessing.frame_rules import FrameRule
    from preprocessing.frames import FrameWorker
    from preprocessing.task import build_tools
    from training.detect_scores import Scorer, operating_threshold_of
    from training.distributed import Processes
    from training.scoring import Threshold

    setup_logging()
    rule = None if options.frames is None else FrameRule.parse(options.frames)
    config, settings = load_run_config(_configuration(options), [*overrides, "data.workers=0"])
    device = config.trainer.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    scorer = Scorer(config, settings, options.weights, Processes(0, 1, torch.device(device)))
    threshold = operating_threshold_of(scorer.path, scorer.sha256)
    if options.threshold is not None:
        threshold = Threshold(options.threshold, "given on the command line")
    crop_settings, origin = _crop_settings(options, scorer)
    if scorer.is_from_synthetic_data:
        logger.warning("These weights were trained on synthetic demo faces: what they say about real people is noise.")
    return Tools(
        scorer,
        threshold,
        crop_settings,
        origin,
        FrameWorker(crop_settings, build_tools(crop_settings)),
        rule or _default_frames(config.data.frames.test),
        options.out,
        not options.no_video,
    )


def _default_frames(tested: int | str) -> FrameRule:
    """As many frames as tests use, but enough for a curve and for clips (demo worlds have 8 a video)."""
    from preprocessing.frame_rules import FrameRule

    return FrameRule.parse(tested if tested == "all" else max(int(tested), _LEAST_FRAMES))


def _configuration(options: argparse.Namespace) -> Path:
    from backbones.weights import resolve_weights
    from training.detect_scores import run_folder
    from training.settings import config_path

    if options.detector:
        return config_path(options.detector)
    folder = run_folder(resolve_weights(options.weights, {}))
    if folder is None:
        raise ConfigError(f"--weights {options.weights} is no run folder with a config.yaml; say --detector YAML too.")
    return folder / "config.yaml"


def _crop_settings(options: argparse.Namespace, scorer: Scorer) -> tuple[CropSettings, str]:
    from dataclasses import replace

    from loguru import logger

    from preprocessing.people import settings_of_training

    records = [facts.get("settings") for facts in scorer.training_data.values()]
    if len({json.dumps(record, sort_keys=True) for record in records}) > 1:
        logger.warning("The training sets were prepared in different ways; the first one's is followed.")
    settings, origin = settings_of_training(records[0] if records else None, scorer.needs)
    if options.face_finder:
        settings = replace(settings, face_finder=options.face_finder, face_options=())
        origin += f"; --face-finder {options.face_finder}"
    if options.margin is not None:
        settings = replace(settings, margin=options.margin)
        origin += f"; --margin {options.margin:g}"
    return settings, origin


# ------------------------------------------------------------------------------------------------------- every file


def _look_at_all(media: Sequence[Medium], tools: Tools) -> list[dict[str, Any]]:
    from loguru import logger
    from tqdm import tqdm

    reports = []
    with tqdm(total=len(media), desc="detect", unit="file", disable=None, dynamic_ncols=True) as bar:
        for medium in media:
            bar.set_postfix_str(medium.name, refresh=True)
            report = _look_at(medium, tools)
            if report["status"] == "unreadable":
                logger.error("{}: {}", medium.path, report["problem"])
            _write_json(tools.out / f"{medium.name}.json", report)
            reports.append(report)
            bar.update()
    return reports


def _look_at(medium: Medium, tools: Tools) -> dict[str, Any]:
    """One file to its report; pictures are written on the way. A file that cannot be read is a report too."""
    import cv2

    from preprocessing.people import find_people
    from preprocessing.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES, ImageFiles, UnreadableError, VideoFile

    started = time.monotonic()
    report: dict[str, Any] = {"schema": SCHEMA, "file": medium.name, "status": "unreadable", **_provenance(tools)}
    suffix = medium.path.suffix.lower()
    try:
        if suffix not in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
            raise UnreadableError(f"'{suffix}' is not the suffix of a known video or picture format")
        is_video = suffix in VIDEO_SUFFIXES
        source: FrameSource = VideoFile(medium.path) if is_video else ImageFiles((medium.path,))
        report["sha256"] = source.sha256()
        with _frame_bar("faces") as on_frame:
            people = find_people(source, tools.rule, tools.worker, medium.name, on_frame)
    except (BenchmarkError, OSError, cv2.error) as error:
        return {**report, "problem": str(error) or type(error).__name__}
    scores = tools.scorer.score(people, tools.settings.suffix)
    report.update(_findings(people, scores, tools.threshold))
    report["pictures"] = _draw(medium, source, people, scores, tools)
    report["seconds"] = round(time.monotonic() - started, 2)
    return report


def _provenance(tools: Tools) -> dict[str, Any]:
    """What the numbers depend on besides the file."""
    from benchmark.results import now, provenance

    scorer, settings = tools.scorer, tools.settings
    return {
        "note": NOTE,
        "threshold": {"value": tools.threshold.value, "origin": tools.threshold.origin},
        "detector": {
            "name": scorer.config.detector.name,
            "weights": str(scorer.path),
            "weights_sha256": scorer.sha256,
            "scores": scorer.unit,
            "trained_on": scorer.trained_on,
        },
        "crops": {
            "rule": tools.settings_origin,
            "face_finder": settings.face_finder,
            "margin": settings.margin,
            "align": settings.align,
            "size": settings.size,
            "frames": str(tools.rule),
        },
        "time": now(),
        **provenance(),
    }


def _findings(people: People, scores: Sequence[PersonScore], threshold: Threshold) -> dict[str, Any]:
    """Status of the file, and everybody's scores over time."""
    rate = people.rate
    known = [person.score for person in scores if person.score is not None]
    score = max(known, default=None)
    status = "no_face" if not people.persons else "not_scored"
    if score is not None:
        status = "flagged" if score > threshold.value else "not_flagged"
    return {
        "status": status,
        "score": score,
        "media": {
            "width": people.width,
            "height": people.height,
            "frames": people.count,
            "frames_per_second": rate or None,
            "seconds": round(people.count / rate, 3) if rate else None,
            "frames_looked_at": len(people.looked_at),
            "frames_without_face": len(people.faceless),
            "frames_not_decodable": people.undecoded,
            "notes": people.notes,
        },
        "people": [
            {
                "person": score.number,
                "score": score.score,
                "flagged": None if score.score is None else score.score > threshold.value,
                "not_scored_because": score.reason or None,
                "seen_in": len(person.boxes),
                "boxes": {str(number): list(box) for number, box in person.boxes.items()},
                "crops_left_out": {str(number): why for number, why in person.left_out.items()},
                "scores": [
                    {"first_frame": unit.first, "last_frame": unit.last, "score": unit.score}
                    | ({"seconds": [round(unit.first / rate, 3), round(unit.last / rate, 3)]} if rate else {})
                    for unit in score.units
                ],
            }
            for person, score in zip(people.persons, scores, strict=True)
        ],
        "seen_too_rarely": [{"boxes": {str(n): list(b) for n, b in person.boxes.items()}} for person in people.passing],
    }


def _draw(
    medium: Medium, source: FrameSource, people: People, scores: Sequence[PersonScore], tools: Tools
) -> dict[str, str]:
    """Write the picture, and for videos the annotated copy; their paths by kind."""
    from training.detect_pictures import Scene, annotate, still

    gaps = [after - before for before, after in zip(people.looked_at, people.looked_at[1:], strict=False)]
    pairs = list(zip(people.persons, scores, strict=True))
    reach = 1.5 * max(gaps, default=1)
    scene = Scene(medium.name, tools.scorer.description, pairs, tools.threshold, people.count, people.rate, reach)
    shown = _frame_to_show(people, scores)
    path = tools.out / f"{medium.name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    for number, image in source.open().read([shown]):
        still(scene, image, number).save(path)
    if not people.rate or not tools.makes_videos:
        return {"picture": str(path)}
    video = tools.out / f"{medium.name}.annotated.mp4"
    with _frame_bar("drawing", people.count) as on_frame:
        annotate(scene, source, video, lambda: on_frame(1, people.count))
    return {"picture": str(path), "video": str(video)}


def _frame_to_show(people: People, scores: Sequence[PersonScore]) -> int:
    """First frame of the highest score; the first with a face, or the first looked at, where there is none."""
    units = [unit for person in scores for unit in person.units]
    if units:
        return max(units, key=lambda unit: unit.score).first
    with_face = [number for number in people.looked_at if number not in set(people.faceless)]
    return (with_face or people.looked_at)[0]


class _frame_bar:  # noqa: N801 - used like a function
    """A short-lived progress bar over the frames of one file; gives a function (frames done or 1, total)."""

    def __init__(self, what: str, total: int | None = None) -> None:
        from tqdm import tqdm

        self._counts = total is not None
        self._bar = tqdm(
            total=total, desc=what, unit="frame", leave=False, disable=None, dynamic_ncols=True, position=1
        )

    def _update(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done if self._counts else done - self._bar.n)

    def __enter__(self) -> Any:
        return self._update

    def __exit__(self, *_: object) -> None:
        self._bar.close()


# ----------------------------------------------------------------------------------------------------------- output


def _write_json(path: Path, content: dict[str, Any]) -> None:
    from benchmark.data.store import atomic_write_text

    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _print_table(reports: Sequence[dict[str, Any]], tools: Tools, others: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name, justify in (("file", "left"), ("people", "right"), ("highest score", "right"), ("verdict", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for report in reports:
        people = str(len(report["people"])) if "people" in report else "-"
        score = "-" if report.get("score") is None else f"{report['score']:.3f}"
        words = STATUS_WORDS[report["status"]]
        style = {"flagged": "bold red", "unreadable": "yellow"}.get(report["status"])
        reason = report.get("problem") or _first_reason(report)
        table.add_row(report["file"], people, score, f"{words}: {reason}" if reason else words, style=style)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(f"Threshold {tools.threshold.value:.4f}: {tools.threshold.origin}.", highlight=False)
    console.print(f"Detector: {tools.scorer.description}.", highlight=False)
    console.print(f"Crops: {tools.settings_origin}.", highlight=False)
    if others:
        console.print(f"Passed over in the folders, neither video nor picture: {others}.", highlight=False)
    console.print(NOTE, style="dim", highlight=False)
    console.print(f"Results: {tools.out}", highlight=False)


def _first_reason(report: dict[str, Any]) -> str:
    if report["status"] != "not_scored":
        return ""
    return next((person["not_scored_because"] for person in report["people"]), "")


def main() -> int:
    """Entry point of ``python training/detect.py``."""
    parser = argparse.ArgumentParser(prog="training/detect.py")
    add_arguments(parser)
    return guarded(lambda: run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
