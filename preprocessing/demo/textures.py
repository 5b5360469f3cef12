"""Textures that belong to a person: skin (pores, blotches, wrinkles, beard) and hair strands.

Skin textures live on a square sheet in canonical head units, so that they stick to the face when it moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from preprocessing.demo.geometry import Points
from preprocessing.demo.noise import FloatArray, blur, fractal, smooth_field
from preprocessing.demo.people import Person
from preprocessing.demo.seeds import stream

REACH = 1.4
"""The skin sheet covers [-REACH, REACH] head units in x and y."""
_DRAW = 224
"""Side of the sheet on which skin is drawn before it is resampled to the size of the crop."""


@dataclass(frozen=True)
class Skin:
    """Skin sheet of one person.

    Attributes:
        albedo: (T, T, 3) RGB factor around 1.
        relief: (T, T) brightness factor around 1: pores, wrinkles, stubble.
        per_unit: sheet pixels per head unit.
    """

    albedo: FloatArray
    relief: FloatArray
    per_unit: float


def _sheet_grid(num: int) -> tuple[FloatArray, FloatArray]:
    axis = np.linspace(-REACH, REACH, num, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


def _blob(x: FloatArray, y: FloatArray, cx: float, cy: float, sx: float, sy: float) -> FloatArray:
    return np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2).astype(np.float32)


def _sheet_curve(sheet: FloatArray, points: Points, width: float, value: float) -> None:
    """Draw an anti-aliased curve (canonical units) on a sheet, keeping the larger value."""
    per_unit = (len(sheet) - 1) / (2 * REACH)
    layer = np.zeros(sheet.shape, np.uint8)
    pixels = np.round((points + REACH) * per_unit * 16).astype(np.int32)
    cv2.polylines(layer, [pixels], False, 255, max(1, round(width * per_unit)), cv2.LINE_AA, 4)
    np.maximum(sheet, layer.astype(np.float32) * np.float32(value / 255), out=sheet)


def _wrinkles(person: Person, rng: np.random.Generator) -> FloatArray:
    """(T, T) darkness of lines in [0, 1]: forehead, crow's feet, under the eyes, nose to mouth."""
    sheet = np.zeros((_DRAW, _DRAW), np.float32)
    strength = 0.15 + 0.85 * person.age
    x = np.linspace(-0.42, 0.42, 9)
    for row in range(1 + round(3 * person.age)):
        y = person.eye_y - person.brow_gap - 0.13 - 0.085 * row + 0.02 * np.cos(4 * x) + rng.normal(0, 0.006, 9)
        _sheet_curve(sheet, np.stack([x * rng.uniform(0.6, 1.0), y], 1), 0.014, strength * rng.uniform(0.3, 0.7))
    for side in (-1, 1):
        for fan in np.linspace(-0.5, 0.6, 3):
            start = np.array([side * (person.eye_x + person.eye_width * 1.12), person.eye_y])
            steps = np.linspace(0, 0.11, 4)[:, None]
            points = start + steps * np.array([side, fan]) + rng.normal(0, 0.004, (4, 2))
            _sheet_curve(sheet, points, 0.01, 0.7 * person.age)
        t = np.linspace(0, 1, 6)
        fold_x = side * (person.nose_width + 0.02 + (person.mouth_width - person.nose_width + 0.05) * t**0.8)
        fold = np.stack([fold_x, person.nose_y - 0.05 + (person.mouth_y - person.nose_y + 0.07) * t], 1)
        _sheet_curve(sheet, fold, 0.02, 0.35 + 0.5 * person.age)
        bag_x = side * person.eye_x + np.linspace(-1, 1, 7) * person.eye_width * 0.95
        bag = np.stack([bag_x, person.eye_y + 0.105 - 0.035 * np.linspace(-1, 1, 7) ** 2], 1)
        _sheet_curve(sheet, bag, 0.016, 0.2 + 0.45 * person.age)
    return blur(sheet, 0.8)


