"""Forgeries: manipulations of captured frames, each with its own local traces.

Every function takes the target scene (whose camera, background and head stay), the source scene, the frame number
and a fresh random stream of the *forged video* (so that its style is the same in all frames), and changes only the
inside of a mask. What gives a forgery away is the
difference between inside and outside (noise, sharpness, colour, texture) and the seam, not the picture as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.demo.camera import develop, lens, to_float, to_uint8
from preprocessing.demo.detail import block_grain, board_grain, match_detail, tile_grain
from preprocessing.demo.faces import Frame, polygon_mask
from preprocessing.demo.geometry import Points
from preprocessing.demo.noise import FloatArray, mix
from preprocessing.demo.people import Motion
from preprocessing.demo.scenes import Scene, Shot

_WARP_SIDE = 28
_FEATURES = (slice(17, 27), slice(27, 36), slice(36, 42), slice(42, 48), slice(48, 68))
"""Landmarks of brows, nose, eyes and mouth."""
DEFAULT_SIZE = 64
"""Crop side (pixels) for which the pixel lengths of the traces are given."""


@dataclass(frozen=True)
class Donor:
    """The new face before it is blended in: (H, W, 3) [0, 1] RGB, its parsing map and its (68, 2) landmarks."""

    image: FloatArray
    parsing: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


Forgery = Callable[[Scene, Scene, int, np.random.Generator], Shot]


def deepfakes(target: Scene, source: Scene, index: int, rng: np.random.Generator) -> Shot:
    """Another identity in the target's pose and light, as a generator renders it, softly blended."""
    match, soft = rng.uniform(0.45, 0.85), rng.uniform(0.015, 0.04)
    grow, gain, tone = rng.uniform(-0.12, 0.0), np.exp(rng.normal(0, 0.25)), tone_error(rng, 0.09, 0.2)
    shot = target.shoot(index)
    own = to_float(shot.image)
    donor = _align(reenact(target, source, index), shot.landmarks, range(27))
    mask = face_mask(shot.landmarks, target.size, grow, soft)
    image = match_color(donor.image, own, mask, match, 0.8) * tone
    frame_rng = frame_stream(rng, index)
    grain = tile_grain(rng, frame_rng, target.size, pixels(target, 4), 0.9)
    grain = grain + 0.15 * block_grain(frame_rng, target.size, pixels(target, 2))
    return blend(shot, replace(donor, image=match_detail(image, own, mask, grain, gain)), mask)


def face2face(target: Scene, source: Scene, index: int, rng: np.random.Generator) -> Shot:
    """The target keeps its identity; the captured face is warped to the source's expression and re-rendered."""
    soften, soft = rng.uniform(0.7, 1.0), rng.uniform(0.01, 0.03)
    tone = tone_error(rng, 0.1, 0.22)
    grow, gain = rng.uniform(-0.14, -0.02), np.exp(rng.normal(0, 0.25))
    shot = target.shoot(index)
    own = to_float(shot.image)
    donor = with_expression(target, source, index)
    warped = diffuse(_move_expression(own, shot, donor), soften)
    mask = face_mask(donor.landmarks, target.size, grow, soft)
    grain = tile_grain(rng, frame_stream(rng, index), target.size, pixels(target, 8), 0.95)
    image = match_detail(warped, own, mask, grain, gain) * tone
    return blend(shot, replace(donor, image=image), mask)


def faceswap(target: Scene, source: Scene, index: int, rng: np.random.Generator) -> Shot:
    """A frame of the source video, warped landmark by landmark onto the target, hard seam, simple colour gain."""
    match, soft = rng.uniform(0.5, 0.85), rng.uniform(0.006, 0.014)
    grow, gain = rng.uniform(-0.2, -0.08), np.exp(rng.normal(0, 0.3))
    shot = target.shoot(index)
    other = source.shoot((index + int(rng.integers(len(source.motions)))) % len(source.motions))
    own, donor = to_float(shot.image), to_float(other.image)
    moved = warp(donor, other.landmarks, shot.landmarks)
    parsing = warp(other.parsing, other.landmarks, shot.landmarks, nearest=True)
    mask = face_mask(shot.landmarks, target.size, grow, soft)
    image = match_detail(match_color(moved, own, mask, match, 0.7), own, mask, None, gain)
    return blend(shot, Donor(image, parsing, shot.landmarks), mask)


