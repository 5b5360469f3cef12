"""Self-blended images (SBI): a real face blended with a slightly changed copy of itself becomes a fake.

Shiohara, Yamasaki: "Detecting Deepfakes with Self-Blended Images", CVPR 2022, arXiv 2204.08376, section 3: a
source-target generator (colour and frequency changes of one copy, a small shift and resize of the source), a mask
generator (landmark hull, elastic deformation, two blurs) and a blending ratio. Written from the paper's description;
the unit of its limits for hue, saturation and value is not known, so those are this project's choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from benchmark.config import PluginSpec
from benchmark.data.augmentation import build_following, check_forged_share, check_probabilities, check_ranges
from benchmark.data.sample import Augmentation, Forger, RawSample
from benchmark.errors import ConfigError, DataError
from benchmark.registry import AUGMENTATIONS

_STREAM = 0x5B1  # keeps these draws apart from those of the augmentation that follows
_MASK_SIDES = (192, 256)
_ELASTIC_SIDE, _ELASTIC_ALPHA, _ELASTIC_SIGMA = 256, 50.0, 7.0
_DOWNSCALE_SIDE = 256
_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)  # the paper's: half of the images are blended in full
_JAW, _BROWS, _EYES = slice(0, 17), slice(17, 27), slice(36, 48)
_SIXTY_EIGHT_PROB = 0.25  # how often the forehead points of an 81-point layout are left out


def hull_mask(landmarks: np.ndarray, kind: str, height: int, width: int) -> np.ndarray:
    """A filled region of the face.

    Args:
        landmarks: (68 or 81, 2) in pixels, iBUG order.
        kind: ``face`` (hull of all points), ``extended`` (brows lifted onto the forehead), ``components`` (union of
            the hulls of both sides, nose and mouth), ``inner`` (brows, eyes, nose and mouth without the jaw).
        height: of the image.
        width: of the image.

    Returns:
        (height, width) float32, 0 or 1.
    """
    mask = np.zeros((height, width), np.float32)
    for points in _HULLS[kind](landmarks):
        outline = cv2.convexHull(np.round(points).astype(np.int32).reshape(-1, 1, 2))
        cv2.fillConvexPoly(mask, outline, 1.0)
    return mask


def _extended(points: np.ndarray) -> list[np.ndarray]:
    lift = points[_BROWS].mean(axis=0) - points[_EYES].mean(axis=0)
    return [np.concatenate([points, points[_BROWS] + 0.75 * lift])]


def _components(points: np.ndarray) -> list[np.ndarray]:
    right = points[[*range(9), *range(17, 22), *range(27, 31), *range(36, 42)]]
    left = points[[*range(8, 17), *range(22, 27), *range(27, 31), *range(42, 48)]]
    nose = points[[21, 22, *range(27, 36)]]
    mouth = points[[*range(31, 36), *range(48, 60), *range(5, 12)]]
    return [right, left, nose, mouth]


_HULLS = {
    "face": lambda points: [points],
    "extended": _extended,
    "components": _components,
    "inner": lambda points: [points[17:68]],
}


@dataclass(frozen=True)
class SourceChange:
    """Limits of what tells source and target apart, besides their place.

    Attributes:
        rgb_shift: largest shift of a colour channel in grey levels.
        hsv_shift: largest shift of hue (of half a turn), saturation and value (of the full scale).
        contrast: largest change of brightness (of the full scale) and of contrast (around 1).
        probability: how often each of these three happens.
        downscale: factors by which the copy is made coarser; sharpening is drawn as often as all of them together.
        shift: largest shift of the source as parts of width and height.
        scale: smallest scale of the source; the largest is its inverse.
    """

    rgb_shift: float
    hsv_shift: float
    contrast: float
    probability: float
    downscale: tuple[int, ...]
    shift: tuple[float, float]
    scale: float

    def recolour(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 with colour shifts, then made coarser or sharpened."""
        chosen = rng.random(3) < self.probability
        rgb, hsv = rng.uniform(-self.rgb_shift, self.rgb_shift, 3), rng.uniform(-self.hsv_shift, self.hsv_shift, 3)
        brightness, contrast = rng.uniform(-self.contrast, self.contrast, 2)
        if chosen[0]:
            image = _levels(image + rgb)
        if chosen[1]:
            image = _shift_hsv(image, hsv)
        if chosen[2]:
            image = _levels(image * (1 + contrast) + 255 * brightness)
        factor, strength = int(rng.choice(self.downscale)), rng.uniform(0.2, 0.5)
        return _coarser(image, factor) if rng.random() < 0.5 else _sharper(image, strength)

    def matrix(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """(2, 3) resize about the centre and shift."""
        scale = rng.uniform(self.scale, 1 / self.scale)
        x, y = rng.uniform(-1, 1, 2) * self.shift * np.array([width, height])
        centre = np.array([width - 1, height - 1]) / 2
        return np.array([[scale, 0, (1 - scale) * centre[0] + x], [0, scale, (1 - scale) * centre[1] + y]])


def self_blend(
    image: np.ndarray, landmarks: np.ndarray, change: SourceChange, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One self-blended image: source * M + target * (1 - M).

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68 or 81, 2) in pixels of the image.
        change: limits of the differences between source and target.
        rng: source of random numbers; equal states give equal decisions.

    Returns:
        (H, W, 3) uint8, and the mask M (H, W) float32 in [0, 1].
    """
    height, width = image.shape[:2]
    points = landmarks[:68] if rng.random() < _SIXTY_EIGHT_PROB else landmarks
    mask = hull_mask(points, str(rng.choice(list(_HULLS))), height, width)
    changed = change.recolour(image, rng)
    source, target = (changed, image) if rng.random() < 0.5 else (image, changed)
    matrix = change.matrix(height, width, rng)
    source = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    mask = cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_LINEAR)
    mask = _soften(_deform(mask, rng), rng) * np.float32(rng.choice(_RATIOS))
    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    blended = mask[..., None] * source + (1 - mask[..., None]) * target
    return _levels(blended), mask


def _deform(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(256, 256) elastic deformation of a mask."""
    side = _ELASTIC_SIDE
    mask = cv2.resize(mask, (side, side), interpolation=cv2.INTER_LINEAR)
    noise = rng.uniform(-1, 1, (side, side, 2)).astype(np.float32)
    offsets = cv2.GaussianBlur(noise, (0, 0), _ELASTIC_SIGMA) * _ELASTIC_ALPHA
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    return cv2.remap(mask, columns + offsets[..., 0], rows + offsets[..., 1], cv2.INTER_LINEAR)


def _soften(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, keep what stayed full, blur again: the edge moves inwards or outwards, whichever kernel is larger."""
    side = int(rng.integers(_MASK_SIDES[0], _MASK_SIDES[1] + 1))
    first, second = (2 * int(rng.integers(2, 13)) + 1 for _ in range(2))  # odd, 5 to 25
    sigma = float(rng.uniform(5, 45))
    mask = cv2.GaussianBlur(cv2.resize(mask, (side, side)), (first, first), 0)
    full = (mask >= max(float(mask.max()), 0.01) - 1e-3).astype(np.float32)
    mask = cv2.GaussianBlur(full, (second, second), sigma)
    return mask / max(float(mask.max()), 1e-6)


def _levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _shift_hsv(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv += (shift * (90, 255, 255)).astype(np.float32)
    hsv[..., 0] %= 180
    return cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB)


def _coarser(image: np.ndarray, factor: int) -> np.ndarray:
    """Nearest-neighbour reduction and back; a crop below 256 pixels, with less to lose, is reduced by less."""
    height, width = image.shape[:2]
    reduced = max(factor * min(max(height, width) / _DOWNSCALE_SIDE, 1.0), 1.0)
    size = (max(round(width / reduced), 1), max(round(height / reduced), 1))
    small = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _sharper(image: np.ndarray, strength: float) -> np.ndarray:
    """Blend with the image after a 3 x 3 Laplacian sharpening."""
    kernel = np.array([[-1, -1, -1], [-1, 9, -1], [-1, -1, -1]], np.float32)
    kernel = strength * kernel
    kernel[1, 1] += 1 - strength
    return cv2.filter2D(image, -1, kernel)


@dataclass(frozen=True)
class SelfBlend(Forger):
    """See :func:`sbi`."""

    needs: ClassVar[frozenset[str]] = frozenset({"landmarks"})
    change: SourceChange
    then: Augmentation
    forged_share: float

    def __call__(self, sample: RawSample, seed: int) -> RawSample:
        """A sample of the data, augmented."""
        return self.then(sample, seed)

    def forge(self, sample: RawSample, seed: int) -> RawSample:
        """The self-blended twin of a real sample; one set of decisions for all frames of a clip.

        Raises:
            DataError: landmarks without the 68 points of iBUG's order.
        """
        landmarks = sample.landmarks or []
        if len(landmarks) != len(sample.images) or any(len(points) not in (68, 81) for points in landmarks):
            raise DataError("Self-blending needs 68 or 81 landmarks (iBUG order) on every frame.")
        pairs = [
            self_blend(image, points, self.change, np.random.default_rng((seed, _STREAM)))
            for image, points in zip(sample.images, landmarks, strict=True)
        ]
        masks = None if sample.masks is None else [(mask > 0).astype(np.uint8) * 255 for _, mask in pairs]
        return self.then(replace(sample, images=[image for image, _ in pairs], label=1, masks=masks), seed)


@AUGMENTATIONS.register("sbi")
def sbi(
    size: int,
    mean: Sequence[float],
    *,
    then: PluginSpec = PluginSpec(name="none"),  # noqa: B008 - frozen
    forged_share: float = 1.0,
    rgb_shift: float = 20.0,
    hsv_shift: float = 0.1,
    contrast: float = 0.1,
    change_prob: float = 0.3,
    downscale: tuple[int, ...] = (2, 4),
    shift: tuple[float, float] = (0.03, 0.015),
    scale: float = 0.95,
) -> Augmentation:
    """Self-blended images (SBI, CVPR 2022): real faces blended with themselves become the fakes; needs landmarks.

    Args:
        size: side of the resulting images in pixels.
        mean: handed to ``then``.
        then: augmentation of the real image and of its blended twin, with the same parameters; it resizes.
        forged_share: share of blended images among the fakes of a batch; 1 trains on real images only, as published.
        rgb_shift: largest shift of a colour channel of source or target, in grey levels.
        hsv_shift: largest shift of hue (of half a turn), saturation and value (of the full scale).
        contrast: largest change of brightness (of the full scale) and of contrast.
        change_prob: how often each of these three happens.
        downscale: factors by which source or target is made coarser, when it is not sharpened; for crops from 256
            pixels on, smaller ones are made coarser by proportionally less.
        shift: largest shift of the source as parts of its width and height.
        scale: smallest scale of the source; the largest is its inverse.
    """
    check_forged_share(forged_share)
    check_probabilities(change_prob=change_prob, hsv_shift=hsv_shift, contrast=contrast)
    check_ranges(0, 0.5, shift=(min(shift), max(shift)))
    if not 0.5 <= scale <= 1 or not downscale or min(downscale) < 1 or not 0 <= rgb_shift <= 255:
        raise ConfigError(
            f"sbi: scale ({scale}) is from 0.5 to 1, downscale ({list(downscale)}) holds factors from 1 on, and "
            f"rgb_shift ({rgb_shift}) is from 0 to 255."
        )
    change = SourceChange(rgb_shift, hsv_shift, contrast, change_prob, downscale, shift, scale)
    return SelfBlend(change, build_following(then, size, mean), forged_share)
