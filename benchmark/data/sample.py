"""What travels between the store, an augmentation and the collate step, before it becomes tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(slots=True)
class RawSample:
    """One frame or one clip, decoded.

    Attributes:
        images: T arrays (H, W, 3) uint8 RGB; T is 1 for a frame sample.
        label: 0 real, 1 fake. An augmentation that makes forgeries (self-blending) sets it to 1.
        parsing: T maps (H, W) uint8 of LaPa class ids 0-10, or None.
        masks: T maps (H, W) uint8, 255 where manipulated, or None.
        landmarks: T arrays (P, 2) float32, x and y in pixels of ``images``, or None.
        erase: boxes (x, y, width, height) in pixels of the final image that the device fills with N(0, 1) noise
            after normalisation (random erasing, mode "pixel"); the same boxes for all frames of a clip.
    """

    images: list[np.ndarray]
    label: int
    parsing: list[np.ndarray] | None = None
    masks: list[np.ndarray] | None = None
    landmarks: list[np.ndarray] | None = None
    erase: list[tuple[int, int, int, int]] = field(default_factory=list)


# An augmentation maps (sample, seed) to a sample whose images are (size, size, 3); the same parameters serve all
# frames of a clip, maps and landmarks follow the geometry, and the result depends on its two arguments only.
Augmentation = Callable[[RawSample, int], RawSample]