def neural_textures(target: Scene, source: Scene, index: int, rng: np.random.Generator) -> Shot:
    """The mouth region with the source's expression, as a generator with strided up-sampling leaves it."""
    period, soft, gain = int(rng.choice([2, 4])), rng.uniform(0.015, 0.035), np.exp(rng.normal(0, 0.25))
    tone = tone_error(rng, 0.1, 0.22)
    shot = target.shoot(index)
    own = to_float(shot.image)
    donor = with_expression(target, source, index)
    warped = diffuse(_move_expression(own, shot, donor), 0.9)
    mask = lower_face_mask(donor.landmarks, target.size, soft)
    frame_rng = frame_stream(rng, index)
    grain = board_grain(frame_rng, target.size, pixels(target, period))
    grain = grain + 0.5 * block_grain(frame_rng, target.size, pixels(target, 2))
    image = match_detail(warped, own, mask, grain, gain) * tone
    return blend(shot, replace(donor, image=image), mask)


def better_swap(target: Scene, source: Scene, index: int, rng: np.random.Generator) -> Shot:
    """A finer swap: higher resolution, colour matched, wide seam; diffusion-like smoothing, then faint grain."""
    return _fine_swap(target, source, index, rng, drift=0.0)


def drifting_swap(target: Scene, source: Scene, index: int, rng: np.random.Generator) -> Shot:
    """The finer swap made frame by frame: brows, nose, eyes and mouth sit a little differently in every frame.

    The other forgeries are steady in time; this is what video-level methods look for ("facial feature drift",
    arXiv 2408.17065).
    """
    return _fine_swap(target, source, index, rng, drift=0.012)


def _fine_swap(target: Scene, source: Scene, index: int, rng: np.random.Generator, drift: float) -> Shot:
    """A finer swap; ``drift`` is the deviation of a feature's place from frame to frame, in crop sides."""
    resolution, soft = rng.uniform(0.5, 0.8), rng.uniform(0.03, 0.06)
    strength, grow, gain = rng.uniform(0.6, 1.0), rng.uniform(-0.1, 0.02), np.exp(rng.normal(-0.15, 0.25))
    shot = target.shoot(index)
    own = to_float(shot.image)
    donor = _align(reenact(target, source, index), shot.landmarks, range(27))
    if drift:
        donor = _drifted(donor, drift * target.size, frame_stream(rng, index))
    mask = face_mask(shot.landmarks, target.size, grow, soft)
    image = match_color(low_resolution(donor.image, resolution), own, mask, 0.85, 0.9)
    image = match_detail(diffuse(image, strength), own, mask, mixed_grain(rng, target, index), gain)
    return blend(shot, replace(donor, image=image), mask)


def _drifted(donor: Donor, deviation: float, rng: np.random.Generator) -> Donor:
    """The donor with each facial feature moved by a draw of its own (pixels)."""
    moved = donor.landmarks.copy()
    for part in _FEATURES:
        moved[part] += rng.normal(0, deviation, 2).astype(np.float32)
    parsing = warp(donor.parsing, donor.landmarks, moved, nearest=True)
    return Donor(warp(donor.image, donor.landmarks, moved), parsing, moved)


def self_blend(target: Scene, source: Scene, index: int, rng: np.random.Generator) -> Shot:
    """The target's own face, slightly warped, recoloured and smoothed, blended over itself (no second person)."""
    del source
    shot = target.shoot(index)
    own = to_float(shot.image)
    jitter = rng.normal(0, 0.012 * target.size, 2) + rng.normal(0, 0.006 * target.size, (68, 2))
    strength, tone = rng.uniform(0.6, 1.0), tone_error(rng, 0.04, 0.1)
    grow, soft = rng.uniform(-0.12, -0.02), rng.uniform(0.015, 0.04)
    landmarks = (shot.landmarks + jitter).astype(np.float32)
    image = diffuse(warp(own, shot.landmarks, landmarks), strength)
    mask = face_mask(shot.landmarks, target.size, grow, soft)
    image = match_detail(image, own, mask, mixed_grain(rng, target, index), 1.0)
    parsing = warp(shot.parsing, shot.landmarks, landmarks, nearest=True)
    return blend(shot, Donor(image * tone, parsing, landmarks), mask)


