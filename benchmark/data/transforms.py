"""Deterministic geometry on samples (resize, crop, flip, evaluation view) and the last step to the network's input.

Coordinates: the centre of the top-left pixel is (0, 0). Resizing by a factor ``s`` therefore moves a landmark from
``x`` to ``(x + 0.5) * s - 0.5``, as every resampler here moves the pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmark.data.sample import RawSample
from benchmark.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    import torch

# The library and the filter are part of a number (shrinking differs by tens of grey levels between libraries).
# pil_*: Pillow, antialiased; what torchvision and timm do to PIL images, so what FSFM's numbers were made with.
# cv2_*: OpenCV, not antialiased except area; cv2_cubic is DeepfakeBench's.
# torch_*: Pillow's algorithm in torch; within 1-2 levels of pil_* (under 2 % of values differ), 3-8 times faster.
RESIZE_POLICIES: dict[str, str] = {
    "pil_bicubic": "BICUBIC",
    "pil_bilinear": "BILINEAR",
    "pil_lanczos": "LANCZOS",
    "cv2_cubic": "INTER_CUBIC",
    "cv2_linear": "INTER_LINEAR",
    "cv2_area": "INTER_AREA",
    "torch_bicubic": "bicubic",
    "torch_bilinear": "bilinear",
}

EVAL_CROP_RATIO = 0.875
_LAPA_LEFT_RIGHT = np.arange(256, dtype=np.uint8)
_LAPA_LEFT_RIGHT[[2, 3, 4, 5]] = [3, 2, 5, 4]  # eyebrows 2, 3 and eyes 4, 5


def resize_image(image: np.ndarray, height: int, width: int, policy: str = "pil_bicubic") -> np.ndarray:
    """Resize by a named policy.

    Args:
        image: (H, W, 3) uint8.
        height: rows of the result.
        width: columns of the result.
        policy: a key of ``RESIZE_POLICIES``: library and filter.

    Returns:
        (height, width, 3) uint8; the input itself when it has that size already.

    Raises:
        ConfigError: unknown policy.
    """
    check_policy(policy)
    if image.shape[:2] == (height, width):
        return image
    if policy.startswith("cv2"):
        return cv2.resize(image, (width, height), interpolation=getattr(cv2, RESIZE_POLICIES[policy]))
    if policy.startswith("pil"):
        from PIL import Image

        resample = Image.Resampling[RESIZE_POLICIES[policy]]
        return np.array(Image.fromarray(image).resize((width, height), resample))
    return _resize_torch(image, height, width, RESIZE_POLICIES[policy])


def _resize_torch(image: np.ndarray, height: int, width: int, mode: str) -> np.ndarray:
    import torch
    from torch.nn.functional import interpolate

    if not image.flags.writeable:  # torch.from_numpy warns about read-only memory
        image = image.copy()
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    resized = interpolate(pixels, size=(height, width), mode=mode, antialias=True, align_corners=False)
    return cv2.merge(list(resized[0].numpy()))  # planes to pixels, many times faster than a transposing copy


def check_policy(policy: str) -> None:
    """Raise ConfigError unless ``policy`` is a known resize policy."""
    if policy not in RESIZE_POLICIES:
        raise ConfigError(
            f"resize: '{policy}' is not a resize policy.{did_you_mean(policy, RESIZE_POLICIES)} "
            f"Allowed: {', '.join(RESIZE_POLICIES)}."
        )


def resize_map(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest-neighbour resize of a map, sampling at pixel centres.

    Args:
        labels: (H, W) uint8 class ids or mask levels.
        height: rows of the result.
        width: columns of the result.

    Returns:
        (height, width) uint8 holding only values of the input; the input itself when it has that size already.
    """
    if labels.shape == (height, width):
        return labels
    return cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def map_sample(
    sample: RawSample,
    image: Callable[[np.ndarray], np.ndarray],
    labels: Callable[[np.ndarray], np.ndarray],
    points: Callable[[np.ndarray, tuple[int, int]], np.ndarray],
) -> RawSample:
    """A new sample with one geometric change applied to everything it holds.

    Args:
        sample: left as it is.
        image: applied to each (H, W, 3) frame.
        labels: applied to each (H, W) parsing map and mask.
        points: applied to each (P, 2) landmark array together with its frame's (height, width).
    """
    return replace(
        sample,
        images=[image(frame) for frame in sample.images],
        parsing=None if sample.parsing is None else [labels(item) for item in sample.parsing],
        masks=None if sample.masks is None else [labels(item) for item in sample.masks],
        landmarks=None
        if sample.landmarks is None
        else [
            points(item, frame.shape[:2]).astype(np.float32)
            for item, frame in zip(sample.landmarks, sample.images, strict=True)
        ],
    )


