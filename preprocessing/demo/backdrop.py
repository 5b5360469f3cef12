"""What is behind and below the face: a cluttered, out-of-focus background and clothes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.demo.noise import FloatArray, blur, fractal
from preprocessing.demo.people import Motion

_SIDE = 288
_SPAN = 1.35
"""The background sheet is this many crops wide, so that the crop can wander over it."""


@dataclass(frozen=True)
class Backdrop:
    """Background and clothes of one video.

    Attributes:
        sheet: (288, 288, 3) float32 RGB in [0, 1].
        fabric: (128, 128, 3) float32 RGB in [0, 1], repeated by reflection.
        fabric_scale: fabric pixels per head unit.
        collar: extra height of the neck line in head units.
    """

    sheet: FloatArray
    fabric: FloatArray
    fabric_scale: float
    collar: float

    def view(self, size: int, motion: Motion) -> FloatArray:
        """(size, size, 3) background behind a face that moved by `motion`."""
        scale = np.float64(_SIDE) / (_SPAN * size)
        origin = (_SIDE - _SIDE / _SPAN) / 2 - np.array([motion.shift_x, motion.shift_y]) * _SIDE * 0.6
        matrix = np.array([[scale, 0, origin[0]], [0, scale, origin[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(self.sheet, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)

    def cloth(self, size: int, to_pixels: NDArray[np.float64]) -> FloatArray:
        """(size, size, 3) fabric that moves with the head; `to_pixels` (2, 3) maps head units to pixels."""
        matrix = to_pixels.copy()
        matrix[:, :2] /= self.fabric_scale
        repeat = cv2.BORDER_REFLECT
        return cv2.warpAffine(self.fabric, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=repeat)


def sample_backdrop(rng: np.random.Generator) -> Backdrop:
    """Draw background and clothes of one video."""
    return Backdrop(_background(rng), _fabric(rng), float(rng.uniform(40, 110)), float(rng.uniform(-0.12, 0.2)))


def _color(rng: np.random.Generator, low: float = 0.08, high: float = 0.9) -> NDArray[np.float32]:
    grey, tint = rng.uniform(low, high), rng.normal(0, 0.09, 3)
    return np.clip(grey + tint, 0.02, 0.97).astype(np.float32)


def _background(rng: np.random.Generator) -> FloatArray:
    """A wall with a gradient, some things in front of it, texture, and the blur of a lens."""
    ramp = np.linspace(0, 1, _SIDE, dtype=np.float32)
    weight = ramp[None, :] * np.float32(rng.uniform(-1, 1)) + ramp[:, None] * np.float32(rng.uniform(-1, 1))
    image = _color(rng) + (_color(rng) - 0.5) * weight[..., None] * np.float32(0.6)
    for _ in range(rng.poisson(7)):
        _thing(rng, image)
    image = blur(np.ascontiguousarray(image, np.float32), float(rng.choice([0.3, 1.2, 3.0, 6.0])))
    grain = fractal(rng, _SIDE, _SIDE, 8, 6, 0.7) * np.float32(rng.uniform(0.01, 0.06))
    return (image * (1 + grain[..., None])).clip(0, 1).astype(np.float32)


def _thing(rng: np.random.Generator, image: FloatArray) -> None:
    """Draw one rectangle, disc, line or row of stripes into the background, in place."""
    color = tuple(float(value) for value in _color(rng))
    x, y = (int(value) for value in rng.integers(-20, _SIDE, 2))
    width, height = (int(value) for value in rng.integers(12, 120, 2))
    kind = rng.integers(4)
    if kind == 0:
        cv2.rectangle(image, (x, y), (x + width, y + height), color, -1)
    elif kind == 1:
        cv2.circle(image, (x, y), width // 2, color, -1)
    elif kind == 2:
        cv2.line(image, (x, 0), (x + int(rng.integers(-60, 60)), _SIDE), color, int(rng.integers(2, 12)))
    else:
        for step in range(int(rng.integers(3, 9))):
            tone = tuple(float(value * rng.uniform(0.6, 1.2)) for value in color)
            left = x + step * (width // 4 + 4)
            cv2.rectangle(image, (left, y), (left + width // 5 + 2, y + height), tone, -1)


def _fabric(rng: np.random.Generator) -> FloatArray:
    """Plain, striped, checked or blotched cloth with a weave."""
    base, other = _color(rng, 0.05, 0.85), _color(rng, 0.05, 0.85)
    axis = np.arange(128, dtype=np.float32)
    period = rng.uniform(8, 30)
    across = (np.sin(2 * np.pi * axis / period) > rng.uniform(-0.5, 0.8)).astype(np.float32)
    kind = rng.integers(4)
    pattern = np.zeros((128, 128), np.float32)
    if kind == 1:
        pattern = np.broadcast_to(across[None] if rng.random() < 0.5 else across[:, None], (128, 128))
    elif kind == 2:
        pattern = (across[None] + across[:, None]) / 2
    elif kind == 3:
        pattern = (fractal(rng, 128, 128, 8, 3) > 0.4).astype(np.float32)
    image = base + (other - base) * pattern[..., None] * np.float32(rng.uniform(0.3, 1.0))
    folds = fractal(rng, 128, 128, 3, 3) * np.float32(0.12) + fractal(rng, 128, 128, 60, 2) * np.float32(0.05)
    return (image * (1 + folds[..., None])).clip(0, 1).astype(np.float32)
