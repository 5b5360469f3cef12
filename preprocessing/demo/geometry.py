"""From identity and motion to points: 68 landmarks (iBUG order) and the outlines of head, hair, neck and shoulders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.demo.people import Motion, Person

Points = NDArray[np.float64]

VIEW = 2.42
"""Width of the crop in head units for an average face."""
CENTRE_Y = 0.15
"""Head-unit y that lies in the middle of the crop."""
EAR_Y = -0.12
"""Height of the widest point of the face, where the jaw line starts."""
SKULL_HEIGHT = 1.2

JAW, RIGHT_BROW, LEFT_BROW = slice(0, 17), slice(17, 22), slice(22, 27)
NOSE_BRIDGE, NOSE_BASE = slice(27, 31), slice(31, 36)
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)
OUTER_LIPS, INNER_LIPS = slice(48, 60), slice(60, 68)


@dataclass(frozen=True)
class Head:
    """One head in one pose, as seen by the camera.

    Attributes:
        landmarks: (68, 2) pixels of the crop.
        unit: pixels per head unit.
        to_pixels: (2, 3) similarity from head units (after yaw and pitch) to pixels.
        person, motion: what it was made from.
    """

    landmarks: Points
    unit: float
    to_pixels: NDArray[np.float64]
    person: Person
    motion: Motion

    def pixels(self, points: Points) -> Points:
        """Map (N, 2) canonical points on the head surface to pixels, with yaw and pitch."""
        return self.flat_pixels(turn(points, self.motion, self.person))

    def flat_pixels(self, points: Points) -> Points:
        """Map (N, 2) points that are already turned to pixels."""
        return points @ self.to_pixels[:, :2].T + self.to_pixels[:, 2]

    def units(self, pixels: Points) -> Points:
        """Inverse of `flat_pixels`."""
        return (pixels - self.to_pixels[:, 2]) @ np.linalg.inv(self.to_pixels[:, :2]).T


def depth(points: Points) -> NDArray[np.float64]:
    """Depth (head units, towards the camera) of the smooth head, without the nose, at (N, 2) points."""
    return 0.75 * np.sqrt(np.clip(1 - (points[:, 0] / 1.0) ** 2 - (points[:, 1] / 1.6) ** 2, 0.02, None))


def turn(points: Points, motion: Motion, person: Person, relief: NDArray[np.float64] | float = 0.0) -> Points:
    """Turn canonical points by yaw and pitch (orthographic view); `relief` adds depth to single points."""
    z = depth(points) + relief
    x, y = points[:, 0], points[:, 1]
    return np.stack(
        [
            x * np.cos(motion.yaw) + (z - 0.45) * np.sin(motion.yaw),
            y * np.cos(motion.pitch) + (z - 0.45) * np.sin(motion.pitch),
        ],
        axis=1,
    )


def _jaw(person: Person) -> Points:
    angle = np.pi * np.arange(17) / 16
    power = 1.0 - 0.28 * person.jaw_squareness
    x = -person.face_width * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
    y = EAR_Y + (person.chin_y - EAR_Y) * np.sin(angle) ** (1.12 - 0.3 * person.jaw_squareness)
    return np.stack([x, y], axis=1)


def _eye(person: Person, motion: Motion, side: int) -> Points:
    """Six points of one eye; `side` is -1 for the subject's right (the viewer's left)."""
    x = np.array([-1.0, -0.38, 0.38, 1.0, 0.36, -0.36]) * person.eye_width
    y = np.array([0.0, -1.0, -1.0, 0.0, 0.62, 0.62]) * person.eye_height
    y[1:3] *= motion.eye_open
    y[4:] *= 0.55 + 0.45 * motion.eye_open
    y[1:3] += (1 - motion.eye_open) * 0.3 * person.eye_height
    y += x * np.tan(person.eye_tilt) * -side
    return np.stack([side * person.eye_x + x, person.eye_y + y], axis=1)


def _brow(person: Person, motion: Motion, side: int) -> Points:
    """Five points along the middle of one brow, from the viewer's left to right."""
    t = np.linspace(-1, 1, 5)
    outward = t * side
    y = person.eye_y - person.brow_gap - person.brow_arch * (1 - (outward - 0.25) ** 2)
    y = y + 0.02 * np.clip(outward, 0, 1) + 0.02 - 0.035 * motion.brow_raise
    return np.stack([side * (person.eye_x * 1.02) + t * person.eye_width * 1.45, y], axis=1)


