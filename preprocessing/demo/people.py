"""Who is in front of the camera and what they do: identity, motion, light.

Lengths are in *head units*: the origin lies between the eyes and the nose tip, x grows to the viewer's right,
y downwards; an average face is 1.44 units wide and its chin lies at y = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.demo.noise import wave

HAIR_STYLES = ("bald", "buzz", "short", "medium", "long", "fringe", "curly")
FRAME_SECONDS = 0.4
"""Time between two stored frames of a video."""


@dataclass(frozen=True)
class Person:
    """Everything that stays the same when the same person appears again (lengths in head units)."""

    texture_seed: int
    face_width: float
    chin_y: float
    jaw_squareness: float
    eye_x: float
    eye_y: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    iris: NDArray[np.float32]
    brow_gap: float
    brow_thickness: float
    brow_arch: float
    brow_density: float
    nose_y: float
    nose_width: float
    nose_relief: float
    mouth_y: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    lip_color: NDArray[np.float32]
    skin: NDArray[np.float32]
    age: float
    oiliness: float
    freckles: float
    beard: float
    moustache: float
    hair_style: str
    hair_color: NDArray[np.float32]
    hairline_y: float
    hair_volume: float
    glasses: float
    asymmetry: NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """Pose and expression of one frame.

    Angles in radians, shifts in crops (1 = crop width), `zoom` relative to the average face size; `eye_open`,
    `mouth_open` in [0, 1]; `smile` and `brow_raise` in about [-1, 1]; gaze in iris radii.
    """

    shift_x: float
    shift_y: float
    zoom: float
    roll: float
    yaw: float
    pitch: float
    eye_open: float
    mouth_open: float
    smile: float
    brow_raise: float
    gaze_x: float
    gaze_y: float


@dataclass(frozen=True)
class Light:
    """One key light plus ambient light; colours are RGB factors around 1, `direction` points to the light."""

    direction: NDArray[np.float32]
    key: NDArray[np.float32]
    ambient: NDArray[np.float32]
    hardness: float


def _rgb(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def _skin_tone(rng: np.random.Generator) -> NDArray[np.float32]:
    """RGB reflectance in [0, 1] along the melanin axis, with a little redness and yellowness of its own."""
    anchors = np.array(
        [[0.93, 0.76, 0.68], [0.85, 0.65, 0.53], [0.72, 0.51, 0.38], [0.50, 0.33, 0.24], [0.33, 0.21, 0.16]]
    )
    melanin = float(rng.beta(1.3, 1.7)) * (len(anchors) - 1)
    tone = np.array([np.interp(melanin, range(len(anchors)), anchors[:, channel]) for channel in range(3)])
    return (tone * rng.normal(1.0, [0.02, 0.025, 0.035])).clip(0.05, 0.97).astype(np.float32)


def _hair_color(rng: np.random.Generator, age: float) -> NDArray[np.float32]:
    palette = np.array(
        [
            [0.07, 0.06, 0.06],
            [0.16, 0.10, 0.07],
            [0.30, 0.19, 0.11],
            [0.45, 0.30, 0.16],
            [0.68, 0.53, 0.32],
            [0.46, 0.20, 0.10],
        ]
    )
    color = palette[rng.choice(len(palette), p=[0.27, 0.25, 0.2, 0.12, 0.1, 0.06])]
    grey = float(rng.uniform(0.3, 1.0)) if rng.random() < age**2 else 0.0
    return (color + (np.array([0.72, 0.71, 0.70]) - color) * grey).astype(np.float32)


def _iris(rng: np.random.Generator, skin: NDArray[np.float32]) -> NDArray[np.float32]:
    colors = (_rgb(0.22, 0.13, 0.08), _rgb(0.36, 0.24, 0.12), _rgb(0.35, 0.38, 0.20), _rgb(0.35, 0.48, 0.58))
    is_light = skin.mean() > 0.6
    return colors[rng.choice(4, p=[0.3, 0.2, 0.2, 0.3] if is_light else [0.7, 0.25, 0.05, 0.0])]


def sample_person(rng: np.random.Generator) -> Person:
    """Draw one identity."""
    skin, age = _skin_tone(rng), float(rng.uniform(0, 1))
    is_masculine = rng.random() < 0.5
    bearded = is_masculine and rng.random() < 0.45
    styles = [0.1, 0.17, 0.42, 0.1, 0.03, 0.1, 0.08] if is_masculine else [0.01, 0.02, 0.1, 0.29, 0.32, 0.17, 0.09]
    normal, uniform = rng.normal, rng.uniform
    return Person(
        texture_seed=int(rng.integers(2**31)),
        face_width=float(np.clip(normal(0.74 if is_masculine else 0.71, 0.035), 0.63, 0.84)),
        chin_y=float(np.clip(normal(1.0, 0.05), 0.88, 1.12)),
        jaw_squareness=float(uniform(0.1, 0.9) if is_masculine else uniform(0.0, 0.6)),
        eye_x=float(np.clip(normal(0.315, 0.018), 0.27, 0.36)),
        eye_y=float(normal(-0.2, 0.02)),
        eye_width=float(np.clip(normal(0.132, 0.011), 0.105, 0.16)),
        eye_height=float(np.clip(normal(0.052, 0.009), 0.03, 0.075)),
        eye_tilt=float(normal(0.05, 0.07)),
        iris=_iris(rng, skin),
        brow_gap=float(np.clip(normal(0.165, 0.022), 0.12, 0.22)),
        brow_thickness=float(uniform(0.03, 0.07) if is_masculine else uniform(0.018, 0.05)),
        brow_arch=float(uniform(0.01, 0.07)),
        brow_density=float(uniform(0.45, 1.0)),
        nose_y=float(np.clip(normal(0.285, 0.03), 0.22, 0.36)),
        nose_width=float(np.clip(normal(0.16, 0.022), 0.115, 0.22)),
        nose_relief=float(uniform(0.7, 1.4)),
        mouth_y=float(np.clip(normal(0.555, 0.025), 0.5, 0.62)),
        mouth_width=float(np.clip(normal(0.255, 0.025), 0.2, 0.32)),
        upper_lip=float(np.clip(normal(0.062, 0.018), 0.03, 0.11)),
        lower_lip=float(np.clip(normal(0.082, 0.02), 0.045, 0.13)),
        lip_color=(skin * _rgb(0.92, 0.66, 0.68) * rng.normal(1, [0.05, 0.09, 0.09]))
        .clip(0.05, 0.95)
        .astype(np.float32),
        skin=skin,
        age=age,
        oiliness=float(uniform(0.0, 1.0)),
        freckles=float(uniform(0.3, 1.0)) if rng.random() < 0.25 else 0.0,
        beard=float(uniform(0.2, 1.0)) if bearded else (0.12 if is_masculine else 0.0),
        moustache=float(uniform(0.2, 1.0)) if bearded and rng.random() < 0.8 else 0.0,
        hair_style=str(rng.choice(HAIR_STYLES, p=np.array(styles) / np.sum(styles))),
        hair_color=_hair_color(rng, age),
        hairline_y=float(uniform(-0.82, -0.68) if is_masculine else uniform(-0.78, -0.64)),
        hair_volume=float(uniform(0.4, 1.0)),
        glasses=float(uniform(0.5, 1.0)) if rng.random() < 0.12 else 0.0,
        asymmetry=normal(0, 0.006, (68, 2)),
    )


def _eyelids(rng: np.random.Generator, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Opening of the eyes in [0, 1]: a habit of the person in this video, and now and then a blink."""
    habit = rng.uniform(0.75, 1.0)
    blinks = rng.uniform(times[0] - 2, times[-1] + 2, size=max(1, round((np.ptp(times) + 4) / 3.5)))
    closed = np.exp(-(((times[:, None] - blinks) / 0.13) ** 2)).max(axis=1)
    return (habit * (1 - closed)).clip(0.04, 1.0)


