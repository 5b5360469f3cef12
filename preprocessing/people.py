"""The people in one video or picture: faces found in its frames, followed over time, cropped as training data is.

Following goes by place only: a face belongs to the person whose last box it overlaps most, or lies nearest to. After
a cut, somebody else in the same place therefore counts as the same person.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark.errors import ConfigError
from benchmark.registry import FACE_FINDERS, FACE_PARSERS
from preprocessing.faces.base import Face, overlap
from preprocessing.frame_rules import FrameRule
from preprocessing.frames import FrameWorker, StoredFrame
from preprocessing.parsers.base import FrameName
from preprocessing.settings import Options, Settings
from preprocessing.video import FrameSource, UnreadableError

Box = tuple[int, int, int, int]
PRESENCE = 0.1
"""A person must be seen in this share of the frames looked at; rarer faces are mostly false finds."""
_PATIENCE_SECONDS = 5.0
_NEAR = 0.75  # how far a face may have moved between two looks, in sides of its box
_SIZE_RATIO = 2.0


@dataclass
class Person:
    """Somebody seen in a source.

    Attributes:
        number: from 1, in order of first appearance; people of one frame from left to right.
        boxes: face box (left, top, right, bottom) in pixels by frame number, rising.
        crops: what training data would hold of it, by frame number.
        left_out: why a frame has no crop, by frame number.
    """

    number: int = 0
    boxes: dict[int, Box] = field(default_factory=dict)
    crops: dict[int, StoredFrame] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)

    @property
    def last_seen(self) -> int:
        """Number of the last frame it was seen in."""
        return next(reversed(self.boxes))


@dataclass
class People:
    """Everybody seen in a source.

    Attributes:
        persons: those present long enough, by number.
        passing: those seen in too few frames to be scored.
        looked_at: numbers of the frames that were searched, rising.
        faceless: those of them without any face.
        undecoded: numbers of wanted frames that could not be decoded.
        width, height: of the frames in pixels.
        count: frames the source has.
        rate: frames per second; 0 for pictures.
        notes: what was odd about the source.
    """

    persons: list[Person]
    passing: list[Person]
    looked_at: list[int]
    faceless: list[int]
    undecoded: list[int]
    width: int
    height: int
    count: int
    rate: float
    notes: list[str]


class Tracker:
    """Tells which faces of successive frames are one person.

    Args:
        patience: frames after which somebody not seen any more is not waited for.
    """

    def __init__(self, patience: float = math.inf) -> None:
        self.patience = patience
        self.people: list[Person] = []

    def add(self, number: int, faces: Sequence[Face]) -> list[Person]:
        """The person of every face of a frame; numbers of frames must rise.

        The likeliest pairs of known person and face are joined first, each once; faces left over are new people.
        """
        waiting = [person for person in self.people if number - person.last_seen <= self.patience]
        pairs = [
            (_likeness(person.boxes[person.last_seen], face.box), -p, -f)
            for p, person in enumerate(waiting)
            for f, face in enumerate(faces)
        ]
        found: dict[int, Person] = {}
        for likeness, p, f in sorted(pairs, reverse=True):
            if likeness > 0 and -f not in found and waiting[-p] not in found.values():
                found[-f] = waiting[-p]
        for index in sorted(set(range(len(faces))) - found.keys(), key=lambda index: faces[index].box[0]):
            found[index] = Person()
            self.people.append(found[index])
        for index, face in enumerate(faces):
            found[index].boxes[number] = face.box
        return [found[index] for index in range(len(faces))]


def _likeness(first: Box, second: Box) -> float:
    """Overlap of two boxes; between 0 and 0.1 for near boxes of like size that hardly overlap; else 0."""
    shared = overlap(first, second)
    if shared >= 0.1:
        return shared
    sides = sorted(box[2] - box[0] for box in (first, second))
    if sides[0] <= 0 or sides[1] > _SIZE_RATIO * sides[0]:
        return 0.0
    centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (first, second)]
    return 0.1 * max(0.0, 1 - math.dist(*centres) / (_NEAR * sides[1]))


def find_people(
    source: FrameSource,
    rule: FrameRule,
    worker: FrameWorker,
    name: str,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
) -> People:
    """Look at the frames of a video or picture, follow its people, and crop their faces.

    Args:
        source: the file.
        rule: which frames.
        worker: makes the crops, and holds the face finder.
        name: of the source, for parsers that look maps up by name.
        on_frame: told (frames done, frames wanted) after every frame.

    Raises:
        UnreadableError: nothing can be decoded.
        OSError: the file cannot be read.
    """
    reader = source.open()
    wanted = rule.select(reader.count)
    total = reader.count if wanted is None else len(wanted)
    tracker = Tracker(_PATIENCE_SECONDS * reader.rate if reader.rate else math.inf)
    finder = worker.tools.finder
    finder.start_source()
    looked_at, faceless, size = [], [], (0, 0)
    for number, image in reader.read(wanted):
        faces = finder.find(image)
        for face, person in zip(faces, tracker.add(number, faces), strict=True):
            stored = worker.process_face(image, None, FrameName(name, f"{person.number}", number), face, faces)
            if isinstance(stored, str):
                person.left_out[number] = stored
            else:
                person.crops[number] = stored
        looked_at.append(number)
        size = (image.shape[1], image.shape[0])
        if not faces:
            faceless.append(number)
        on_frame(len(looked_at), total)
    if not looked_at:
        raise UnreadableError("; ".join(reader.notes) or "none of its frames can be decoded")
    needed = math.ceil(PRESENCE * len(looked_at))
    persons = [person for person in tracker.people if len(person.boxes) >= needed]
    for index, person in enumerate(persons, 1):
        person.number = index
    passing = [person for person in tracker.people if len(person.boxes) < needed]
    undecoded = sorted(set(range(reader.count) if wanted is None else wanted) - set(looked_at))
    return People(
        persons, passing, looked_at, faceless, undecoded, *size, reader.count, reader.rate, list(reader.notes)
    )


def settings_of_training(record: Mapping[str, Any] | None, needs: frozenset[str]) -> tuple[Settings, str]:
    """The settings that make crops as a training set's were made.

    Args:
        record: ``settings`` of the ``meta`` block of the training set's index, or None when they are not known.
        needs: parts the detector asks for.

    Returns:
        Settings, and where they come from in words.

    Raises:
        ConfigError: the detector needs parts that cannot be made here.
    """
    if record is None or "face_finder" not in record:
        settings = _with_parts(Settings(), None, needs)
        return settings, "the published rule: dlib, square of 1.3 times the face box (the training data says no other)"
    finder = dict(record["face_finder"])
    size, is_jpeg = record.get("size"), record.get("image_format") == "jpeg"
    settings = Settings(
        face_finder=str(finder.pop("name")),
        face_options=_options(FACE_FINDERS.get(str(record["face_finder"]["name"])), finder),
        margin=float(record.get("margin", 1.3)),
        size=size,
        image_format="jpeg" if is_jpeg else "png",
        quality=record.get("quality") if is_jpeg else None,
        align=record.get("align"),
        legacy_bgr=str(record.get("second_detection") or "").startswith("BGR"),
        predictor=_landmark_model(record.get("align"), None) if record.get("align") else None,
    )
    return _with_parts(settings, record, needs), f"that of the training data {record.get('dataset', '')}".strip()


def _with_parts(settings: Settings, record: Mapping[str, Any] | None, needs: frozenset[str]) -> Settings:
    """The settings with the parts that a detector reads beside the image."""
    if unknown := needs - {"landmarks", "parsing"}:
        raise ConfigError(f"The detector reads {', '.join(sorted(unknown))}, which cannot be made for a new video.")
    if "parsing" in needs:
        parser = dict((record or {}).get("parser") or {})
        if not parser:
            raise ConfigError("The detector reads parsing maps, and its training data does not say which parser.")
        name = str(parser.pop("name"))
        options = _options(FACE_PARSERS.get(name), parser)
        predictor = settings.predictor or _landmark_model(None, name)
        settings = replace(settings, parser=name, parse_options=options, predictor=predictor)
    if "landmarks" in needs:
        predictor = settings.predictor or _landmark_model("five_point", None)
        settings = replace(settings, landmarks=True, predictor=predictor)
    return settings


def _landmark_model(align: str | None, parser: str | None) -> str | None:
    from preprocessing.prepare import predictor_for

    return predictor_for(None, align, parser, "dlib")


def _options(maker: Callable[..., Any], facts: Mapping[str, Any]) -> Options:
    """Those of a plugin's recorded facts that are options of its constructor (others are hashes and the like)."""
    known = inspect.signature(maker).parameters
    return tuple(sorted((key, value) for key, value in facts.items() if key in known))
