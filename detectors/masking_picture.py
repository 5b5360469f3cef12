"""A picture that compares masking strategies on faces: what people look at to understand FSFM's masks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from detectors.masking import REGION_NAMES, Masking, hidden_count, patch_parts, region_patches

_PALETTE = np.array(
    [[60, 60, 60], [214, 170, 140], [70, 50, 190], [70, 110, 210], [40, 160, 90], [90, 200, 120], [220, 190, 60],
     [200, 60, 80], [120, 20, 40], [230, 100, 130], [120, 80, 160]], np.uint8,
)  # fmt: skip
"""Colour of each LaPa class in the overlay."""
_GREY, _COVERED = np.array([128, 128, 128]), np.array([200, 80, 80])
_GAP, _TITLE = 6, 22
_BLACK = (20, 20, 20)
Counts = dict[str, dict[str, str]]


def compare_maskings(
    images: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    maskings: dict[str, Masking],
    *,
    patch_size: int = 16,
    ratio: float = 0.75,
    seed: int = 0,
) -> tuple[np.ndarray, list[Counts]]:
    """One row per face: input, parsing, and the face under every strategy (hidden grey, covered region reddish).

    Args:
        images: (S, S, 3) uint8 RGB, all of one size, a multiple of ``patch_size``.
        maps: (S, S) uint8 LaPa ids of each.
        maskings: strategies by title.
        patch_size: P.
        ratio: share of hidden patches.
        seed: of the masks.

    Returns:
        The picture, uint8 RGB, and for every face and strategy "hidden/there" patches of each region.
    """
    pixels = torch.from_numpy(np.stack(images))
    parts = patch_parts(torch.from_numpy(np.stack(maps)), patch_size)
    count = hidden_count(parts.shape[1], ratio)
    seeds = torch.arange(len(images), dtype=torch.int64) + seed * 1000
    columns = {"input": pixels.numpy(), "parsing": overlay(pixels.numpy(), np.stack(maps))}
    counts: list[Counts] = [{} for _ in images]
    for title, masking in maskings.items():
        masks = masking(parts, seeds, count)
        columns[title] = paint(pixels.numpy(), masks.hidden.numpy(), masks.covered.numpy(), patch_size)
        for number, table in enumerate(counts):
            table[title] = region_counts(parts[number], masks.hidden[number])
    return _lay_out(columns), counts


def overlay(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Images (B, S, S, 3) half covered by the colours of their maps (B, S, S)."""
    return ((images.astype(np.float32) + _PALETTE[maps]) / 2).astype(np.uint8)


def paint(images: np.ndarray, hidden: np.ndarray, covered: np.ndarray, patch_size: int) -> np.ndarray:
    """Images (B, S, S, 3) with hidden (B, L) patches grey and covered ones reddish."""
    grid = images.shape[1] // patch_size

    def enlarge(mask: np.ndarray) -> np.ndarray:
        squares = mask.reshape(-1, grid, grid).repeat(patch_size, axis=1).repeat(patch_size, axis=2)
        return squares[..., None]

    return np.where(enlarge(covered), _COVERED, np.where(enlarge(hidden), _GREY, images)).astype(np.uint8)


def region_counts(parts: torch.Tensor, hidden: torch.Tensor) -> dict[str, str]:
    """ "hidden/there" patches per region; a patch may belong to several.

    Args:
        parts: (L,) int16, see ``masking.patch_parts``.
        hidden: (L,) bool.
    """
    rows = parts[None].expand(len(REGION_NAMES), -1)
    members = region_patches(rows, torch.arange(len(REGION_NAMES)))
    return {
        name: f"{int((of_region & hidden).sum())}/{int(of_region.sum())}"
        for name, of_region in zip(REGION_NAMES, members, strict=True)
    }


def _lay_out(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Columns (B, S, S, 3) side by side below their titles."""
    rows, side = next(iter(columns.values())).shape[:2]
    width = len(columns) * (side + _GAP) + _GAP
    canvas = np.full((_TITLE + rows * (side + _GAP) + _GAP, width, 3), 255, np.uint8)
    for column, (title, faces) in enumerate(columns.items()):
        left = _GAP + column * (side + _GAP)
        cv2.putText(canvas, title, (left, _TITLE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _BLACK, 1, cv2.LINE_AA)
        for row, face in enumerate(faces):
            top = _TITLE + row * (side + _GAP)
            canvas[top : top + side, left : left + side] = face
    return canvas