def sample_motion(rng: np.random.Generator, num_frames: int) -> list[Motion]:
    """Draw the smooth motion of one video: `num_frames` frames, `FRAME_SECONDS` apart."""
    times = np.arange(num_frames, dtype=np.float64) * np.float64(FRAME_SECONDS)
    talks, is_lively = rng.random() < 0.6, rng.uniform(0.4, 1.0)
    rest = {"yaw": rng.normal(0, 0.17), "pitch": rng.normal(0, 0.08), "roll": rng.normal(0, 0.05)}
    rest |= {"smile": rng.normal(0.05, 0.4), "zoom": rng.normal(0, 0.045)}
    mouth = np.abs(wave(rng, times, (0.35, 0.9))) * rng.uniform(0.3, 0.9) * talks
    curves = {
        "shift_x": 0.018 * wave(rng, times, (1.5, 5)) * is_lively,
        "shift_y": 0.018 * wave(rng, times, (1.5, 5)) * is_lively,
        "zoom": 1 + rest["zoom"] + 0.03 * wave(rng, times, (2, 6)),
        "roll": rest["roll"] + 0.06 * wave(rng, times, (1.5, 5)) * is_lively,
        "yaw": rest["yaw"] + 0.16 * wave(rng, times, (1.5, 5)) * is_lively,
        "pitch": rest["pitch"] + 0.09 * wave(rng, times, (1.2, 4)) * is_lively,
        "eye_open": _eyelids(rng, times),
        "mouth_open": mouth.clip(0, 1),
        "smile": (rest["smile"] + 0.4 * wave(rng, times, (1.5, 5))).clip(-0.7, 1.0),
        "brow_raise": 0.5 * wave(rng, times, (1.0, 4)) + rng.normal(0, 0.2),
        "gaze_x": 0.35 * wave(rng, times, (0.8, 4)),
        "gaze_y": 0.15 * wave(rng, times, (0.8, 4)),
    }
    return [Motion(**{name: float(values[index]) for name, values in curves.items()}) for index in range(num_frames)]


def sample_light(rng: np.random.Generator) -> Light:
    """Draw the lighting of one video."""
    azimuth, height = rng.normal(0, 0.7), rng.normal(0.45, 0.3)
    direction = np.array([np.sin(azimuth) * np.cos(height), -np.sin(height), np.cos(azimuth) * np.cos(height)])
    direction[2] = max(direction[2], 0.25)
    warmth, other = rng.normal(0, 0.06, 2)
    share = rng.uniform(0.35, 0.7)
    return Light(
        direction=(direction / np.linalg.norm(direction)).astype(np.float32),
        key=(share * 1.25 * _rgb(1 + warmth, 1, 1 - warmth)).astype(np.float32),
        ambient=((1.12 - share) * _rgb(1 + other, 1, 1 - other)).astype(np.float32),
        hardness=float(rng.uniform(0.0, 1.0)),
    )