def _nose(person: Person) -> Points:
    top = person.eye_y + 0.02
    bridge = np.stack([np.zeros(4), np.linspace(top, person.nose_y - 0.085, 4)], axis=1)
    x = np.array([-0.78, -0.4, 0.0, 0.4, 0.78]) * person.nose_width
    y = person.nose_y + np.array([-0.01, 0.015, 0.03, 0.015, -0.01])
    return np.concatenate([bridge, np.stack([x, y], axis=1)])


def _mouth(person: Person, motion: Motion) -> Points:
    """Twenty lip points: opening lowers the lower lip, a smile widens the mouth and lifts its corners."""
    half = person.mouth_width * (1 + 0.16 * motion.smile - 0.1 * motion.mouth_open)
    lift = -0.05 * motion.smile
    thin = 1 - 0.18 * max(motion.smile, 0.0)
    gap, upper, lower = 0.16 * motion.mouth_open, person.upper_lip * thin, person.lower_lip * thin
    outer_x = np.array([-1, -0.62, -0.24, 0, 0.24, 0.62, 1, 0.66, 0.3, 0, -0.3, -0.66])
    outer_y = np.array([0, -0.72, -1.05, -0.92, -1.05, -0.72, 0, 0.72, 1.0, 1.05, 1.0, 0.72])
    outer_y = np.where(outer_y < 0, outer_y * upper, outer_y * lower) + gap * np.array(
        [0.3, 0.02, 0, 0, 0, 0.02, 0.3, 0.82, 1, 1, 1, 0.82]
    )
    inner_x = np.array([-0.86, -0.3, 0, 0.3, 0.86, 0.3, 0, -0.3])
    inner_y = np.array([0, -0.06, 0, -0.06, 0, 0.05, 0.06, 0.05]) * upper + gap * np.array(
        [0.3, 0, 0, 0, 0.3, 0.93, 1, 0.93]
    )
    x = np.concatenate([outer_x, inner_x])
    y = np.concatenate([outer_y, inner_y]) + lift * np.abs(x) ** 2
    return np.stack([x * half, person.mouth_y + y], axis=1)


def _relief(person: Person) -> NDArray[np.float64]:
    """Extra depth of each landmark over the smooth head: the nose stands out, the eyes lie back."""
    relief = np.zeros(68)
    relief[NOSE_BRIDGE] = np.array([0.03, 0.1, 0.17, 0.24]) * person.nose_relief
    relief[NOSE_BASE] = np.array([0.06, 0.1, 0.14, 0.1, 0.06]) * person.nose_relief
    relief[RIGHT_EYE] = relief[LEFT_EYE] = -0.03
    relief[OUTER_LIPS] = relief[INNER_LIPS] = 0.03
    return relief


def canonical_landmarks(person: Person, motion: Motion) -> Points:
    """(68, 2) landmarks in head units, frontal, with this frame's expression."""
    jaw = _jaw(person)
    jaw[5:12, 1] += 0.07 * motion.mouth_open * np.sin(np.pi * np.arange(7) / 6)
    brows = [_brow(person, motion, -1), _brow(person, motion, 1)]
    eyes = [_eye(person, motion, -1), _eye(person, motion, 1)]
    points = np.concatenate([jaw, *brows, _nose(person), *eyes, _mouth(person, motion)])
    scale = np.ones((68, 1))
    scale[36:48] = 0.4
    return points + person.asymmetry * scale