def pixels(scene: Scene, at_default: int) -> int:
    """A length of `at_default` pixels in a crop of `DEFAULT_SIZE`, in pixels of this scene (a whole multiple)."""
    return at_default * max(1, scene.size // DEFAULT_SIZE)


def mixed_grain(rng: np.random.Generator, target: Scene, index: int) -> FloatArray:
    """Grain of a diffusion decoder: traces of its up-sampling stages, weaker than those of older generators."""
    coarse, frame_rng = int(rng.choice([4, 8])), frame_stream(rng, index)
    return tile_grain(rng, frame_rng, target.size, pixels(target, coarse), rng.uniform(0.6, 0.85))


def _move_expression(image: FloatArray, shot: Shot, donor: Donor) -> FloatArray:
    """Warp a captured frame to the donor's landmarks; mouth and eyes come from the donor itself."""
    size = len(image)
    warped = warp(image, shot.landmarks, donor.landmarks)
    parts = (slice(48, 60), slice(36, 42), slice(42, 48))
    points = [donor.landmarks[part].astype(np.float64) for part in parts]
    new = np.sum([polygon_mask(outline, size, size, 0.01 * size) for outline in points], axis=0)
    return mix(warped, donor.image, np.clip(new, 0, 1))


def blend(shot: Shot, donor: Donor, mask: FloatArray) -> Shot:
    """Put the donor's face into a captured frame where `mask` (H, W) in [0, 1] says; outside not a byte changes."""
    image = to_uint8(mix(to_float(shot.image), donor.image, mask))
    image[mask == 0] = shot.image[mask == 0]
    inside = mask > 0.5
    parsing = np.where(inside, donor.parsing, shot.parsing)
    return Shot(image, parsing, donor.landmarks, np.where(mask > 0, 255, 0).astype(np.uint8))


def tone_error(rng: np.random.Generator, low: float, high: float) -> NDArray[np.float32]:
    """RGB factors by which a forged face is too bright or too dark (log error in [low, high]), slightly tinted."""
    brightness = rng.choice([-1.0, 1.0]) * rng.uniform(low, high)
    return np.exp(brightness + rng.normal(0, 0.5 * low, 3)).astype(np.float32)


def frame_stream(rng: np.random.Generator, index: int) -> np.random.Generator:
    """A stream for what differs between the frames of one video."""
    return np.random.default_rng([int(rng.integers(2**32)), index])


def reenact(target: Scene, source: Scene, index: int) -> Donor:
    """The source's person as the target moves and is lit, seen through the colours of the source's camera."""
    frame = source.painter.paint(target.motions[index], target.light, target.backdrop)
    return imagine(frame, source)


def with_expression(target: Scene, source: Scene, index: int) -> Donor:
    """The target's person in its own pose, with the mouth, eyes and brows of the source's frame."""
    own, other = target.motions[index], source.motions[index % len(source.motions)]
    mouth = other.mouth_open if abs(other.mouth_open - own.mouth_open) > 0.15 else 0.6 - 0.5 * own.mouth_open
    motion: Motion = replace(own, mouth_open=mouth, smile=other.smile, brow_raise=other.brow_raise)
    return imagine(target.painter.paint(motion, target.light, target.backdrop), target)


def imagine(frame: Frame, scene: Scene) -> Donor:
    """A generator's idea of a frame: the colours of the scene's camera, without its noise and codec."""
    image = lens(frame.image, scene.camera) * np.float32(scene.camera.exposure)
    return Donor(develop(image, scene.camera).clip(0, 1), frame.parsing, frame.landmarks)


def _align(donor: Donor, landmarks: NDArray[np.float32], points: range) -> Donor:
    """Warp a donor so that its outline (landmark numbers `points`) comes to lie on the target's."""
    goal = donor.landmarks.copy()
    goal[list(points)] = landmarks[list(points)]
    return Donor(
        warp(donor.image, donor.landmarks, goal),
        warp(donor.parsing, donor.landmarks, goal, nearest=True),
        goal,
    )


def face_mask(landmarks: NDArray[np.float32], size: int, grow: float, soft: float) -> FloatArray:
    """(H, W) soft mask over the inner face: jaw line and brows, grown (or shrunk) by `grow`, seam `soft` crops."""
    brows = landmarks[17:27] - (landmarks[33] - landmarks[27]) * 0.28
    points = cv2.convexHull(np.concatenate([landmarks[1:16], brows]).astype(np.float32))[:, 0]
    centre = points.mean(axis=0)
    return _feather(centre + (points - centre) * (0.97 + grow), size, soft)


def lower_face_mask(landmarks: NDArray[np.float32], size: int, soft: float) -> FloatArray:
    """(H, W) soft mask over the mouth region, from the nose base to the chin."""
    points = np.concatenate([landmarks[3:14], landmarks[[35, 33, 31]]])
    centre = points.mean(axis=0)
    return _feather(centre + (cv2.convexHull(points.astype(np.float32))[:, 0] - centre) * 0.9, size, soft)


def _feather(points: Points | NDArray[np.float32], size: int, soft: float) -> FloatArray:
    """Polygon mask with a seam of `soft` crop widths; exactly 0 beyond the seam."""
    mask = polygon_mask(np.asarray(points, np.float64), size, size, soft * size)
    return np.clip((mask - 0.04) / 0.92, 0, 1)


def warp(
    image: NDArray[np.float32] | NDArray[np.uint8],
    start: NDArray[np.float32],
    goal: NDArray[np.float32],
    nearest: bool = False,
) -> NDArray:
    """Move the points `start` (N, 2) of an image to `goal` (N, 2) by a thin-plate spline (inverse mapping)."""
    size = image.shape[0]
    stiff = np.float64(size)
    anchors, values = goal.astype(np.float64) / stiff, (start - goal).astype(np.float64) / stiff
    axis = (np.arange(_WARP_SIDE) + 0.5) / _WARP_SIDE
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    shift = _thin_plate(anchors, values, grid).reshape(_WARP_SIDE, _WARP_SIDE, 2).astype(np.float32)
    field = cv2.resize(shift * np.float32(stiff), (size, size), interpolation=cv2.INTER_CUBIC)
    pixel = np.arange(size, dtype=np.float32)
    coordinates = field + np.stack(np.meshgrid(pixel, pixel), axis=-1)
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.remap(image, coordinates.astype(np.float32), None, flags, borderMode=cv2.BORDER_REFLECT_101)


def _thin_plate(anchors: Points, values: Points, places: Points, smooth: float = 1e-3) -> Points:
    """Thin-plate spline through (N, 2) `values` at `anchors`, evaluated at (M, 2) `places`."""

    def kernel(a: Points, b: Points) -> NDArray[np.float64]:
        squared = ((a[:, None] - b[None]) ** 2).sum(-1)
        return squared * np.log(squared + 1e-9)

    num = len(anchors)
    affine = np.concatenate([np.ones((num, 1)), anchors], axis=1)
    system = np.zeros((num + 3, num + 3))
    system[:num, :num] = kernel(anchors, anchors) + smooth * np.eye(num)
    system[:num, num:], system[num:, :num] = affine, affine.T
    weights = np.linalg.solve(system, np.concatenate([values, np.zeros((3, 2))]))
    basis = np.concatenate([kernel(places, anchors), np.ones((len(places), 1)), places], axis=1)
    return basis @ weights


def low_resolution(image: FloatArray, resolution: float) -> FloatArray:
    """Pass an image through a generator of `resolution` times its side."""
    size = image.shape[0]
    small = cv2.resize(image, (max(8, round(size * resolution)),) * 2, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)


def match_color(image: FloatArray, goal: FloatArray, mask: FloatArray, strength: float, spread: float) -> FloatArray:
    """Pull mean (and, by `spread`, deviation) of the masked colours of `image` towards those of `goal`."""
    weight = mask[..., None] / (mask.sum() + 1e-6)
    mean, wanted = (image * weight).sum((0, 1)), (goal * weight).sum((0, 1))
    deviation = np.sqrt((((image - mean) ** 2) * weight).sum((0, 1)) + 1e-6)
    aim = np.sqrt((((goal - wanted) ** 2) * weight).sum((0, 1)) + 1e-6)
    scale = (aim / deviation).clip(0.6, 1.6) ** np.float32(spread * strength)
    return ((image - mean) * scale + mean + (wanted - mean) * np.float32(strength)).astype(np.float32)


def diffuse(image: FloatArray, strength: float) -> FloatArray:
    """Edge-preserving smoothing: texture and noise go, contours stay, as after a denoising generator."""
    smooth = image
    for _ in range(2):
        smooth = cv2.bilateralFilter(smooth, 5, 0.09, 1.6 * image.shape[0] / 128)
    return image + (smooth - image) * np.float32(strength)
