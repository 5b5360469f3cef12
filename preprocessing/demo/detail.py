"""Fine detail of forged faces: how much of it there is, and what it looks like.

Forgers add grain so that the new face is as crisp as its surroundings. Here in every cell of the spectrum the forged
region gets the energy that the captured region had, so that global statistics hardly change; but the *structure* of
the detail is a generator's (repeated tiles, blocks, checkerboard), not a sensor's.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from preprocessing.demo.noise import FloatArray, blur

_NUM_RINGS, _NUM_SECTORS = 16, 4
_FIRST_FILLED_RING = 4
_MAX_GRAIN = np.float32(0.3)


@lru_cache(maxsize=8)
def _cells(size: int) -> NDArray[np.intp]:
    """(size, size // 2 + 1) cell of every frequency of `rfft2`: ring by radius, sector by direction."""
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    ring = np.minimum((np.hypot(rows, columns) / 0.7072 * _NUM_RINGS).astype(np.intp), _NUM_RINGS - 1)
    direction = np.arctan2(rows, columns) / np.pi * _NUM_SECTORS
    return ring * _NUM_SECTORS + np.round(direction).astype(np.intp) % _NUM_SECTORS


def _spectrum(grey: FloatArray, mask: FloatArray) -> NDArray[np.float64]:
    """(cells,) energy per cell of the masked detail of an (H, W) image."""
    detail = (grey - blur(grey, len(grey) / 12)) * mask
    power = np.abs(np.fft.rfft2(detail)) ** 2
    return (np.bincount(_cells(len(grey)).ravel(), power.ravel(), _NUM_RINGS * _NUM_SECTORS) + 1e-9).astype(np.float64)


def _filter(image: FloatArray, cell_gain: NDArray[np.float64]) -> FloatArray:
    """Multiply every cell of an (H, W, C) image's spectrum by its gain."""
    gain = cell_gain[_cells(len(image))][..., None]
    return np.fft.irfft2(np.fft.rfft2(image, axes=(0, 1)) * gain, image.shape[:2], axes=(0, 1)).astype(np.float32)


def match_detail(
    image: FloatArray, goal: FloatArray, mask: FloatArray, grain: FloatArray | None, gain: float = 1.0
) -> FloatArray:
    """Give `image` the masked energy of `goal` in every cell of the spectrum: what is missing is filled with `grain`.

    Args:
        image: (H, W, 3) the new face.
        goal: (H, W, 3) the picture whose crispness is wanted.
        mask: (H, W) weights in [0, 1].
        grain: (H, W, 3) structured noise, any scale; None stretches the image's own detail instead.
        gain: factor on the amplitude of the wanted detail.
    """
    grey = goal.mean(-1)
    have, wanted = _spectrum(image.mean(-1), mask), _spectrum(grey, mask) * gain**2
    smooth = blur(image, len(image) / 12)
    detail = image - smooth
    stretch = np.sqrt(wanted / have).clip(0.3, 2.5)
    if grain is None:
        return smooth + _filter(detail, stretch)
    grain = grain * roughness(grey)[..., None]  # grain goes where the goal has detail
    missing = (wanted - have * stretch**2).clip(0, None)
    missing[: _FIRST_FILLED_RING * _NUM_SECTORS] = 0  # coarse structure is the face itself, not grain
    fill = np.sqrt(missing / _spectrum(grain.mean(-1), mask))
    for _ in range(2):  # the mask smears energy between cells, so one division is not exact
        got = _spectrum(_filter(grain, fill).mean(-1), mask)
        fill = fill * np.sqrt((missing + 1e-3) / (got + 1e-3)).clip(0.3, 2.0)
    filled = _MAX_GRAIN * np.tanh(_filter(grain, fill) / _MAX_GRAIN)
    return smooth + _filter(detail, stretch) + filled.astype(np.float32)


def roughness(grey: FloatArray) -> FloatArray:
    """(H, W) local deviation of the fine detail of a grey picture, relative to its mean."""
    local = np.sqrt(blur((grey - blur(grey, 1.4)) ** 2, len(grey) / 32) + 1e-6)
    return local / local.mean()


def block_grain(rng: np.random.Generator, size: int, stride: int) -> FloatArray:
    """(size, size, 3) noise that is constant over `stride` x `stride` blocks (nearest-neighbour up-sampling)."""
    cells = size // stride + 2
    noise = rng.standard_normal((cells, cells, 1), dtype=np.float32)
    top, left = rng.integers(0, stride, 2)
    return _spread(np.kron(noise, np.ones((stride, stride, 1), np.float32))[top : top + size, left : left + size])


def tile_grain(
    rng: np.random.Generator, frame_rng: np.random.Generator, size: int, period: int, coherence: float
) -> FloatArray:
    """(size, size, 3) noise of which a share `coherence` (amplitude) repeats every `period` pixels.

    The repeated tile comes from `rng` (the video's generator leaves the same trace in all frames), the rest from
    `frame_rng`.
    """
    tile = rng.standard_normal((period, period)).astype(np.float32)
    tile = (tile - tile.mean()) / (tile.std() + 1e-6)
    repeats = size // period + 1
    noise = frame_rng.standard_normal((size, size), dtype=np.float32) * np.float32(np.sqrt(1 - coherence**2))
    return _spread((noise + np.float32(coherence) * np.tile(tile, (repeats, repeats))[:size, :size])[..., None])


def board_grain(rng: np.random.Generator, size: int, period: int) -> FloatArray:
    """(size, size, 3) checkerboard of `period` pixels with slowly varying strength (transposed convolution)."""
    axis = np.arange(size)
    top, left = rng.integers(0, period, 2)
    half = (period + 1) // 2
    rows, columns = ((axis + top) % period < half) * 2.0 - 1, ((axis + left) % period < half) * 2.0 - 1
    board = (rows[:, None] * columns[None]).astype(np.float32)
    strength = 1 + 0.5 * blur(rng.standard_normal((size, size), dtype=np.float32), 3.0)
    return _spread((board * strength)[..., None])


def _spread(grey: FloatArray) -> FloatArray:
    return np.ascontiguousarray(np.repeat(grey, 3, axis=-1))