def resize_sample(sample: RawSample, height: int, width: int, policy: str = "pil_bicubic") -> RawSample:
    """All frames, maps and landmarks at (height, width); the same object when nothing has to change."""
    if all(item.shape[:2] == (height, width) for item in _pixel_arrays(sample)):
        return sample
    return map_sample(
        sample,
        lambda frame: resize_image(frame, height, width, policy),
        lambda item: resize_map(item, height, width),
        lambda item, size: (item + 0.5) * (width / size[1], height / size[0]) - 0.5,
    )


def _pixel_arrays(sample: RawSample) -> list[np.ndarray]:
    return [*sample.images, *(sample.parsing or ()), *(sample.masks or ())]


@dataclass(frozen=True)
class Box:
    """A rectangle as fractions of the frame, so that one box serves frames and maps of different sizes."""

    top: float
    left: float
    height: float
    width: float

    def pixels(self, size: Sequence[int]) -> tuple[int, int, int, int]:
        """(top, left, height, width) in whole pixels inside an array of ``size`` (H, W, ...), at least 1 by 1."""
        rows, columns = size[:2]
        height = min(max(round(self.height * rows), 1), rows)
        width = min(max(round(self.width * columns), 1), columns)
        top = min(max(round(self.top * rows), 0), rows - height)
        left = min(max(round(self.left * columns), 0), columns - width)
        return top, left, height, width


def crop_sample(sample: RawSample, box: Box) -> RawSample:
    """Cut the same part out of every frame, map and landmark array; arrays are views of the input."""

    def cut(array: np.ndarray) -> np.ndarray:
        top, left, height, width = box.pixels(array.shape)
        return array[top : top + height, left : left + width]

    return map_sample(sample, cut, cut, lambda item, size: item - box.pixels(size)[1::-1])


def flip_sample(sample: RawSample) -> RawSample:
    """Mirror left and right: LaPa's left/right ids and the landmarks' left/right indices change places too.

    Raises:
        DataError: landmarks of a layout whose partners are not known (5, 68 and 81 points are).
    """
    flipped = map_sample(
        sample,
        lambda frame: cv2.flip(frame, 1),
        lambda item: cv2.flip(item, 1),
        lambda item, size: (item * (-1, 1) + (size[1] - 1, 0))[_mirror_order(len(item))],
    )
    if flipped.parsing is not None:
        flipped.parsing = [cv2.LUT(item, _LAPA_LEFT_RIGHT) for item in flipped.parsing]
    return flipped


@functools.cache
def _mirror_order(count: int) -> np.ndarray:
    """For each landmark the index of its mirror partner.

    5 points: eyes, nose, mouth corners. 68: iBUG. 81: iBUG plus 13 forehead points, which run from one temple to
    the other in the order 77 75 76 68 69 70 71 80 72 73 79 74 78.
    """
    if count == 5:
        return np.array([1, 0, 2, 4, 3])
    if count not in (68, 81):
        raise DataError(f"Landmarks with {count} points cannot be mirrored; known layouts have 5, 68 or 81.")
    order = np.arange(count)
    lines = [[*range(17)], [*range(17, 27)], [*range(31, 36)], [48, 49, 50, 51, 52, 53, 54], [59, 58, 57, 56, 55],
             [60, 61, 62, 63, 64], [67, 66, 65], [36, 37, 38, 39, 42, 43, 44, 45], [41, 40, 47, 46]]  # fmt: skip
    if count == 81:
        lines.append([77, 75, 76, 68, 69, 70, 71, 80, 72, 73, 79, 74, 78])
    for line in lines:
        order[line] = line[::-1]
    return order


