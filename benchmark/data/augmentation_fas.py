"""The augmentation of FSFM's face anti-spoofing experiments: random saturation and flip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from benchmark.data.sample import Augmentation, RawSample
from benchmark.data.transforms import check_policy, flip_sample, resize_sample
from benchmark.registry import AUGMENTATIONS


def scale_saturation(image: np.ndarray, factor: float, overflow: Literal["clip", "wrap"] = "clip") -> np.ndarray:
    """Multiply the saturation in HSV space, on float pixels of 0-255, and truncate to bytes.

    Args:
        image: (H, W, 3) uint8 RGB.
        factor: multiplier of S; above 1 it can leave the cube and make RGB values negative.
        overflow: clip to 0-255, or wrap around as the published code does (-3 becomes 253).

    Returns:
        (H, W, 3) uint8; even factor 1 lowers about a quarter of the values by one (truncation).
    """
    hsv = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV)
    hsv[..., 1] *= factor
    rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if overflow == "clip":
        return np.clip(rgb, 0, 255).astype(np.uint8)
    return rgb.astype(np.int32).astype(np.uint8)


@dataclass(frozen=True)
class FASAugmentation:
    """See ``fas``."""

    size: int
    resize: str
    saturation_prob: float
    saturation: tuple[float, float]
    flip_prob: float
    overflow: Literal["clip", "wrap"]

    def __call__(self, sample: RawSample, seed: int) -> RawSample:
        """The augmented sample at (size, size)."""
        rng = np.random.default_rng(seed)
        factor = rng.uniform(*self.saturation) if rng.random() < self.saturation_prob else 1.0
        images = [scale_saturation(image, factor, self.overflow) for image in sample.images]
        resized = resize_sample(replace(sample, images=images), self.size, self.size, self.resize)
        return flip_sample(resized) if rng.random() < self.flip_prob else resized


@AUGMENTATIONS.register("fas")
def fas(
    size: int,
    mean: Sequence[float],
    *,
    saturation_prob: float = 0.5,
    saturation: tuple[float, float] = (0.8, 1.2),
    flip_prob: float = 0.5,
    overflow: Literal["clip", "wrap"] = "clip",
    resize: str = "pil_bicubic",
) -> Augmentation:
    """FSFM face anti-spoofing: HSV round trip with random saturation, resize, flip.

    Args:
        size: side of the result in pixels.
        mean: unused.
        saturation_prob: how often the saturation is scaled; the HSV round trip always happens.
        saturation: range of the factor.
        flip_prob: how often the sample is mirrored.
        overflow: what happens to values outside 0-255: clip, or wrap as published.
        resize: library and filter.
    """
    check_policy(resize)
    return FASAugmentation(size, resize, saturation_prob, saturation, flip_prob, overflow)
