"""Corruptions for robustness tests: applied to decoded frames in evaluation, before the resize to the input size.

Seven kinds at five levels. The strengths of colour, contrast, block-wise, noise, blur and resize follow the
perturbations of DeeperForensics-1.0 (Jiang et al., CVPR 2020), which LipForensics (Haliassos et al., CVPR 2021) and
others report on; lengths are given for a face crop of 256 pixels and scale with the crop. JPEG qualities are ours
(their "JPEG" is a change of resolution, ``resize`` here).

A corrupted frame depends on its key, the kind and the level only: not on order, batch, process or seed of a run.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.data.sample import RawSample
from benchmark.errors import DataError, did_you_mean

LEVELS = (1, 2, 3, 4, 5)
_SIDE = 256  # crop side that lengths are given for
_BLOCK = 8
_BLOCK_GREY = 136

STRENGTHS: dict[str, tuple[float, ...]] = {
    "jpeg": (80, 60, 40, 20, 10),  # quality
    "blur": (7, 9, 13, 17, 21),  # Gaussian kernel size
    "noise": (0.001, 0.002, 0.005, 0.01, 0.05),  # variance on the 0-1 scale
    "resize": (2, 3, 4, 5, 6),  # divisor of the side, then back
    "saturation": (0.4, 0.3, 0.2, 0.1, 0.0),  # colour that is left
    "contrast": (0.85, 0.725, 0.6, 0.475, 0.35),  # contrast that is left
    "blocks": (16, 32, 48, 64, 80),  # grey squares of 8 pixels
}
KINDS = tuple(STRENGTHS)


@dataclass(frozen=True)
class Corruption:
    """One condition.

    Attributes:
        kind: one of ``KINDS``.
        level: 1 (weak) to 5.
    """

    kind: str
    level: int

    @classmethod
    def parse(cls, text: str) -> Corruption:
        """From ``KIND-LEVEL``; see ``check_corruption``."""
        check_corruption(text, text)
        kind, _, level = text.partition("-")
        return cls(kind, int(level))

    @property
    def strength(self) -> float:
        """The level's parameter, see ``STRENGTHS``."""
        return STRENGTHS[self.kind][self.level - 1]

    def __call__(self, frame: np.ndarray, seed: int) -> np.ndarray:
        """A corrupted copy.

        Args:
            frame: (H, W, 3) uint8 RGB.
            seed: of noise and block positions.
        """
        return _FUNCTIONS[self.kind](frame, self.strength, np.random.default_rng(seed))


def check_corruption(text: str, word: str) -> None:
    """Raise DataError unless ``text`` is ``KIND-LEVEL`` with a known kind and level.

    Args:
        text: the part of a dataset word after ``~``.
        word: the whole word, for the message.
    """
    kind, _, level = text.partition("-")
    if kind not in KINDS:
        raise DataError(
            f"'{word}': corruption '{kind}' is not known.{did_you_mean(kind, KINDS)} Known: {', '.join(KINDS)}."
        )
    if level not in {str(number) for number in LEVELS}:
        raise DataError(f"'{word}': corruption level '{level}' is not 1 to 5; write for example ~{kind}-3.")


def corrupt_sample(sample: RawSample, corruption: Corruption, keys: Sequence[str]) -> RawSample:
    """A frame or clip with every image corrupted; maps and landmarks stay.

    Args:
        sample: as read.
        corruption: the condition.
        keys: (T,) key of every image, the only source of randomness.
    """
    images = [
        corruption(image, zlib.crc32(f"{corruption.kind}-{corruption.level}|{key}".encode()))
        for image, key in zip(sample.images, keys, strict=True)
    ]
    return replace(sample, images=images)


def _jpeg(frame: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    import cv2

    bgr = np.ascontiguousarray(frame[..., ::-1])
    encoded = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, int(quality)))[1]
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])


def _blur(frame: np.ndarray, kernel: float, rng: np.random.Generator) -> np.ndarray:
    import cv2

    sigma = (0.3 * ((kernel - 1) / 2 - 1) + 0.8) * min(frame.shape[:2]) / _SIDE  # OpenCV's sigma of a kernel size
    return cv2.GaussianBlur(frame, (0, 0), sigma)


def _noise(frame: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    noisy = frame / 255.0 + rng.normal(0.0, np.sqrt(variance), frame.shape)
    return _to_uint8(255.0 * noisy)


def _resize(frame: np.ndarray, divisor: float, rng: np.random.Generator) -> np.ndarray:
    import cv2

    height, width = frame.shape[:2]
    small = cv2.resize(
        frame, (max(1, int(width / divisor)), max(1, int(height / divisor))), interpolation=cv2.INTER_AREA
    )
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def _saturation(frame: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    import cv2

    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float64)
    return _to_uint8(grey + share * (frame - grey))


def _contrast(frame: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return _to_uint8(share * frame.astype(np.float64))


def _blocks(frame: np.ndarray, count: float, rng: np.random.Generator) -> np.ndarray:
    height, width = frame.shape[:2]
    side = max(1, round(_BLOCK * min(height, width) / _SIDE))
    result = frame.copy()
    tops, lefts = rng.integers(0, height - side + 1, int(count)), rng.integers(0, width - side + 1, int(count))
    for top, left in zip(tops, lefts, strict=True):
        result[top : top + side, left : left + side] = _BLOCK_GREY
    return result


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


_FUNCTIONS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "jpeg": _jpeg,
    "blur": _blur,
    "noise": _noise,
    "resize": _resize,
    "saturation": _saturation,
    "contrast": _contrast,
    "blocks": _blocks,
}
