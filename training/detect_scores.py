"""Scores of the people in one video or picture: the crops of each go the way of a test set's frames."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backbones.weights import file_hash, read_checkpoint
from benchmark.config import Settings
from benchmark.data.datasets import FaceDataset, Video, part_key
from benchmark.data.index import VideoRecord
from benchmark.data.source import MemorySource
from benchmark.errors import ConfigError
from benchmark.results import read_result
from benchmark.schema import RunConfig
from training.distributed import Processes
from training.evaluate import score_dataset
from training.pipeline import build_detector, clip_config, evaluation_transform, input_format
from training.scoring import Threshold
from training.settings import without_initial_weights

if TYPE_CHECKING:
    from preprocessing.people import People, Person

NO_THRESHOLD = (
    "none was found for these weights, so the middle of the scale was taken; the result files of a training run with "
    "--test hold one"
)


@dataclass(frozen=True)
class Unit:
    """One scored frame or clip.

    Attributes:
        first, last: frame numbers of its first and last frame.
        score: P(fake).
    """

    first: int
    last: int
    score: float


@dataclass(frozen=True)
class PersonScore:
    """The scores of one person.

    Attributes:
        number: see ``Person.number``.
        units: frames or clips in order; empty when the person could not be scored.
        reason: why it could not, or an empty string.
    """

    number: int
    units: tuple[Unit, ...]
    reason: str = ""

    @property
    def score(self) -> float | None:
        """Mean over the units, as a video's score is in tests; None without units."""
        return float(np.mean([unit.score for unit in self.units])) if self.units else None


class Scorer:
    """A trained detector, ready for new material.

    Args:
        config, settings: of the run.
        weights: reference to its weights.
        group: this process.

    Attributes:
        path: weights file.
        sha256: of that file.
        needs: parts that its samples must have.
        training_data: how its training sets were prepared, by dataset word; empty when the weights do not say.

    Raises:
        ConfigError: the method makes no predictions, or does not fit the configuration.
        CheckpointError: see ``Detector.load_weights``.
    """

    def __init__(self, config: RunConfig, settings: Settings, weights: str, group: Processes) -> None:
        self.config, self.group = without_initial_weights(config), group
        self.detector = build_detector(self.config, settings)
        if not self.detector.can_predict:
            raise ConfigError(f"Detector {config.detector.name} is a pre-training stage and scores nothing.")
        self.path = self.detector.load_weights(weights)
        self.sha256 = file_hash(self.path)
        self.detector.to(group.device)
        self.inputs = input_format(self.config, self.detector)
        self.clip = clip_config(self.config, self.detector)
        self.needs = self.detector.needs
        self.training_data = _training_data(self.path)

    @property
    def unit(self) -> str:
        """What one score is about."""
        return f"clip of {self.clip.length} frames" if self.clip else "frame"

    @property
    def trained_on(self) -> list[str]:
        """Dataset words of its training sets; empty when the weights do not say."""
        return list(self.training_data)

    @property
    def is_from_synthetic_data(self) -> bool:
        """Whether its training data was generated (demo worlds), not photographed."""
        records = [facts.get("settings") or {} for facts in self.training_data.values()]
        return any("generator" in record for record in records)

    @property
    def description(self) -> str:
        """The method and its training data in words."""
        data = ", ".join(self.trained_on) or "data the weights do not name"
        kind = " (synthetic faces: no evidence about real people)" if self.is_from_synthetic_data else ""
        return f"{self.config.detector.name}, trained on {data}{kind}"

    def score(self, people: People, suffix: str) -> list[PersonScore]:
        """Scores of everybody in ``people.persons``.

        Args:
            people: from ``preprocessing.people.find_people``.
            suffix: of the crops' image format.
        """
        reasons = {person.number: self._obstacle(person) for person in people.persons}
        able = [person for person in people.persons if not reasons[person.number]]
        units = self._units(able, suffix) if able else {}
        return [PersonScore(p.number, tuple(units.get(p.number, ())), reasons[p.number]) for p in people.persons]

    def _obstacle(self, person: Person) -> str:
        count = len(person.crops)
        if count == 0:
            return f"no usable crop ({next(iter(person.left_out.values()))})"
        if self.clip and count < self.clip.length and self.clip.short_videos != "repeat_last":
            frames = "1 frame" if count == 1 else f"{count} frames"
            return f"seen in {frames}, and the detector looks at clips of {self.clip.length}"
        return ""

    def _units(self, persons: list[Person], suffix: str) -> dict[int, list[Unit]]:
        values: dict[str, bytes] = {}
        videos = []
        for person in persons:
            keys = {number: f"media/frames/{person.number}/{number:09d}{suffix}" for number in person.crops}
            for number, crop in person.crops.items():
                values[keys[number]] = crop.image
                for part, content in crop.parts.items():
                    values[part_key(keys[number], part)] = content
            frames = tuple(keys.values())
            record = VideoRecord("media", "person", 0, "test", None, str(person.number), frames)
            videos.append(Video(record, frames, MemorySource(values), "media"))
        dataset = FaceDataset(videos, evaluation_transform(self.config, self.inputs), needs=self.needs, clip=self.clip)
        scored = score_dataset(self.detector, dataset, self.config, self.inputs, self.group, "media")
        units: dict[int, list[Unit]] = {person.number: [] for person in persons}
        numbers = {person.number: list(person.crops) for person in persons}
        for video, frame, score in zip(
            scored.predictions.video, scored.predictions.frame, scored.predictions.score, strict=True
        ):
            owner, first = int(video.rpartition("/")[2]), int(frame)
            start = numbers[owner].index(first)
            length = self.clip.length if self.clip else 1
            last = numbers[owner][min(start + length, len(numbers[owner])) - 1]
            units[owner].append(Unit(first, last, float(score)))
        return units


def run_folder(weights: Path) -> Path | None:
    """The run folder that a weights file lies in, or None."""
    return next((folder for folder in weights.parents if (folder / "config.yaml").is_file()), None)


def operating_threshold_of(weights: Path, sha256: str) -> Threshold:
    """The threshold that the run of a weights file took from its validation data.

    Result files beside the weights are looked at; one counts when it was made with exactly these weights.

    Returns:
        The threshold with its origin; 0.5, said to be arbitrary, when there is none.
    """
    folder = run_folder(weights)
    for path in sorted((folder / "results").glob("*.json")) if folder else ():
        result = read_result(path)
        point = result.get("operating_point") or {}
        if "threshold" in point and (result.get("weights") or {}).get("sha256") == sha256:
            return Threshold(float(point["threshold"]), f"{point['origin']} (in results/{path.name})")
    return Threshold(0.5, NO_THRESHOLD)


def _training_data(weights: Path) -> Mapping[str, Any]:
    stored = read_checkpoint(weights).get("metadata")
    text = stored.get("training_data") if isinstance(stored, dict) else None
    found: dict[str, Any] = json.loads(text) if text else {}
    return found
