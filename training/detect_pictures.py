"""Pictures of a verdict: boxes on the frame, below it each person's score (over time for videos) and the threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmark.errors import DataError
from training.detect_scores import PersonScore, Unit
from training.scoring import Threshold

if TYPE_CHECKING:
    from preprocessing.people import Box, Person
    from preprocessing.video import FrameSource

Color = tuple[int, int, int]
PALETTE: tuple[Color, ...] = (
    (86, 180, 233), (230, 159, 0), (0, 200, 150), (240, 228, 66), (204, 121, 167), (213, 94, 0),
)  # fmt: skip
"""Okabe and Ito's colours, which the colour-blind can tell apart."""
_BACK, _INK, _FAINT, _GRID, _ALARM = (24, 26, 31), (236, 238, 242), (150, 156, 166), (58, 62, 70), (255, 92, 92)
_WIDTHS = (720, 1280)
_ROW, _CHART, _PAD, _AXIS = 24, 150, 16, 40
_COLUMN, _FEW = 350, 6  # least width of a column of people in pixels; people up to which there is one
_NO_PROOF = "A score is one detector's estimate, not a proof. People are told apart by their place in the frame only."


@dataclass(frozen=True)
class Scene:
    """What is drawn.

    Attributes:
        title: name of the file.
        detector: what scored it, and what that was trained on, in words.
        people: who was seen, with their scores, in the same order.
        threshold: scores above it are flagged.
        count: frames of the source.
        rate: frames per second, 0 for pictures.
        reach: a box is shown this many frames before and after the frame it was found in.
    """

    title: str
    detector: str
    people: Sequence[tuple[Person, PersonScore]]
    threshold: Threshold
    count: int
    rate: float
    reach: float

    def scale(self, width: int) -> float:
        """Factor from the frame's pixels to the picture's."""
        return min(max(width, _WIDTHS[0]), _WIDTHS[1]) / width


def still(scene: Scene, frame: np.ndarray, number: int) -> Image.Image:
    """One frame with boxes and the panel below.

    Args:
        scene: what to draw.
        frame: (H, W, 3) uint8 RGB.
        number: of the frame.
    """
    panel = _Panel(scene, round(frame.shape[1] * scene.scale(frame.shape[1])))
    return Image.fromarray(panel.under(_with_boxes(scene, frame, number), number))