def place(person: Person, motion: Motion, size: int) -> Head:
    """Put a head into a crop of `size` x `size` pixels."""
    unit = size / VIEW * motion.zoom
    cos, sin = np.cos(motion.roll) * unit, np.sin(motion.roll) * unit
    rotation = np.array([[cos, -sin], [sin, cos]])
    middle = np.array([0.5 + motion.shift_x, 0.5 + motion.shift_y]) * size
    offset = middle - rotation @ np.array([0.0, CENTRE_Y])
    to_pixels = np.concatenate([rotation, offset[:, None]], axis=1)
    turned = turn(canonical_landmarks(person, motion), motion, person, _relief(person))
    return Head(turned @ rotation.T + offset, unit, to_pixels, person, motion)


def smooth_closed(points: Points, steps: int = 6) -> Points:
    """Closed Catmull-Rom curve through (N, 2) points, `steps` samples per segment."""
    before, after, beyond = np.roll(points, 1, 0), np.roll(points, -1, 0), np.roll(points, -2, 0)
    t = (np.arange(steps) / steps)[None, :, None]
    p0, p1, p2, p3 = (part[:, None, :] for part in (before, points, after, beyond))
    curve = p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    return curve.reshape(-1, 2)


def smooth_open(points: Points, steps: int = 6) -> Points:
    """Open Catmull-Rom curve through (N, 2) points, end points included."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = (np.arange(steps) / steps)[None, :, None]
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i][:, None, :] for i in range(4))
    curve = p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    return np.concatenate([curve.reshape(-1, 2), points[-1:]])


def skull_arc(person: Person, start: float, stop: float, grow: float, num: int = 25) -> Points:
    """Arc of the skull outline in head units, from angle `start` to `stop` (0 = viewer's right ear, pi = left)."""
    angle = np.linspace(start, stop, num)
    x = (person.face_width + 0.02 + grow) * np.cos(angle)
    return np.stack([x, EAR_Y - (SKULL_HEIGHT + grow) * np.sin(angle)], axis=1)


def face_outline(head: Head) -> Points:
    """Closed outline of the facial skin in pixels: jaw line and forehead up to the top of the skull."""
    forehead = head.pixels(skull_arc(head.person, 0.12, np.pi - 0.12, 0.0, 15))
    return smooth_closed(np.concatenate([head.landmarks[JAW], forehead]), 4)


def brow_outline(head: Head, brow: slice) -> Points:
    """Closed outline of one brow in pixels, thick at the inner end."""
    line = smooth_open(head.landmarks[brow], 4)
    profile = np.sin(np.linspace(0.35, np.pi - 0.25, len(line))) ** 0.6
    inner_first = brow == LEFT_BROW
    taper = np.linspace(1.0, 0.45, len(line)) if inner_first else np.linspace(0.45, 1.0, len(line))
    up = np.array([np.sin(head.motion.roll), -np.cos(head.motion.roll)])
    half = (profile * taper * head.person.brow_thickness * head.unit)[:, None] * up
    return np.concatenate([line + half, (line - half)[::-1]])


def nose_outline(head: Head) -> Points:
    """Closed outline of the nose region in pixels."""
    marks = head.landmarks
    wing = np.array([[0.2, -0.0], [0.36, 0.35], [0.62, 0.72], [1.05, 0.93]])
    top, bottom = marks[27], marks[33]
    across = (marks[35] - marks[31]) / 1.56
    down = bottom - top
    tip = marks[30] - (top + down * 0.74)
    right = np.stack([top + down * y + tip * y * 0.8 + across * x for x, y in wing])
    left = np.stack([top + down * y + tip * y * 0.8 - across * x for x, y in wing])
    base = [marks[35] + down * 0.02, marks[34], marks[33], marks[32], marks[31] + down * 0.02]
    return smooth_closed(np.concatenate([right, np.stack(base), left[::-1]]), 4)
