"""Presentation attacks: the captured face was on paper or on a screen.

Same contract as `preprocessing.demo.forgeries`; the whole picture is the attack. What the medium leaves (dots of a
printer, pixel grid and moire of a screen, uneven light on a flat sheet, a reflection) replaces the fine detail of a
live capture at the same energy, so that brightness, contrast and sharpness of the picture do not tell them apart.
"""

from __future__ import annotations

import numpy as np

from preprocessing.demo.camera import capture, to_float
from preprocessing.demo.detail import match_detail, roughness
from preprocessing.demo.forgeries import (
    Donor,
    blend,
    frame_stream,
    match_color,
    pixels,
    tone_error,
)  # fmt: skip
from preprocessing.demo.noise import FloatArray, blur, smooth_field
from preprocessing.demo.scenes import Scene, Shot
from preprocessing.demo.seeds import stream


def print_attack(target: Scene, source: Scene, index: int, rng: np.random.Generator) -> Shot:
    """A print of the target, held into the camera: halftone dots, paper fibres, an unevenly lit sheet."""
    del source
    size = target.size
    dots = _halftone(rng, size, pixels(target, 1) * rng.uniform(2.6, 4.2), rng.uniform(0.1, 1.4))
    fibres = smooth_field(frame_stream(rng, index), size, size, size / 3)
    grain = dots + np.float32(0.35) * fibres
    shade = np.exp(smooth_field(rng, size, size, 1.5) * np.float32(rng.uniform(0.04, 0.12)))
    return _recapture(target, index, rng, grain, shade)


def replay_attack(target: Scene, source: Scene, index: int, rng: np.random.Generator) -> Shot:
    """The target on a screen: pixel grid, moire that drifts from frame to frame, a reflection of the room."""
    del source
    size = target.size
    grid = _lines(rng, size, pixels(target, 1) * rng.uniform(2.1, 3.2), rng.uniform(-0.06, 0.06), 0.0)
    drift = frame_stream(rng, index).uniform(0, 2 * np.pi)
    moire = _lines(rng, size, rng.uniform(0.06, 0.14) * size, rng.uniform(-0.9, 0.9), drift)
    grain = grid * (1 + np.float32(0.6) * moire)
    bright = smooth_field(rng, size, size, 3.0).clip(0.5, None) - np.float32(0.5)
    glare = np.exp(blur(bright, 0.03 * size) * np.float32(0.18))
    shade = glare * (1 + np.float32(rng.uniform(0.01, 0.03)) * moire)
    return _recapture(target, index, rng, grain, shade)


def _recapture(target: Scene, index: int, rng: np.random.Generator, grain: FloatArray, shade: FloatArray) -> Shot:
    """The target's picture on a medium, taken by the target's own camera.

    Args:
        grain: (H, W) texture of the medium, deviation about 1.
        shade: (H, W) factor of the light on it, about 1.
    """
    shot, frame = target.shoot(index), target.render(index)
    own, everywhere = to_float(shot.image), np.ones((target.size, target.size), np.float32)
    patches = np.exp(smooth_field(rng, target.size, target.size, 4.0) * np.float32(rng.uniform(0.5, 1.5)) - 0.5)
    visible = patches * roughness(own.mean(-1))
    coarse = np.sqrt(target.camera.noise / 5).clip(0.4, 1)  # a better camera is fooled with a finer medium
    texture = 1 + np.float32(rng.uniform(0.05, 0.1) * coarse) * grain * visible.clip(0, 3)
    medium = frame.image * tone_error(rng, 0.02, 0.08) * (shade * texture)[..., None]
    taken = to_float(capture(medium, target.camera, stream(*target.key, "recapture", index)))
    image = match_color(taken, own, everywhere, rng.uniform(0.7, 1.0), 0.9)
    image = match_detail(image, own, everywhere, None, np.exp(rng.normal(0, 0.2)))
    return blend(shot, Donor(image, shot.parsing, shot.landmarks), everywhere)


def _halftone(rng: np.random.Generator, size: int, period: float, angle: float) -> FloatArray:
    """(H, W) grid of dots, `period` pixels apart, turned by `angle` radians."""
    across = _lines(rng, size, period, angle, rng.uniform(0, 2 * np.pi))
    down = _lines(rng, size, period, angle + np.pi / 2, rng.uniform(0, 2 * np.pi))
    return across + down + across * down


def _lines(rng: np.random.Generator, size: int, period: float, angle: float, phase: float) -> FloatArray:
    """(H, W) parallel waves `period` pixels apart; their phase wanders a little, as no medium is quite flat."""
    axis = np.arange(size, dtype=np.float32)
    place = axis[None] * np.float32(np.cos(angle)) + axis[:, None] * np.float32(np.sin(angle))
    wander = smooth_field(rng, size, size, 3.0) * np.float32(0.6)
    return np.sin(place * np.float32(2 * np.pi / period) + np.float32(phase) + wander).astype(np.float32)