def annotate(scene: Scene, source: FrameSource, path: Path, on_frame: Callable[[], None]) -> None:
    """The whole video with boxes, scores and a moving line in the curve, without sound.

    Args:
        scene: what to draw.
        source: the video.
        path: MP4 file to write; it appears under this name when it is complete.
        on_frame: called after every frame.

    Raises:
        DataError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.incomplete.mp4")
    panel: _Panel | None = None
    writer: cv2.VideoWriter | None = None
    try:
        for number, frame in source.open().read(None):
            panel = panel or _Panel(scene, round(frame.shape[1] * scene.scale(frame.shape[1])))
            picture = panel.under(_with_boxes(scene, frame, number), number)
            picture = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
            if writer is None:
                writer = _writer(temporary, scene.rate, (picture.shape[1], picture.shape[0]))
            writer.write(np.ascontiguousarray(picture[..., ::-1]))
            on_frame()
    finally:
        if writer is not None:
            writer.release()
    temporary.replace(path)


def _writer(path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate or 25.0, size)
    if not writer.isOpened():
        raise DataError(f"OpenCV cannot write MP4 video here ({path}). Leave the annotated copies out: --no-video")
    return writer


# ------------------------------------------------------------------------------------------------------------ boxes


def _with_boxes(scene: Scene, frame: np.ndarray, number: int) -> np.ndarray:
    scale = scene.scale(frame.shape[1])
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    picture = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    labels = []
    for person, score in scene.people:
        box = box_at(person, number, scene.reach)
        if box is None:
            continue
        left, top, right, bottom = (round(edge * scale) for edge in box)
        color = _color(score.number)
        cv2.rectangle(picture, (left, top), (right, bottom), (0, 0, 0), 5, cv2.LINE_AA)
        cv2.rectangle(picture, (left, top), (right, bottom), color, 3, cv2.LINE_AA)
        labels.append((left, top, _label(score, number, scene), color))
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    for left, top, text, color in labels:
        _tag(draw, (left, top), text, color, canvas.size)
    return np.asarray(canvas)


def box_at(person: Person, number: int, reach: float) -> Box | None:
    """Where a person is in a frame: between two looks on the straight way, near a single look there; else None."""
    numbers = np.array(list(person.boxes))
    position = int(np.searchsorted(numbers, number))
    before = numbers[position - 1] if position else None
    after = numbers[position] if position < len(numbers) else None
    if before is not None and after is not None and after - before <= 2 * reach:
        share = (number - before) / (after - before)
        first, second = (np.array(person.boxes[int(n)]) for n in (before, after))
        left, top, right, bottom = (round(float(edge)) for edge in first + share * (second - first))
        return left, top, right, bottom
    near = [int(n) for n in (before, after) if n is not None and abs(n - number) <= reach]
    return person.boxes[min(near, key=lambda n: abs(n - number))] if near else None


def _label(score: PersonScore, number: int, scene: Scene) -> str:
    if score.score is None:
        return f"{score.number}  not scored"
    unit = min(score.units, key=lambda unit: max(unit.first - number, number - unit.last, 0))
    now = unit.score if scene.rate else score.score
    return f"{score.number}  {now:.2f}"


def _tag(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, color: Color, size: tuple[int, int]) -> None:
    font = _font(18)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 14, bottom - top + 12
    x = min(max(place[0] - 2, 0), max(size[0] - width, 0))
    y = place[1] - height if place[1] >= height else place[1]
    draw.rectangle((x, y, x + width, y + height), fill=color)
    draw.text((x + 7 - left, y + 6 - top), text, font=font, fill=(0, 0, 0))


# ------------------------------------------------------------------------------------------------------------ panel


class _Panel:
    """The part below the frame, drawn once; only the line at the current time moves."""

    def __init__(self, scene: Scene, width: int) -> None:
        self.scene, self.width = scene, width
        self.rows = [_row(score, scene.threshold) for _, score in scene.people] or [("no face was found", _FAINT, _INK)]
        self.has_chart = scene.rate > 0 and scene.count > 1 and any(score.units for _, score in scene.people)
        self.columns = max(1, min(width // _COLUMN, math.ceil(len(self.rows) / _FEW)))
        self.lines = math.ceil(len(self.rows) / self.columns)
        self.top = _PAD + 30 + _ROW * self.lines + (14 if self.has_chart else 0)
        self.origin = _wrapped(f"Detector: {scene.detector}.", width - 2 * _PAD)
        self.origin += _wrapped(f"Threshold {scene.threshold.value:.3f}: {scene.threshold.origin}.", width - 2 * _PAD)
        self.origin += _wrapped(_NO_PROOF, width - 2 * _PAD)
        chart = _CHART + 28 if self.has_chart else 6
        self.height = self.top + chart + 18 * len(self.origin) + _PAD
        self.picture = self._draw()

    def under(self, frame: np.ndarray, number: int) -> np.ndarray:
        """The frame with the panel below it."""
        panel = self.picture.copy()
        if self.has_chart:
            x = round(self._x(number))
            cv2.line(panel, (x, self.top), (x, self.top + _CHART), _INK, 1)
        return np.concatenate([frame, panel], axis=0)

    def _draw(self) -> np.ndarray:
        canvas = Image.new("RGB", (self.width, self.height), _BACK)
        draw = ImageDraw.Draw(canvas)
        draw.text((_PAD, _PAD - 4), _fitting(self.scene.title, self.width - 2 * _PAD, 19), font=_font(19), fill=_INK)
        column = (self.width - _PAD) // self.columns
        for index, (text, dot, ink) in enumerate(self.rows):
            x, y = _PAD + index // self.lines * column, _PAD + 30 + index % self.lines * _ROW
            draw.ellipse((x, y + 3, x + 11, y + 14), fill=dot)
            draw.text((x + 20, y), _fitting(text, column - 20 - _PAD, 15), font=_font(15), fill=ink)
        if self.has_chart:
            self._axes(draw)
            self._curves(draw)
        for index, line in enumerate(reversed(self.origin)):
            draw.text((_PAD, self.height - _PAD + 2 - 18 * (index + 1)), line, font=_font(13), fill=_FAINT)
        return np.array(canvas)

    def _axes(self, draw: ImageDraw.ImageDraw) -> None:
        left, right = _PAD + _AXIS, self.width - _PAD
        for value in (0.0, 0.5, 1.0):
            draw.line((left, self._y(value), right, self._y(value)), fill=_GRID)
            draw.text((_PAD, self._y(value) - 8), f"{value:.1f}", font=_font(13), fill=_FAINT)
        seconds = (self.scene.count - 1) / self.scene.rate
        for tick in _ticks(seconds):
            x = self._x(tick * self.scene.rate)
            draw.text((x, self.top + _CHART + 4), f"{tick:g} s", font=_font(13), fill=_FAINT, anchor="ma")
        y = self._y(self.scene.threshold.value)
        for x in range(left, right, 10):
            draw.line((x, y, min(x + 5, right), y), fill=_ALARM, width=1)

    def _curves(self, draw: ImageDraw.ImageDraw) -> None:
        for _, score in self.scene.people:
            color = _color(score.number)
            points = [(self._x((unit.first + unit.last) / 2), self._y(unit.score)) for unit in score.units]
            draw.line(points, fill=color, width=2, joint="curve")
            for (x, y), unit in zip(points, score.units, strict=True):
                self._mark(draw, x, y, unit, color)

    def _mark(self, draw: ImageDraw.ImageDraw, x: float, y: float, unit: Unit, color: Color) -> None:
        if unit.last > unit.first:
            draw.line((self._x(unit.first), y, self._x(unit.last), y), fill=color, width=3)
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=color)

    def _x(self, number: float) -> float:
        left, right = _PAD + _AXIS, self.width - _PAD
        return left + (right - left) * number / max(self.scene.count - 1, 1)

    def _y(self, score: float) -> float:
        return self.top + (1 - score) * _CHART


def _row(person: PersonScore, threshold: Threshold) -> tuple[str, Color, Color]:
    """Text, colour of the dot and colour of the text of a person's line."""
    color = _color(person.number)
    if person.score is None:
        return f"person {person.number}: not scored, {person.reason}", color, _FAINT
    if person.score > threshold.value:
        return f"person {person.number}: score {person.score:.3f}, above threshold, flagged", color, _ALARM
    return f"person {person.number}: score {person.score:.3f}, not above threshold", color, _INK


def _color(number: int) -> Color:
    return PALETTE[(number - 1) % len(PALETTE)]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _ticks(seconds: float) -> list[float]:
    """Round times from 0 on, at most nine."""
    steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600]
    step = next((step for step in steps if seconds / step <= 8), steps[-1])
    return [round(i * step, 6) for i in range(int(seconds / step + 1e-9) + 1)]


def _fitting(text: str, width: int, size: int) -> str:
    """The text, its middle left out where it is too wide."""
    font = _font(size)
    keep = len(text)
    shown = text
    while font.getlength(shown) > width and keep > 8:
        keep -= 2
        shown = text[: keep // 2] + "…" + text[-(keep // 2) :]
    return shown


def _wrapped(text: str, width: int) -> list[str]:
    """Lines no wider than ``width`` in the small font."""
    font, lines = _font(13), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
