"""Video-level blending (VB): real clips whose facial organs drift a little from frame to frame, as in forged videos.

"Generalizing Deepfake Video Detection with Plug-and-Play: Video-Level Blending and Spatiotemporal Adapter Tuning",
CVPR 2025, arXiv 2408.17065. Each frame is blended with four slightly moved copies of itself, one for each of eyes,
nose, mouth and brows. The published staging code has faults that are left out here and can be had by name
(``faithful``): it sorts the frames of a clip by name as text, so that from six frames on real and blended frames
change places; it feeds BGR where RGB is meant; and it does not resize the landmarks with the frame.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import cv2
import numpy as np

from benchmark.config import PluginSpec
from benchmark.data.augmentation import build_following, check_forged_share, check_probabilities, check_ranges
from benchmark.data.sample import Augmentation, Forger, RawSample
from benchmark.data.transforms import check_policy, resize_sample
from benchmark.errors import DataError
from benchmark.registry import AUGMENTATIONS

Part = Literal["eyes", "nose", "mouth", "brows"]
Fault = Literal["string_order", "bgr", "unscaled_landmarks"]
PARTS: tuple[Part, ...] = ("eyes", "nose", "mouth", "brows")
_LEFT_EYE, _RIGHT_EYE = tuple(range(42, 48)), tuple(range(36, 42))
_LEFT_BROW, _RIGHT_BROW = tuple(range(22, 27)), tuple(range(17, 22))
_BRIDGE, _NOSTRILS = (27, 28, 29, 30, 33), tuple(range(31, 36))
_MOUTH = tuple(range(48, 60))
_INNER_FACE = slice(17, 68)  # brows, eyes, nose, mouth: what is moved; the jaw stays
_REFERENCE_SIDE = 224  # the published resolution, for which translations in pixels are given
_STREAM = 0x5B  # keeps these draws apart from those of the augmentation that follows


@dataclass(frozen=True)
class Motion:
    """Ranges that one frame's movements are drawn from.

    Attributes:
        degrees: largest rotation, itself drawn for every frame from this range.
        scaling: largest change of scale around 1, likewise.
        translation: largest shift in pixels of a 224-pixel frame, likewise.
    """

    degrees: tuple[float, float] = (1.0, 5.0)
    scaling: tuple[float, float] = (0.01, 0.05)
    translation: tuple[float, float] = (0.5, 2.5)

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Movements of the four parts of one frame.

        Args:
            rng: source of random numbers.
            size: side of the frame in pixels.

        Returns:
            (4, 4) float64: angle in degrees, scale, and shift (x, y) in pixels, for each of ``PARTS``.
        """
        angle, scale, shift = (rng.uniform(*limits) for limits in (self.degrees, self.scaling, self.translation))
        shift *= size / _REFERENCE_SIDE
        low = (-angle, 1 - scale, -shift, -shift)
        return rng.uniform(low, (angle, 1 + scale, shift, shift), size=(len(PARTS), 4))


