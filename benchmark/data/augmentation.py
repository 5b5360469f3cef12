"""Training augmentations: pure functions of (sample, seed), one set of parameters for all frames of a clip.

A plugin is a function registered in ``AUGMENTATIONS`` that takes the image side, the mean of the input
normalisation and its own keyword options, each with a type and a default, and returns an ``Augmentation`` (see
``sample.py``). The result must be picklable, because data-loader workers may be started afresh::

    @AUGMENTATIONS.register("mirror")
    def mirror(size: int, mean: Sequence[float]) -> Augmentation:
        \"\"\"Always mirror.\"\"\"
        return MirrorAugmentation(size)

albumentations keeps its random numbers in the transforms and timm in the global generators. Both are handed
generators made from the seed, under one lock, so threads do not disturb each other and no state is left behind.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import random
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np

from benchmark.config import PluginSpec, Settings, checked_options
from benchmark.data.decode import decode_jpeg_bgr
from benchmark.data.sample import Augmentation, Forger, RawSample
from benchmark.data.transforms import (
    Box,
    check_policy,
    crop_sample,
    flip_sample,
    map_sample,
    resize_sample,
)
from benchmark.errors import ConfigError, did_you_mean
from benchmark.registry import AUGMENTATIONS

Params = dict[str, Any]
Frames = list[np.ndarray]

_DRAW_LOCK = threading.Lock()
_GEOMETRIC_OPS = frozenset({"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"})
_ATTEMPTS = 10  # tries to fit a random box before giving up, as in torchvision and timm


def build_augmentation(
    name: str, size: int, mean: Sequence[float], settings: Settings | None = None, **options: Any
) -> Augmentation:
    """The augmentation registered under ``name`` with its options.

    Args:
        name: a registered name, e.g. ``"fsfm"``.
        size: side of the resulting images in pixels.
        mean: mean of the input normalisation (0-1 scale, RGB); fills what geometry uncovers.
        settings: where the options came from, for messages.
        options: the builder's keyword options.

    Raises:
        RegistryError: unknown name.
        ConfigError: unknown option, or a value of the wrong type or out of range.
    """
    builder = AUGMENTATIONS.get(name)
    checked = checked_options(builder, options, settings, prefix="augmentation", skip=("size", "mean"))
    return builder(size, mean, **checked)


def build_following(spec: PluginSpec, size: int, mean: Sequence[float]) -> Augmentation:
    """The augmentation that comes after a forger's blending, of the real sample and of its twin alike.

    Raises:
        ConfigError: it forges itself, or has a wrong option.
    """
    following = build_augmentation(spec.name, size, mean, **spec.options)
    if isinstance(following, Forger):
        raise ConfigError(f"augmentation.then: '{spec.name}' forges fakes itself; one forger at a time.")
    return following


# --------------------------------------------------------------------------------------------- none, flip


@dataclass(frozen=True)
class FlipAugmentation:
    """Resize to (size, size), then mirror with probability ``flip_prob``."""

    size: int
    resize: str
    flip_prob: float

    def __call__(self, sample: RawSample, seed: int) -> RawSample:
        """The sample at (size, size), mirrored or not."""
        sample = resize_sample(sample, self.size, self.size, self.resize)
        return flip_sample(sample) if random.Random(seed).random() < self.flip_prob else sample


@AUGMENTATIONS.register("none")
def none(size: int, mean: Sequence[float], *, resize: str = "pil_bicubic") -> Augmentation:
    """No augmentation: resize only.

    Args:
        size: side of the resulting images in pixels.
        mean: not used.
        resize: library and filter of the resize, a key of ``RESIZE_POLICIES``.
    """
    check_policy(resize)
    return FlipAugmentation(size, resize, flip_prob=0.0)


@AUGMENTATIONS.register("flip")
def flip(size: int, mean: Sequence[float], *, flip_prob: float = 0.5, resize: str = "pil_bicubic") -> Augmentation:
    """Resize and random horizontal flip.

    Args:
        size: side of the resulting images in pixels.
        mean: not used.
        flip_prob: probability of mirroring left and right.
        resize: library and filter of the resize, a key of ``RESIZE_POLICIES``.
    """
    check_policy(resize)
    check_probabilities(flip_prob=flip_prob)
    return FlipAugmentation(size, resize, flip_prob)


# --------------------------------------------------------------------------------------------- FSFM (timm)


@dataclass(frozen=True)
class FSFMAugmentation:
    """Random resized crop, flip, RandAugment, and a random-erasing box that the device fills.

    Attributes:
        rand_augment: timm's RandAugment, or None.
        geometry: the same operations with every colour change replaced by doing nothing; it consumes random
            numbers alike, so under the same seed it meets the same geometry (for maps and landmarks).
    """

    size: int
    resize: str
    crop_scale: tuple[float, float]
    crop_ratio: tuple[float, float]
    flip_prob: float
    erase_prob: float
    erase_area: tuple[float, float]
    erase_min_aspect: float
    rand_augment: Any
    geometry: Any

    def __call__(self, sample: RawSample, seed: int) -> RawSample:
        """The augmented sample at (size, size)."""
        rng = random.Random(seed)
        box = draw_crop(rng, sample.images[0].shape, self.crop_scale, self.crop_ratio)
        sample = resize_sample(crop_sample(sample, box), self.size, self.size, self.resize)
        if rng.random() < self.flip_prob:
            sample = flip_sample(sample)
        if self.rand_augment is not None:
            sample = self._rand_augment(sample, rng.getrandbits(32))
        erase = []
        if rng.random() < self.erase_prob:
            erase = draw_erase(rng, self.size, self.erase_area, self.erase_min_aspect)
        return replace(sample, erase=erase)

    def _rand_augment(self, sample: RawSample, seed: int) -> RawSample:
        from PIL import Image

        def recolour_and_move(frame: np.ndarray) -> np.ndarray:
            with seeded_globals(seed):  # the same seed for each frame gives each the same operations
                return np.array(self.rand_augment(Image.fromarray(frame)))

        matrices: list[np.ndarray] = []
        if sample.parsing or sample.masks or sample.landmarks:
            with seeded_globals(seed):
                matrices = self.geometry(_GeometryProbe(self.size)).matrices
        return map_sample(
            sample,
            recolour_and_move,
            lambda item: functools.reduce(_warp_map, matrices, item),
            lambda item, _: functools.reduce(_warp_points, matrices, item),
        )


@AUGMENTATIONS.register("fsfm")
def fsfm(
    size: int,
    mean: Sequence[float],
    *,
    crop_scale: tuple[float, float] = (0.08, 1.0),
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3),
    resize: str = "pil_bilinear",
    flip_prob: float = 0.5,
    rand_augment: str = "rand-m9-mstd0.5-inc1",
    erase_prob: float = 0.25,
    erase_area: tuple[float, float] = (0.02, 1 / 3),
    erase_min_aspect: float = 0.3,
) -> Augmentation:
    """FSFM fine-tuning: timm's ImageNet training pipeline.

    Args:
        size: side of the resulting images in pixels.
        mean: round(255 * mean) fills what RandAugment's geometry uncovers.
        crop_scale: range of the random crop's area as a fraction of the frame.
        crop_ratio: range of the random crop's width over height, drawn evenly in its logarithm.
        resize: library and filter of the crop's resize; its filter also serves RandAugment (the published runs
            fell back to bilinear).
        flip_prob: probability of mirroring left and right.
        rand_augment: timm's RandAugment string, empty for none.
        erase_prob: probability of one random-erasing box, filled with N(0, 1) noise on the device.
        erase_area: range of the box's area as a fraction of the image.
        erase_min_aspect: smallest height over width of the box; the largest is its inverse.
    """
    check_policy(resize)
    check_probabilities(flip_prob=flip_prob, erase_prob=erase_prob)
    check_ranges(0.0, 1.0, crop_scale=crop_scale, erase_area=erase_area)
    check_ranges(1e-3, 1e3, crop_ratio=crop_ratio, erase_min_aspect=(erase_min_aspect, 1 / erase_min_aspect))
    policy = _timm_rand_augment(rand_augment, size, mean, resize) if rand_augment else None
    return FSFMAugmentation(
        size, resize, crop_scale, crop_ratio, flip_prob, erase_prob, erase_area, erase_min_aspect,
        rand_augment=policy, geometry=_geometry_only(policy) if policy else None,
    )  # fmt: skip


def draw_crop(rng: random.Random, shape: Sequence[int], scale: tuple[float, float], ratio: tuple[float, float]) -> Box:
    """Random crop of the Inception kind: area uniform in ``scale``, aspect log-uniform in ``ratio``.

    Args:
        rng: source of random numbers.
        shape: (H, W, ...) of the frame the box is drawn for, in whole pixels.
        scale: range of area fractions.
        ratio: range of width over height.

    Returns:
        The box; the largest central one of allowed aspect when none fits in 10 tries.
    """
    rows, columns = shape[:2]
    for _ in range(_ATTEMPTS):
        area = rng.uniform(*scale) * rows * columns
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= columns and 0 < height <= rows:
            top, left = rng.randint(0, rows - height), rng.randint(0, columns - width)
            break
    else:
        width = min(columns, round(rows * ratio[1]))
        height = min(rows, round(columns / ratio[0]))
        top, left = (rows - height) // 2, (columns - width) // 2
    return Box(top / rows, left / columns, height / rows, width / columns)


def draw_erase(
    rng: random.Random, size: int, area: tuple[float, float], min_aspect: float
) -> list[tuple[int, int, int, int]]:
    """One box (x, y, width, height) inside (size, size); none when none fits in 10 tries. Drawn as timm does."""
    log_aspect = math.log(min_aspect)
    for _ in range(_ATTEMPTS):
        target = rng.uniform(*area) * size * size
        aspect = math.exp(rng.uniform(log_aspect, -log_aspect))
        height, width = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < width < size and 0 < height < size:
            y, x = rng.randint(0, size - height), rng.randint(0, size - width)
            return [(x, y, width, height)]
    return []


@contextlib.contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """Seed the global ``random`` and ``numpy.random`` (timm draws from both) and put their states back after."""
    with _DRAW_LOCK:
        python_state, numpy_state = random.getstate(), np.random.get_state()
        try:
            random.seed(seed)
            np.random.seed(seed)
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def _timm_rand_augment(config: str, size: int, mean: Sequence[float], resize: str) -> Any:
    from PIL import Image
    from timm.data.auto_augment import rand_augment_transform

    settings = {
        "translate_const": int(size * 0.45),
        "img_mean": tuple(min(255, round(255 * value)) for value in mean),
        "interpolation": Image.Resampling.BICUBIC if "cubic" in resize else Image.Resampling.BILINEAR,
    }
    try:
        policy = rand_augment_transform(config, settings)
    except (AssertionError, ValueError, KeyError) as error:
        raise ConfigError(
            f"rand_augment: timm does not understand '{config}' ({error}). Example: rand-m9-mstd0.5-inc1."
        ) from error
    for operation in policy.ops:
        if operation.name.startswith("Posterize"):
            operation.aug_fn = _posterize
    return policy


def _posterize(image: Any, bits: int, **_: Any) -> Any:
    """Keep the highest ``bits`` bits. At full magnitude timm asks for 0, which Pillow 13 refuses; it means black."""
    keep = 0xFF & ~(0xFF >> max(bits, 0))
    return image.point([level & keep for level in range(256)] * len(image.getbands()))


def _geometry_only(policy: Any) -> Any:
    from timm.data.auto_augment import AugmentOp, RandAugment

    operations = []
    for operation in policy.ops:
        twin = AugmentOp(operation.name, operation.prob, operation.magnitude, operation.hparams)
        if operation.name not in _GEOMETRIC_OPS:
            twin.aug_fn = _keep
        operations.append(twin)
    return RandAugment(operations, policy.num_layers, policy.choice_weights)


def _keep(image: Any, *args: Any, **kwargs: Any) -> Any:
    return image


class _GeometryProbe:
    """Stands in for a PIL image in timm's geometric operations and notes the affine maps they ask for.

    Each matrix (2, 3) takes an output position to the input position it shows, in PIL's coordinates (the corner
    of the first pixel is (0, 0)).
    """

    def __init__(self, size: int) -> None:
        self.size = (size, size)
        self.matrices: list[np.ndarray] = []

    def transform(self, size: tuple[int, int], method: Any, data: Sequence[float], **_: Any) -> _GeometryProbe:
        """PIL's affine ``Image.transform``."""
        self.matrices.append(np.array(data, dtype=np.float64).reshape(2, 3))
        return self

    def rotate(self, degrees: float, **_: Any) -> _GeometryProbe:
        """PIL's ``Image.rotate`` about the centre."""
        cos, sin = math.cos(math.radians(-degrees)), math.sin(math.radians(-degrees))
        centre = np.array(self.size) / 2
        turn = np.array([[cos, sin], [-sin, cos]])
        self.matrices.append(np.column_stack([turn, centre - turn @ centre]))
        return self


