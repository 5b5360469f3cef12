"""What travels between the store, an augmentation and the collate step, before it becomes tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

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


class Forger(ABC):
    """An augmentation that, besides augmenting, makes fakes out of real samples (self-blending).

    The data set lists every real sample twice, as itself and as a forged twin with label 1. Both are read alike and
    get the same seed, so that nothing but the forgery tells them apart, and a batch holds them side by side.

    Attributes:
        needs: parts of a real sample that forging reads, out of parsing, mask, landmarks.
        forged_share: share of forged ones among the fakes of a batch; at 1 the fakes of the data are left out.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    forged_share: float

    @abstractmethod
    def __call__(self, sample: RawSample, seed: int) -> RawSample:
        """A sample of the data, real or fake, augmented. Real ones come with the parts in ``needs``."""

    @abstractmethod
    def forge(self, sample: RawSample, seed: int) -> RawSample:
        """The forged twin of a real sample: label 1, augmented as the real one is under the same seed."""