def part_masks(landmarks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Soft bands around the outlines of eyes, nose, mouth and brows, made not to overlap by priority.

    Args:
        landmarks: (68 or more, 2) x and y in pixels, iBUG order.
        height: of the frame.
        width: of the frame.

    Returns:
        (4, height, width) float32 in [0, 1], in the order of ``PARTS``.
    """
    band = functools.partial(_band, landmarks, height, width, fall=width // 32)
    thick = max(width // 64, 1)
    eyes = band([(_LEFT_EYE, True), (_RIGHT_EYE, True)], thickness=thick)
    mouth = band([(_MOUTH, True)], thickness=thick)
    brows = band([(_LEFT_BROW, False), (_RIGHT_BROW, False)], thickness=max(width // 256, 1))
    nose = _nose(landmarks, height, width)
    eyes *= 1 - mouth
    nose *= 1 - eyes
    mouth *= 1 - nose
    brows *= (1 - nose) * (1 - eyes)
    return np.stack([eyes, nose, mouth, brows])


def drift_matrix(landmarks: np.ndarray, movement: np.ndarray) -> np.ndarray:
    """The matrix that carries a part back from where a movement would take it.

    Args:
        landmarks: (68 or more, 2).
        movement: (4,) angle in degrees, scale, shift x, shift y; about the centroid of brows, eyes, nose and mouth.

    Returns:
        (2, 3) float64 from input to output pixels: the inverse of the movement.
    """
    angle, scale, *shift = (float(value) for value in movement)
    x, y = (float(value) for value in landmarks[_INNER_FACE].mean(axis=0))
    matrix = np.asarray(cv2.getRotationMatrix2D((x, y), angle, scale), np.float64)
    matrix[:, 2] += shift
    return np.asarray(cv2.invertAffineTransform(matrix), np.float64)


def blend_frame(
    image: np.ndarray,
    landmarks: np.ndarray,
    movements: np.ndarray,
    alpha: float = 0.25,
    parts: Sequence[Part] = PARTS,
) -> tuple[np.ndarray, np.ndarray]:
    """One frame with its facial organs moved: floor(I + alpha * sum over parts of m * (moved(I) - I)).

    Args:
        image: (H, W, 3) uint8.
        landmarks: (68 or more, 2) in pixels of the image.
        movements: (4, 4) see ``Motion.draw``.
        alpha: strength of the moved copy inside a mask; the published code's average of four images makes it 0.25.
        parts: parts that are moved.

    Returns:
        The blended frame (H, W, 3) uint8, and (H, W) uint8 that is 255 where it may differ from the image.
    """
    height, width = image.shape[:2]
    total = np.zeros(image.shape, np.float32)
    touched = np.zeros((height, width), bool)
    masks = part_masks(landmarks, height, width)
    for name, mask, movement in zip(PARTS, masks, movements, strict=True):
        if name in parts:
            moved = cv2.warpAffine(image, drift_matrix(landmarks, movement), (width, height), flags=cv2.INTER_LINEAR)
            total += mask[..., None] * cv2.subtract(moved, image, dtype=cv2.CV_32F)
            touched |= mask > 0
    blended = np.clip(np.floor(image + alpha * total), 0, 255).astype(np.uint8)
    return blended, touched.astype(np.uint8) * 255


Outline = tuple[Sequence[int], bool]


def _band(
    landmarks: np.ndarray, height: int, width: int, outlines: Sequence[Outline], *, fall: float, thickness: float
) -> np.ndarray:
    """1 within ``thickness`` of the outlines (landmark indices, closed or not), falling to 0 over ``fall`` pixels."""
    mask = np.zeros((height, width), np.float32)
    for indices, is_closed in outlines:  # two outlines of one part: the nearer one counts
        window = _window(landmarks, indices, height, width, thickness + fall)
        distance = _distance(landmarks, indices, is_closed, window)
        inside = mask[window]
        np.maximum(inside, 1 - np.clip((distance - thickness) / max(fall, 1), 0, 1), out=inside)
    return mask


def _nose(landmarks: np.ndarray, height: int, width: int) -> np.ndarray:
    """The nose's band: bridge and nostrils joined by a smooth minimum of their distances."""
    fall, thickness = width / 12, max(width // 96, 1)
    smooth = 3 * thickness
    mask = np.zeros((height, width), np.float32)
    window = _window(landmarks, (*_BRIDGE, *_NOSTRILS), height, width, 2 * thickness + smooth + fall)
    bridge = _distance(landmarks, _BRIDGE, False, window) - thickness
    nostrils = _distance(landmarks, _NOSTRILS, False, window) - thickness
    share = np.clip(0.5 + 0.5 * (nostrils - bridge) / smooth, 0, 1)
    nearest = (bridge - nostrils) * share + nostrils - smooth * share * (1 - share)
    mask[window] = 1 - np.clip(nearest / fall, 0, 1)
    return mask


def _window(
    landmarks: np.ndarray, indices: Sequence[int], height: int, width: int, reach: float
) -> tuple[slice, slice]:
    """The part of the frame within ``reach`` pixels of some landmarks; empty when that is outside the frame."""
    points = landmarks[list(indices)]
    limit = np.array([width, height])
    left, top = np.clip(np.floor(points.min(axis=0) - reach), 0, limit).astype(int)
    right, bottom = np.clip(np.ceil(points.max(axis=0) + reach) + 1, 0, limit).astype(int)
    return slice(top, bottom), slice(left, right)


def _distance(
    landmarks: np.ndarray, indices: Sequence[int], is_closed: bool, window: tuple[slice, slice]
) -> np.ndarray:
    """(h, w) float32 distance of every pixel of a window to the nearest segment of a polyline."""
    starts = landmarks[list(indices)].astype(np.float32)
    ends = np.roll(starts, -1, axis=0)
    if not is_closed:
        starts, ends = starts[:-1], ends[:-1]
    rows, columns = window
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :]
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    nearest = np.full((y.size, x.size), np.inf, np.float32)
    for (left, top), (dx, dy) in zip(starts, ends - starts, strict=True):
        length = max(float(dx * dx + dy * dy), 1e-12)
        along = np.clip(((x - left) * dx + (y - top) * dy) / length, 0, 1)
        np.minimum(nearest, (x - left - along * dx) ** 2 + (y - top - along * dy) ** 2, out=nearest)
    return np.sqrt(nearest)


def string_order(length: int) -> list[int]:
    """Where the staging code puts the ``length`` real and ``length`` blended frames of a clip.

    It names them image, image1, image2, ... and sorts the names as text: image10 comes before image2.

    Returns:
        Positions 0 to 2 * length - 1 (real frames first) in the order of their names.
    """
    return sorted(range(2 * length), key=lambda position: f"image{position or ''}")


@dataclass(frozen=True)
class VideoBlend(Forger):
    """See :func:`video_blend`."""

    needs: ClassVar[frozenset[str]] = frozenset({"landmarks"})
    size: int
    resize: str
    motion: Motion
    alpha: float
    parts: tuple[Part, ...]
    over_time: Literal["independent", "shared"]
    faithful: frozenset[Fault]
    then: Augmentation
    forged_share: float

    def __call__(self, sample: RawSample, seed: int) -> RawSample:
        """A sample of the data at (size, size), augmented."""
        if "string_order" in self.faithful and sample.label == 0:
            return self._finish(self._mixed_up(sample, seed)[0], seed)
        return self._finish(self._resized(sample), seed)

    def forge(self, sample: RawSample, seed: int) -> RawSample:
        """The blended twin of a real sample, augmented as the real one is."""
        if "string_order" in self.faithful:
            return self._finish(self._mixed_up(sample, seed)[1], seed)
        return self._finish(self.blend(sample, seed), seed)

    def blend(self, sample: RawSample, seed: int) -> RawSample:
        """The blended clip before augmentation; its masks, if it has any, become the touched pixels.

        Raises:
            DataError: landmarks without the 68 points of iBUG's order.
        """
        resized = self._resized(sample)
        rng = np.random.default_rng((seed, _STREAM))
        landmarks = self._landmarks(sample, resized)
        shared = self.motion.draw(rng, self.size)
        images, touched = [], []
        for image, points in zip(resized.images, landmarks, strict=True):
            movements = shared if self.over_time == "shared" else self.motion.draw(rng, self.size)
            blended, mask = blend_frame(image, points, movements, self.alpha, self.parts)
            images.append(blended)
            touched.append(mask)
        return replace(resized, images=images, label=1, masks=None if resized.masks is None else touched)

    def _landmarks(self, sample: RawSample, resized: RawSample) -> list[np.ndarray]:
        landmarks = (sample if "unscaled_landmarks" in self.faithful else resized).landmarks
        if landmarks is None or any(len(points) not in (68, 81) for points in landmarks):
            found = "none" if landmarks is None else ", ".join(str(len(points)) for points in landmarks)
            raise DataError(f"Blending needs 68 or 81 landmarks (iBUG order) on every frame; there are {found}.")
        return landmarks

    def _mixed_up(self, sample: RawSample, seed: int) -> tuple[RawSample, RawSample]:
        """The "real" and the "fake" clip of the staging code, frames sorted by name as text."""
        blended, length = self.blend(sample, seed), len(sample.images)
        frames = [*self._resized(sample).images, *blended.images]
        images = [frames[position] for position in string_order(length)]
        return replace(blended, images=images[:length], label=0), replace(blended, images=images[length:])

    def _resized(self, sample: RawSample) -> RawSample:
        return resize_sample(sample, self.size, self.size, self.resize)

    def _finish(self, sample: RawSample, seed: int) -> RawSample:
        if "bgr" in self.faithful:
            sample = replace(sample, images=[np.ascontiguousarray(image[..., ::-1]) for image in sample.images])
        return self.then(sample, seed)


@AUGMENTATIONS.register("video_blend")
def video_blend(
    size: int,
    mean: Sequence[float],
    *,
    then: PluginSpec = PluginSpec(name="none"),  # noqa: B008 - frozen
    forged_share: float = 0.5,
    alpha: float = 0.25,
    parts: tuple[Part, ...] = PARTS,
    over_time: Literal["independent", "shared"] = "independent",
    degrees: tuple[float, float] = (1.0, 5.0),
    scaling: tuple[float, float] = (0.01, 0.05),
    translation: tuple[float, float] = (0.5, 2.5),
    faithful: tuple[Fault, ...] = (),
    resize: str = "cv2_cubic",
) -> Augmentation:
    """Video-level blending: real clips with drifting facial organs become fakes; needs landmarks.

    Args:
        size: side of the resulting images in pixels.
        mean: handed to ``then``.
        then: augmentation of the real clip and of its blended twin, with the same parameters.
        forged_share: share of blended clips among the fakes of a batch; 1 leaves out the fakes of the data.
        alpha: strength inside a mask; 0.25 is what the published averaging of four images amounts to.
        parts: what is moved, out of eyes, nose, mouth, brows.
        over_time: independent moves every frame on its own (drift); shared moves all frames of a clip alike, which
            leaves spatial blending only (ablation).
        degrees: range that a frame's largest rotation is drawn from.
        scaling: range that its largest change of scale is drawn from.
        translation: range that its largest shift is drawn from, in pixels of a 224-pixel image.
        faithful: faults of the published staging code to reproduce: string_order (frames of real and blended clip
            sorted by name as text), bgr (training frames in BGR), unscaled_landmarks (not resized with the image).
        resize: library and filter of the resize that comes first.
    """
    check_policy(resize)
    check_forged_share(forged_share)
    check_probabilities(alpha=alpha)
    check_ranges(0, 180, degrees=degrees)
    check_ranges(0, 0.5, scaling=scaling)
    check_ranges(0, size, translation=translation)
    motion = Motion(degrees, scaling, translation)
    return VideoBlend(
        size, resize, motion, alpha, parts, over_time, frozenset(faithful), build_following(then, size, mean),
        forged_share,
    )  # fmt: skip