def _warp_map(labels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    from PIL import Image

    image = Image.fromarray(labels)
    moved = image.transform(image.size, Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.NEAREST)
    return np.array(moved)  # what comes from outside is 0: background, not manipulated


def _warp_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return (points + 0.5 - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T - 0.5


# --------------------------------------------------------------------- DeepfakeBench (albumentations)


def albumentations_transform(name: str, **options: Any) -> Any:
    """An albumentations transform whose every argument took effect.

    albumentations 2.0.8 only warns about an argument it does not know and then ignores it (an old
    ``quality_lower=40`` would silently mean quality 99-100); here that is an error. Importing it would also make
    it look for updates on the network; here it does not.

    Args:
        name: class name, e.g. ``"GaussianBlur"``.
        options: constructor arguments.

    Raises:
        ConfigError: no such transform, an unknown argument, or a value it refuses or adjusts.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    factory = getattr(albumentations, name, None)
    if factory is None:
        hint = did_you_mean(name, dir(albumentations))
        raise ConfigError(f"albumentations {albumentations.__version__} has no transform '{name}'.{hint}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return factory(**options)
        except (Warning, ValueError, TypeError) as error:
            raise ConfigError(f"albumentations {name}: {error}") from error


@dataclass(frozen=True)
class Step:
    """One operation: the albumentations transform that defines it, and a faster way to apply it.

    Attributes:
        name: stage it belongs to, for timing tables.
        transform: draws the parameters; its ``apply`` is the definition the fast version is tested against.
        fast: (frames, parameters) -> frames, or None to use ``transform.apply``.
        draws_from_numpy: the transform draws from its numpy generator too, which takes as long to make as
            everything else in a plan.
    """

    name: str
    transform: Any
    fast: Callable[[Frames, Params], Frames] | None = None
    draws_from_numpy: bool = False

    def draw(self, frame: np.ndarray, rng: random.Random) -> Params:
        """Parameters for all frames of a sample; call under the lock."""
        generator = np.random.default_rng(rng.getrandbits(64)) if self.draws_from_numpy else None
        self.transform.set_random_state(generator, rng)
        data = {"image": frame}
        params = self.transform.update_transform_params(self.transform.get_params(), data)
        return {**params, **self.transform.get_params_dependent_on_data(params, data)}

    def run(self, frames: Frames, params: Params) -> Frames:
        """The frames (H, W, 3) uint8 with the operation applied."""
        if self.fast is not None:
            return self.fast(frames, params)
        return [self.transform.apply(frame, **params) for frame in frames]


@dataclass(frozen=True)
class DeepfakeBenchAugmentation:
    """Flip, rotation, Gaussian blur, one of three colour changes, JPEG; see :func:`deepfakebench`."""

    size: int
    resize: str
    flip_prob: float
    rotate: Step
    blur: Step
    colours: tuple[Step, ...]
    colour_prob: float
    jpeg: Step

    def __call__(self, sample: RawSample, seed: int) -> RawSample:
        """The augmented sample at (size, size)."""
        sample = resize_sample(sample, self.size, self.size, self.resize)
        is_flipped, plan = self.plan(sample.images[0], seed)
        if is_flipped:
            sample = flip_sample(sample)
        frames = sample.images
        for step, params in plan:
            if step is self.rotate:
                sample = _rotate_sample(sample, params["matrix"][:2])
                frames = sample.images
            else:
                frames = step.run(frames, params)
        return replace(sample, images=frames)

    def plan(self, frame: np.ndarray, seed: int) -> tuple[bool, list[tuple[Step, Params]]]:
        """What will happen to a sample: mirrored or not, and the chosen steps in order with their parameters."""
        rng = random.Random(seed)
        is_flipped = rng.random() < self.flip_prob
        chosen = [step for step in (self.rotate, self.blur) if rng.random() < step.transform.p]
        if rng.random() < self.colour_prob:
            chosen.append(rng.choice(self.colours))
        if rng.random() < self.jpeg.transform.p:
            chosen.append(self.jpeg)
        with _DRAW_LOCK:
            return is_flipped, [(step, step.draw(frame, rng)) for step in chosen]


@AUGMENTATIONS.register("deepfakebench")
def deepfakebench(
    size: int,
    mean: Sequence[float],
    *,
    resize: str = "cv2_cubic",
    flip_prob: float = 0.5,
    rotate_prob: float = 0.0,
    rotate_limit: tuple[float, float] = (-10.0, 10.0),
    blur_prob: float = 0.5,
    blur_limit: tuple[int, int] = (3, 7),
    color_prob: float = 0.5,
    brightness_limit: tuple[float, float] = (-0.1, 0.1),
    contrast_limit: tuple[float, float] = (-0.1, 0.1),
    jpeg_prob: float = 0.5,
    quality_lower: int = 40,
    quality_upper: int = 100,
    release: Literal["1.1", "2.0"] = "1.1",
) -> Augmentation:
    """DeepfakeBench's training list: flip, rotation, blur, colour, JPEG.

    DeepfakeBench's three isotropic resizes are left out: on square crops they change nothing.

    Args:
        size: side of the resulting images in pixels.
        mean: not used.
        resize: library and filter of the resize that comes first, a key of ``RESIZE_POLICIES``.
        flip_prob: probability of mirroring left and right.
        rotate_prob: probability of a rotation (0 for its Xception, 0.5 for most of its other detectors).
        rotate_limit: range of the angle in degrees; what comes into view is mirrored at the border.
        blur_prob: probability of a Gaussian blur.
        blur_limit: range of the blur's kernel size in pixels; even draws are raised by one.
        color_prob: probability of one of brightness and contrast, FancyPCA, or hue, saturation and value.
        brightness_limit: range of the brightness shift as a fraction of 255.
        contrast_limit: range of the contrast change around 1.
        jpeg_prob: probability of JPEG compression.
        quality_lower: lowest JPEG quality.
        quality_upper: highest JPEG quality.
        release: albumentations release whose operations are followed: DeepfakeBench's results were made with 1.1
            (blur sigma from the kernel size, FancyPCA a colour shift); 2.0 draws sigma from 0.5-3 and its FancyPCA
            hardly changes a pixel.
    """
    check_policy(resize)
    check_probabilities(flip_prob=flip_prob, rotate_prob=rotate_prob, blur_prob=blur_prob,
                         color_prob=color_prob, jpeg_prob=jpeg_prob)  # fmt: skip
    check_ranges(3, 255, blur_limit=blur_limit)
    check_ranges(-180, 180, rotate_limit=rotate_limit)
    check_ranges(-1, 1, brightness_limit=brightness_limit, contrast_limit=contrast_limit)
    check_ranges(1, 100, quality=(quality_lower, quality_upper))
    if release not in ("1.1", "2.0"):
        raise ConfigError(f"release: '{release}' is not known. Allowed: 1.1, 2.0.")
    old = release == "1.1"
    make = albumentations_transform
    rotate = make("Rotate", limit=rotate_limit, border_mode=cv2.BORDER_REFLECT_101, p=rotate_prob)
    blur = make("GaussianBlur", blur_limit=blur_limit, p=blur_prob)
    contrast = make("RandomBrightnessContrast", brightness_limit=brightness_limit, contrast_limit=contrast_limit)
    jpeg = make("ImageCompression", quality_range=(quality_lower, quality_upper), p=jpeg_prob)
    colours = (
        Step("colour", contrast),
        Step("colour", make("FancyPCA"), _pca_shift if old else _pca_scale, draws_from_numpy=True),
        Step("colour", make("HueSaturationValue"), _hsv_1_1 if old else _hsv_2_0),
    )
    return DeepfakeBenchAugmentation(
        size,
        resize,
        flip_prob,
        rotate=Step("rotate", rotate),
        blur=Step("blur", blur, _blur_by_kernel_size if old else None),
        colours=colours,
        colour_prob=color_prob,
        jpeg=Step("jpeg", jpeg, _jpeg),
    )


def _rotate_sample(sample: RawSample, matrix: np.ndarray) -> RawSample:
    """Warp by a (2, 3) matrix from input to output pixel centres, mirroring at the border."""

    def warp(array: np.ndarray, interpolation: int) -> np.ndarray:
        size = (array.shape[1], array.shape[0])
        return cv2.warpAffine(array, matrix, size, flags=interpolation, borderMode=cv2.BORDER_REFLECT_101)

    return map_sample(
        sample,
        lambda frame: warp(frame, cv2.INTER_LINEAR),
        lambda item: warp(item, cv2.INTER_NEAREST),
        lambda item, _: item @ matrix[:, :2].T + matrix[:, 2],
    )


def _blur_by_kernel_size(frames: Frames, params: Params) -> Frames:
    """1.1: sigma follows from the kernel size by OpenCV's rule 0.3 * ((k - 1) / 2 - 1) + 0.8."""
    side = len(params["kernel"])
    return [cv2.GaussianBlur(frame, (side, side), 0) for frame in frames]


def _jpeg(frames: Frames, params: Params) -> Frames:
    """Encode and decode; like albumentations it hands RGB to a BGR encoder, so red and blue swap their weights."""
    flags = (cv2.IMWRITE_JPEG_QUALITY, params["quality"])
    return [decode_jpeg_bgr(cv2.imencode(".jpg", frame, flags)[1]) for frame in frames]


def _principal_colours(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (3,) on the 0-255 scale, eigenvalues (3,) descending and eigenvectors (3, 3) on the 0-1 scale."""
    mean = np.array(cv2.mean(frame)[:3])
    planes = [plane.ravel() - np.float32(value) for plane, value in zip(cv2.split(frame), mean, strict=True)]
    covariance = np.empty((3, 3))
    for i in range(3):
        for j in range(i + 1):
            covariance[i, j] = covariance[j, i] = np.dot(planes[i], planes[j])
    values, vectors = np.linalg.eigh(covariance / ((planes[0].size - 1) * 255.0**2))
    return mean, values[::-1], vectors[:, ::-1]


def _pca_scale(frames: Frames, params: Params) -> Frames:
    """2.0: x + V diag(alpha * lambda) (x - mean), one colour matrix, taken from the first frame, for all."""
    mean, values, vectors = _principal_colours(frames[0])
    change = vectors * (params["alpha_vector"] * values)
    matrix = np.column_stack([np.eye(3) + change, -change @ mean])
    return [cv2.transform(frame, matrix) for frame in frames]


def _pca_shift(frames: Frames, params: Params) -> Frames:
    """1.1: x + 255 * V' (alpha * lambda) with one alpha, cut to whole grey levels; the first frame's for all.

    The paper has V (eigenvectors in columns); the release used its transpose, and so did the published results.
    """
    _, values, vectors = _principal_colours(frames[0])
    shift = np.floor(255.0 * vectors.T @ (float(params["alpha_vector"][0]) * values))
    matrix = np.column_stack([np.eye(3), shift])
    return [cv2.transform(frame, matrix) for frame in frames]


def _hsv_1_1(frames: Frames, params: Params) -> Frames:
    """1.1: saturation and value are shifted and then cut to whole levels; grey pixels gain colour too."""
    return _apply_hsv_luts(frames, params["hue_shift"], _cut_lut(params["sat_shift"]), _cut_lut(params["val_shift"]))


def _hsv_2_0(frames: Frames, params: Params) -> Frames:
    """2.0: shifts are cut to whole levels, and grey pixels stay grey."""
    saturation, value = (_cut_lut(int(params[f"{name}_shift"])) for name in ("sat", "val"))
    saturation[0] = 0
    return _apply_hsv_luts(frames, params["hue_shift"], saturation, value)


def _cut_lut(shift: float) -> np.ndarray:
    return np.clip(np.arange(256) + shift, 0, 255).astype(np.uint8)


def _apply_hsv_luts(frames: Frames, hue_shift: float, saturation: np.ndarray, value: np.ndarray) -> Frames:
    from albucore import sz_lut  # type: ignore[import-untyped]

    hue = np.mod(np.arange(256) + hue_shift, 180).astype(np.uint8)
    result = []
    for frame in frames:
        planes = cv2.split(cv2.cvtColor(frame, cv2.COLOR_RGB2HSV))
        shifted = [sz_lut(plane, lut) for plane, lut in zip(planes, (hue, saturation, value), strict=True)]
        result.append(cv2.cvtColor(cv2.merge(shifted), cv2.COLOR_HSV2RGB))
    return result


def check_probabilities(**options: float) -> None:
    """Raise ConfigError unless every option is between 0 and 1."""
    for name, value in options.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"{name}: {value} is not a probability; allowed are values from 0 to 1.")


def check_forged_share(share: float) -> None:
    """Raise ConfigError unless a forger's share of the fakes is above 0 and at most 1."""
    if not 0 < share <= 1:
        raise ConfigError(f"forged_share: {share} is not a share of the fakes; allowed are values above 0 up to 1.")


def check_ranges(lowest: float, highest: float, **options: tuple[float, float]) -> None:
    """Raise ConfigError unless every option is two rising values between ``lowest`` and ``highest``."""
    for name, (low, high) in options.items():
        if not lowest <= low <= high <= highest:
            raise ConfigError(
                f"{name}: ({low}, {high}) is not a range; two rising values from {lowest} to {highest} are allowed."
            )