@dataclass(frozen=True)
class EvalTransform:
    """What a network sees in evaluation; has an augmentation's signature and ignores the seed.

    Args:
        size: side of the result in pixels.
        resize: a key of ``RESIZE_POLICIES``.
        center_crop: False resizes the whole frame to size x size (the published deepfake tests); True resizes the
            shorter side to int(size / 0.875) and cuts out the centre (FSFM's validation during fine-tuning).
    """

    size: int
    resize: str = "pil_bicubic"
    center_crop: bool = False

    def __post_init__(self) -> None:
        check_policy(self.resize)

    def __call__(self, sample: RawSample, seed: int = 0) -> RawSample:
        """The sample at (size, size)."""
        if not self.center_crop:
            return resize_sample(sample, self.size, self.size, self.resize)
        height, width = sample.images[0].shape[:2]
        short = int(self.size / EVAL_CROP_RATIO)
        long = int(short * max(height, width) / min(height, width))
        rows, columns = (short, long) if height <= width else (long, short)
        top, left = round((rows - self.size) / 2), round((columns - self.size) / 2)
        box = Box(top / rows, left / columns, self.size / rows, self.size / columns)
        return crop_sample(resize_sample(sample, rows, columns, self.resize), box)


def to_input(
    images: torch.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    erase: Sequence[Sequence[tuple[int, int, int, int]]] | None = None,
    seeds: Sequence[int] | None = None,
) -> torch.Tensor:
    """Normalise a batch on its device and fill erase boxes with noise.

    Args:
        images: (B, 3, H, W) or (B, T, 3, H, W) uint8; fastest as a permuted view of (..., H, W, 3) memory.
        mean: 3 values of the 0-1 scale, RGB.
        std: likewise.
        erase: for each of the B samples its boxes (x, y, width, height) in pixels; None erases nothing.
        seeds: one integer for each sample; needed when there are boxes. The noise depends on nothing else: it is
            drawn on the CPU, so every device gives the same numbers, and all frames of a clip get the same.

    Returns:
        float32 of the same shape and memory order: (images / 255 - mean) / std, N(0, 1) inside the boxes.

    Raises:
        ValueError: images that are not uint8; boxes without seeds; not one entry for each sample.
    """
    if str(images.dtype) != "torch.uint8":
        raise ValueError(f"to_input: images must be uint8, got {images.dtype}.")
    inputs = _normalise(images, tuple(mean), tuple(std))
    if erase is not None and any(erase):
        _fill_boxes(inputs, erase, seeds)
    return inputs


def _normalise(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    device, width = str(images.device), images.shape[-1]
    pixels = images.movedim(-3, -1)
    if pixels.is_contiguous():  # channels last: long rows instead of an inner loop over 3 values
        scale, bias = _scale_and_bias(mean, std, width, device)
        rows = _scale_and_shift(pixels.reshape(-1, width * 3), scale, bias)
        return rows.view(pixels.shape).movedim(-1, -3)
    scale, bias = _scale_and_bias(mean, std, 1, device)
    return _scale_and_shift(images, scale.view(3, 1, 1), bias.view(3, 1, 1))


def _scale_and_shift(values: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    import torch

    if values.device.type != "cpu":
        return torch.addcmul(bias, values, scale)  # one kernel, the cast included
    # On the CPU addcmul casts into a hidden second array; with two arrays of a batch's size the allocator gives
    # memory back and forth to the system, which was measured to cost more than ten times the arithmetic.
    result = values.float()
    return torch.addcmul(bias, result, scale, out=result)


@functools.lru_cache(maxsize=64)
def _scale_and_bias(
    mean: tuple[float, ...], std: tuple[float, ...], repeats: int, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors (3 * repeats,) with which x * scale + bias equals (x / 255 - mean) / std; kept on the device."""
    import torch

    scale = torch.tensor([1 / (255 * s) for s in std] * repeats, dtype=torch.float32)
    bias = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)] * repeats, dtype=torch.float32)
    return scale.to(device), bias.to(device)


def _fill_boxes(
    inputs: torch.Tensor, erase: Sequence[Sequence[tuple[int, int, int, int]]], seeds: Sequence[int] | None
) -> None:
    import torch

    if seeds is None or len(seeds) != len(inputs) or len(erase) != len(inputs):
        raise ValueError("to_input: erase boxes need one seed and one list of boxes for each sample.")
    noise: list[torch.Tensor] = []
    for boxes, seed in zip(erase, seeds, strict=True):
        if boxes:
            generator = torch.Generator().manual_seed(seed & (2**63 - 1))
            noise += [torch.randn(3, height, width, generator=generator) for _, _, width, height in boxes]
    flat = torch.cat([block.flatten() for block in noise]).to(inputs.device, non_blocking=True)  # one transfer
    parts = iter(zip(noise, flat.split([block.numel() for block in noise]), strict=True))
    for index, boxes in enumerate(erase):
        for x, y, width, height in boxes:
            block, values = next(parts)
            inputs[index, ..., y : y + height, x : x + width] = values.view(block.shape)