def _hair_on_face(person: Person, x: FloatArray, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(T, T) density of beard and moustache in [0, 1]."""
    if person.beard == 0:
        return np.zeros_like(x)
    cheek_line = 0.28 + 0.25 * (1 - (np.abs(x) / person.face_width) ** 2)
    jaw = 1 / (1 + np.exp(-(y - cheek_line) * 22))
    lips = _blob(x, y, 0.0, person.mouth_y + 0.02, person.mouth_width * 1.05, 0.13)
    jaw = jaw * (1 - 0.9 * lips.clip(0, 1)) * person.beard
    over_lip = _blob(x, y, 0.0, (person.nose_y + person.mouth_y) / 2 - 0.01, person.mouth_width * 1.0, 0.065)
    patchy = 0.75 + 0.25 * fractal(rng, x.shape[0], x.shape[1], 6, 3)
    return (np.maximum(jaw, over_lip * person.moustache) * patchy).clip(0, 1)


def _spots(rng: np.random.Generator, amount: float, x: FloatArray, y: FloatArray) -> FloatArray:
    """(T, T) darkness of freckles over nose and cheeks, and of a few moles anywhere."""
    sheet = np.zeros(x.shape, np.float32)
    field = blur((rng.random(x.shape) < 0.035).astype(np.float32), 0.7) * 3.0
    region = _blob(x, y, -0.35, 0.1, 0.3, 0.2) + _blob(x, y, 0.35, 0.1, 0.3, 0.2) + _blob(x, y, 0, 0.05, 0.2, 0.2)
    sheet += field * region.clip(0, 1) * np.float32(0.4 * amount)
    for _ in range(rng.poisson(2.0)):
        cx, cy, radius = rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.9), rng.uniform(0.008, 0.022)
        sheet += _blob(x, y, cx, cy, radius, radius) * np.float32(rng.uniform(0.3, 0.8))
    return sheet.clip(0, 1)


def make_skin(person: Person, unit: float) -> Skin:
    """Make the skin sheet of a person for crops with about `unit` pixels per head unit."""
    rng = stream("skin", person.texture_seed)
    x, y = _sheet_grid(_DRAW)
    pores = 0.55 * fractal(rng, _DRAW, _DRAW, 70, 2, 0.8) + 0.45 * fractal(rng, _DRAW, _DRAW, 24, 2)
    blotches = np.stack([fractal(rng, _DRAW, _DRAW, 7, 3) for _ in range(3)], axis=-1)
    shared = fractal(rng, _DRAW, _DRAW, 5, 4)[..., None]
    albedo = 1 + 0.018 * blotches + 0.03 * shared
    flush = _blob(x, y, -0.4, 0.18, 0.22, 0.18) + _blob(x, y, 0.4, 0.18, 0.22, 0.18) + _blob(x, y, 0, 0.24, 0.14, 0.1)
    albedo *= 1 - flush[..., None] * np.array([0.0, 0.09, 0.07], np.float32) * np.float32(rng.uniform(0.2, 1.4))
    socket = _blob(x, y, -person.eye_x, person.eye_y + 0.02, 0.19, 0.12) + _blob(
        x, y, person.eye_x, person.eye_y + 0.02, 0.19, 0.12
    )
    albedo *= 1 - socket[..., None] * np.array([0.06, 0.1, 0.06], np.float32) * np.float32(rng.uniform(0.3, 1.6))
    albedo *= 1 - _spots(rng, person.freckles, x, y)[..., None] * np.array([0.3, 0.45, 0.5], np.float32)
    stubble = _hair_on_face(person, x, y, rng)
    grain = np.clip(0.62 + 0.3 * fractal(rng, _DRAW, _DRAW, 90, 1), 0.15, 1)
    cover = (stubble * grain * np.float32(0.85))[..., None]
    albedo = albedo * (1 - cover) + cover * (person.hair_color / np.maximum(person.skin, 0.1)).clip(0, 1)
    relief = 1 + pores * np.float32(0.022 + 0.03 * person.age) - 0.3 * _wrinkles(person, rng)
    per_unit = min(unit, (_DRAW - 1) / (2 * REACH))
    num = max(8, round(2 * REACH * per_unit) + 1)
    shrink = {"dsize": (num, num), "interpolation": cv2.INTER_AREA}
    return Skin(
        cv2.resize(albedo.astype(np.float32), **shrink),
        cv2.resize(relief.astype(np.float32), **shrink),
        (num - 1) / (2 * REACH),
    )


def make_strands(person: Person) -> FloatArray:
    """(256, 64) brightness factor of hair: rows run across strands, columns along them; wraps around in rows."""
    rng = stream("hair", person.texture_seed)
    across = 90 if person.hair_style != "curly" else 40
    along = 5 if person.hair_style != "curly" else 14
    fine = cv2.resize(rng.standard_normal((across, along)).astype(np.float32), (64, 256), interpolation=cv2.INTER_CUBIC)
    coarse = cv2.resize(rng.standard_normal((18, 4)).astype(np.float32), (64, 256), interpolation=cv2.INTER_CUBIC)
    sharp = smooth_field(rng, 256, 64, 250)
    return np.exp(0.22 * fine + 0.25 * coarse + 0.05 * sharp).astype(np.float32)
