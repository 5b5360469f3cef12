"""Random fields: the raw material of skin, hair, cloth, backgrounds and smooth motion."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def smooth_field(rng: np.random.Generator, height: int, width: int, cells: float) -> FloatArray:
    """Gaussian noise with about `cells` independent values along the longer side.

    Returns:
        (height, width) float32 of mean about 0 and standard deviation about 1.
    """
    longer = max(height, width)
    rows = max(2, round(cells * height / longer) + 1)
    columns = max(2, round(cells * width / longer) + 1)
    grid = rng.standard_normal((rows, columns)).astype(np.float32)
    if rows >= height and columns >= width:
        return grid[:height, :width]
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(1.35)


def fractal(
    rng: np.random.Generator, height: int, width: int, cells: float, octaves: int, persistence: float = 0.55
) -> FloatArray:
    """Sum of `octaves` smooth fields, each twice as fine as the one before; standard deviation 1."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        total += smooth_field(rng, height, width, cells * 2.0**octave) * np.float32(persistence**octave)
    return (total - total.mean()) / np.float32(total.std() + 1e-6)


def blur(image: FloatArray, sigma: float) -> FloatArray:
    """Gaussian blur; a `sigma` (pixels) below 0.15 returns the image unchanged."""
    if sigma < 0.15:
        return image
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101).astype(np.float32, copy=False)


def wave(rng: np.random.Generator, seconds: NDArray[np.float64], period: tuple[float, float]) -> NDArray[np.float64]:
    """Smooth random signal in about [-1, 1] at the given times, from three sines of random period and phase.

    Args:
        seconds: (T,) times in seconds.
        period: shortest and longest period in seconds.
    """
    periods = rng.uniform(*period, 3)
    phases = rng.uniform(0, 2 * np.pi, 3)
    weights = rng.dirichlet(np.full(3, 2.0))
    return np.sin(2 * np.pi * seconds[:, None] / periods + phases) @ weights


def mix(low: FloatArray, high: FloatArray | NDArray[np.float32], weight: FloatArray) -> FloatArray:
    """Blend two (H, W, C) images with an (H, W) weight in [0, 1] (0 gives `low`)."""
    return low + (high - low) * weight[..., None]
