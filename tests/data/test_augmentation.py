"""benchmark/data/{augmentation,transforms}.py: purity, clips, geometry, and the same operations as the originals."""

from __future__ import annotations

import os
import pickle
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from benchmark.data import augmentation as aug
from benchmark.data import transforms
from benchmark.data.augmentation import albumentations_transform, build_augmentation
from benchmark.data.sample import Augmentation, RawSample
from benchmark.data.transforms import EvalTransform, flip_sample, resize_image, resize_sample, to_input
from benchmark.errors import ConfigError, DataError, RegistryError

GOLDEN = Path(__file__).parent / "golden"
MEAN, STD = (0.5482, 0.4234, 0.3655), (0.2789, 0.2439, 0.2349)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
VGGFACE2 = (
    (0.5482207536697388, 0.42340534925460815, 0.3654651641845703),
    (0.2789176106452942, 0.2438540756702423, 0.23493893444538116),
)
NAMES = ("none", "flip", "fsfm", "deepfakebench")
OPTIONS: dict[str, dict[str, Any]] = {"deepfakebench": {"rotate_prob": 0.5}}


def face(seed: int = 0, height: int = 88, width: int = 80) -> np.ndarray:
    rng = np.random.default_rng(seed)
    blotches = cv2.resize(rng.uniform(0, 255, (7, 6, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(blotches + rng.normal(0, 9, blotches.shape), 0, 255).astype(np.uint8)


def sample_of(*seeds: int, points: int = 68) -> RawSample:
    """One frame for each seed, with parsing map, mask and landmarks."""
    frames = [face(seed) for seed in seeds]
    rng = np.random.default_rng(99)
    parsing = cv2.resize(rng.integers(0, 11, (11, 10), dtype=np.uint8), (80, 88), interpolation=cv2.INTER_NEAREST)
    landmarks = rng.uniform(10, 70, (points, 2)).astype(np.float32)
    return RawSample(
        images=frames,
        label=1,
        parsing=[parsing] * len(frames),
        masks=[np.where(parsing > 5, 255, 0).astype(np.uint8)] * len(frames),
        landmarks=[landmarks] * len(frames),
    )


def built(name: str, size: int = 64) -> Augmentation:
    return build_augmentation(name, size, MEAN, **OPTIONS.get(name, {}))


def content(sample: RawSample) -> bytes:
    """Everything a sample holds, as bytes, to compare samples by."""
    arrays = [*sample.images, *(sample.parsing or ()), *(sample.masks or ()), *(sample.landmarks or ())]
    return b"".join(array.tobytes() for array in arrays) + repr((sample.label, sample.erase)).encode()


@pytest.fixture(scope="module", params=NAMES)
def named(request: pytest.FixtureRequest) -> tuple[str, Augmentation]:
    return request.param, built(request.param)


# ------------------------------------------------------------------------------------------------- purity


def test_same_seed_same_bytes_and_other_seeds_differ(named: tuple[str, Augmentation]) -> None:
    name, augment = named
    outputs = [content(augment(sample_of(1), seed)) for seed in range(12)]
    assert outputs == [content(built(name)(sample_of(1), seed)) for seed in range(12)]
    assert len(set(outputs)) == {"none": 1, "flip": 2}.get(name, 12)


def test_result_does_not_depend_on_the_order_or_on_what_came_before(named: tuple[str, Augmentation]) -> None:
    _, augment = named
    expected = {seed: content(augment(sample_of(seed % 3), seed)) for seed in range(20)}
    for seed in random.Random(5).sample(range(20), 20):
        random.random(), np.random.random(), torch.rand(1)
        assert content(augment(sample_of(seed % 3), seed)) == expected[seed]


def test_global_random_states_and_the_input_stay_untouched(named: tuple[str, Augmentation]) -> None:
    _, augment = named
    sample = sample_of(4, 5)
    before = content(sample), random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist()
    for seed in range(10):
        augment(sample, seed)
    after = content(sample), random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist()
    assert before == after


def _in_worker(augment: Augmentation, seed: int) -> bytes:
    return content(augment(sample_of(seed % 3), seed))


def test_workers_threads_and_pickling_change_nothing() -> None:
    pairs = [(built(name), seed) for name in NAMES for seed in range(8)]
    expected = [_in_worker(*pair) for pair in pairs]
    assert [_in_worker(*pickle.loads(pickle.dumps(pair))) for pair in pairs] == expected
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(_in_worker, *zip(*pairs, strict=True))) == expected
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as workers:
        assert list(workers.map(_in_worker, *zip(*pairs, strict=True))) == expected


def test_output_has_the_asked_size_and_types(named: tuple[str, Augmentation]) -> None:
    _, augment = named
    for seed in range(6):
        result = augment(sample_of(1, 2), seed)
        assert [image.shape for image in result.images] == [(64, 64, 3)] * 2
        assert result.parsing is not None
        assert result.masks is not None
        assert result.landmarks is not None
        assert {array.shape for array in (*result.parsing, *result.masks)} == {(64, 64)}
        assert {array.dtype for array in (*result.images, *result.parsing, *result.masks)} == {np.dtype(np.uint8)}
        assert {(array.shape, array.dtype.name) for array in result.landmarks} == {((68, 2), "float32")}
        assert set(np.unique(result.masks)) <= {0, 255}
        assert result.label == 1
        torch.from_numpy(np.stack(result.images))  # writable or copied, either is fine


# -------------------------------------------------------------------------------------------------- clips


def test_all_frames_of_a_clip_get_the_same_parameters(named: tuple[str, Augmentation]) -> None:
    _, augment = named
    for seed in range(25):
        clip = augment(sample_of(1, 2, 1), seed)
        alone = augment(sample_of(1), seed)
        np.testing.assert_array_equal(clip.images[0], clip.images[2])
        np.testing.assert_array_equal(clip.images[0], alone.images[0])
        assert clip.erase == alone.erase
        assert clip.parsing is not None
        assert clip.landmarks is not None
        for frame in (1, 2):
            np.testing.assert_array_equal(clip.parsing[0], clip.parsing[frame])
            np.testing.assert_array_equal(clip.landmarks[0], clip.landmarks[frame])


def test_a_clip_of_crops_of_different_sizes_is_cut_in_the_same_place() -> None:
    augment = build_augmentation("fsfm", 64, MEAN, rand_augment="")
    big = cv2.resize(face(1), (160, 176), interpolation=cv2.INTER_LINEAR)
    for seed in range(10):
        small_out, big_out = augment(RawSample([face(1), big], 0), seed).images
        assert np.abs(small_out.astype(int) - big_out).mean() < 12


# --------------------------------------------------------------------------------------- flips, geometry


def test_flip_mirrors_pixels_maps_and_changes_left_and_right_ids() -> None:
    sample = sample_of(1)
    flipped = flip_sample(sample)
    assert sample.parsing is not None
    assert flipped.parsing is not None
    np.testing.assert_array_equal(flipped.images[0], sample.images[0][:, ::-1])
    mirrored = sample.parsing[0][:, ::-1]
    for old, new in ((2, 3), (3, 2), (4, 5), (5, 4), (0, 0), (1, 1), (6, 6), (10, 10)):
        np.testing.assert_array_equal(flipped.parsing[0] == new, mirrored == old)
    np.testing.assert_array_equal(np.asarray(flipped.masks)[0], np.asarray(sample.masks)[0][:, ::-1])
    np.testing.assert_array_equal(np.asarray(flip_sample(flipped).parsing)[0], sample.parsing[0])


@pytest.mark.parametrize("points", [5, 68, 81])
def test_flip_sends_each_landmark_to_its_partner(points: int) -> None:
    sample = sample_of(1, points=points)
    flipped = flip_sample(sample)
    assert sample.landmarks is not None
    assert flipped.landmarks is not None
    before, after = sample.landmarks[0], flipped.landmarks[0]
    partners = {
        5: {0: 1, 2: 2, 3: 4},
        68: {0: 16, 8: 8, 17: 26, 21: 22, 27: 27, 31: 35, 33: 33, 36: 45, 37: 44, 39: 42, 40: 47, 41: 46, 48: 54,
             50: 52, 57: 57, 55: 59, 60: 64, 61: 63, 65: 67, 66: 66},
        81: {0: 16, 36: 45, 48: 54, 68: 73, 69: 72, 70: 80, 71: 71, 74: 75, 76: 79, 77: 78},
    }[points]  # fmt: skip
    for one, other in partners.items():
        for source, target in ((one, other), (other, one)):
            np.testing.assert_allclose(after[target], (79 - before[source][0], before[source][1]), atol=1e-5)
    np.testing.assert_allclose(np.asarray(flip_sample(flipped).landmarks)[0], before, atol=1e-5)


def test_mirroring_a_symmetric_face_gives_the_same_face() -> None:
    """A face that is its own mirror image, point by point, shows every wrong partner.

    The 13 points of the 81-point model run along the forehead in the order 77 75 76 68 69 70 71 80 72 73 79 74 78
    (Shiohara and Yamasaki, CVPR 2022, reorder them so before blending).
    """
    angles = np.linspace(np.pi, 0, 17)
    x = {index: np.cos(angle) for index, angle in enumerate(angles)}
    x |= dict(zip(range(17, 27), np.linspace(-0.7, 0.7, 10), strict=True))
    x |= dict.fromkeys(range(27, 31), 0.0) | dict(zip(range(31, 36), np.linspace(-0.2, 0.2, 5), strict=True))
    for first, middle in ((36, -0.4), (42, 0.4)):
        x |= {first + k: middle + dx for k, dx in enumerate((-0.2, -0.1, 0.1, 0.2, 0.1, -0.1))}
    lips = (-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3, 0.2, 0.1, 0, -0.1, -0.2)
    x |= {48 + k: dx for k, dx in enumerate(lips)}
    x |= {60 + k: dx for k, dx in enumerate((-0.2, -0.1, 0, 0.1, 0.2, 0.1, 0, -0.1))}
    x |= dict(zip((77, 75, 76, 68, 69, 70, 71, 80, 72, 73, 79, 74, 78), np.linspace(-0.9, 0.9, 13), strict=True))
    rows = {36: 1, 37: 2, 38: 2, 39: 1, 40: 3, 41: 3} | {42: 1, 43: 2, 44: 2, 45: 1, 46: 3, 47: 3}
    rows |= {48 + k: 10 + abs(3 - k) if k < 7 else 20 + abs(9 - k) for k in range(12)}
    rows |= {60 + k: 30 + abs(2 - k) if k < 5 else 40 + abs(6 - k) for k in range(8)}
    face = np.array([(40 + 30 * x[k] - 0.5, rows.get(k, 50)) for k in range(81)], np.float32)
    for count in (68, 81):
        sample = sample_of(1, points=count)
        sample.landmarks = [face[:count]]
        np.testing.assert_allclose(np.asarray(flip_sample(sample).landmarks)[0], face[:count], atol=1e-4)


def test_flip_refuses_landmarks_it_does_not_know() -> None:
    with pytest.raises(DataError, match="106 points"):
        flip_sample(sample_of(1, points=106))


def painted() -> RawSample:
    """A picture whose colours are its parsing ids, and landmarks on the centres of bright discs in the mask."""
    size, rng = 160, np.random.default_rng(2)
    ids = cv2.resize(rng.integers(1, 11, (8, 8), dtype=np.uint8), (size, size), interpolation=cv2.INTER_NEAREST)
    points = np.array([(50, 60), (110, 64), (80, 90), (58, 118), (104, 112)], np.float32)
    discs = np.zeros((size, size), np.uint8)
    for index, (x, y) in enumerate(points):
        cv2.circle(discs, (int(x), int(y)), 6, 50 + 40 * index, -1)
    return RawSample([np.dstack([ids * 20] * 3)], 0, parsing=[ids], masks=[discs], landmarks=[points])


def assert_aligned(result: RawSample, swapped: bool = False) -> None:
    """Ids agree with the colours they were painted with, and landmarks lie on their discs' centres."""
    assert result.parsing is not None
    assert result.masks is not None
    assert result.landmarks is not None
    ids = result.parsing[0]
    if swapped:  # the colours were painted before left and right changed names
        ids = cv2.LUT(ids, transforms._LAPA_LEFT_RIGHT)
    agree = np.abs(result.images[0][..., 0].astype(int) - ids.astype(int) * 20) <= 10
    inside = cv2.erode((ids > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert agree[inside].mean() > 0.85  # the rest lies on the borders between ids, where the picture is mixed
    order = [1, 0, 2, 4, 3] if swapped else range(5)
    cut = np.pad((ids == 0).astype(np.uint8), 1, constant_values=1)  # discs near what came into view are cut
    near_cut = cv2.dilate(cut, np.ones((7, 7), np.uint8))[1:-1, 1:-1] > 0
    for index, (x, y) in zip(order, result.landmarks[0], strict=True):
        disc = result.masks[0] == 50 + 40 * index
        if disc.any() and not (disc & near_cut).any():
            rows, columns = np.nonzero(disc)
            assert abs(columns.mean() - x) < 1
            assert abs(rows.mean() - y) < 1


def test_maps_and_landmarks_follow_fsfm_geometry() -> None:
    from timm.data.auto_augment import RandAugment

    augment: Any = build_augmentation("fsfm", 128, MEAN, crop_scale=(0.5, 1.0), rand_augment="rand-m9-mstd0.5-inc1-p1")
    moves = [op for op in augment.rand_augment.ops if op.name in aug._GEOMETRIC_OPS]
    assert len(moves) == 5
    twins = [op for op in augment.geometry.ops if op.name in aug._GEOMETRIC_OPS]
    for op in moves:
        op.kwargs["fillcolor"] = (0, 0, 0)  # so that uncovered pixels agree with id 0
    augment = replace(augment, rand_augment=RandAugment(moves), geometry=RandAugment(twins))
    for seed in range(40):
        is_flipped = content(augment(painted(), seed)) != content(replace(augment, flip_prob=0.0)(painted(), seed))
        assert_aligned(augment(painted(), seed), is_flipped)


def test_geometry_twin_meets_the_same_operations_as_the_colour_one() -> None:
    """With all 15 operations the map must move exactly as the picture does."""
    augment: Any = build_augmentation("fsfm", 64, (0, 0, 0), crop_scale=(1, 1), crop_ratio=(1, 1), flip_prob=0.0)
    plain = replace(augment, rand_augment=None)
    white = np.full((64, 64, 3), 255, np.uint8)
    moved = 0
    for seed in range(120):
        sample = RawSample([white], 0, masks=[white[..., 0]])
        mask = np.asarray(augment(sample, seed).masks)[0]
        is_moved = not np.array_equal(mask, np.asarray(plain(sample, seed).masks)[0])
        moved += is_moved
        if is_moved:
            picture = augment(sample, seed).images[0][..., 0]
            outside = cv2.erode((mask == 0).astype(np.uint8), np.ones((3, 3))) > 0
            inside = cv2.erode((mask == 255).astype(np.uint8), np.ones((3, 3))) > 0
            assert len(np.unique(picture[outside])) <= 1
            assert len(np.unique(picture[inside])) <= 1
    assert 30 < moved < 75  # each of two draws moves with probability 1/2 * 5/15: 31 % of 120, zero shifts aside


def test_maps_and_landmarks_follow_deepfakebench_rotation() -> None:
    augment = build_augmentation(
        "deepfakebench", 128, MEAN, rotate_prob=1.0, flip_prob=0.0, blur_prob=0.0, color_prob=0.0, jpeg_prob=0.0
    )
    for seed in range(20):
        assert_aligned(augment(painted(), seed))


# ------------------------------------------------------------------------------- the originals' operations


def drawn(step: aug.Step, frame: np.ndarray, seed: int) -> dict[str, Any]:
    return step.draw(frame, random.Random(seed))


def steps_of(release: str) -> dict[str, aug.Step]:
    augment: Any = build_augmentation("deepfakebench", 64, MEAN, release=release)
    steps = (augment.rotate, augment.blur, *augment.colours, augment.jpeg)
    return {type(step.transform).__name__: step for step in steps}


@pytest.mark.parametrize(
    "name", ["GaussianBlur", "RandomBrightnessContrast", "FancyPCA", "HueSaturationValue", "ImageCompression"]
)
def test_fast_operations_equal_albumentations(name: str) -> None:
    step = steps_of("2.0")[name]
    pictures = [face(seed) for seed in range(3)] + [np.random.default_rng(1).integers(0, 256, (40, 56, 3), np.uint8)]
    pictures += [np.full((16, 16, 3), 90, np.uint8)]
    for seed in range(40):
        picture = pictures[seed % len(pictures)]
        params = drawn(step, picture, seed)
        if name == "FancyPCA":
            params["alpha_vector"] = params["alpha_vector"] * 30  # at its true strength it changes next to nothing
        expected = step.transform.apply(picture, **params).astype(int)
        assert np.abs(step.run([picture], params)[0] - expected).max() <= (1 if name == "FancyPCA" else 0)


def test_rotation_equals_albumentations() -> None:
    step = steps_of("2.0")["Rotate"]
    for seed in range(5):
        params = drawn(step, face(), seed)
        ours = aug._rotate_sample(sample_of(0), params["matrix"][:2])
        np.testing.assert_array_equal(ours.images[0], step.transform.apply(face(), **params))
        assert ours.parsing is not None
        np.testing.assert_array_equal(
            ours.parsing[0], step.transform.apply_to_mask(np.asarray(sample_of(0).parsing)[0], **params)
        )


def test_release_1_1_operations_equal_golden() -> None:
    """Golden: the functions of the albumentations 1.1.0 wheel, run on one small picture."""
    golden, steps = load_file(GOLDEN / "albumentations_1_1_ops.safetensors"), steps_of("1.1")
    picture = golden["image"]
    for key, expected in golden.items():
        kind, *values = key.split("_")
        numbers = [float(value) for value in values]
        if kind == "blur":
            step, params = steps["GaussianBlur"], {"kernel": np.zeros(int(numbers[0]))}
        elif kind == "brightness":
            step, params = steps["RandomBrightnessContrast"], {"alpha": numbers[0], "beta": numbers[1] * 255}
        elif kind == "pca":
            step, params = steps["FancyPCA"], {"alpha_vector": np.full(3, numbers[0])}
        elif kind == "hsv":
            step = steps["HueSaturationValue"]
            params = dict(zip(("hue_shift", "sat_shift", "val_shift"), numbers, strict=True))
        elif kind == "jpeg":
            step, params = steps["ImageCompression"], {"quality": int(numbers[0]), "image_type": ".jpg"}
        else:
            assert kind == "image"
            continue
        difference = np.abs(step.run([picture], params)[0].astype(int) - expected)
        assert difference.max() <= 1, key
        assert difference.mean() < 0.01, key


def test_deepfakebench_probabilities_and_ranges() -> None:
    augment: Any = built("deepfakebench")
    frame, count = face(), 4000
    kinds: Counter[str] = Counter()
    kernels: Counter[int] = Counter()
    qualities, flips = [], 0
    for seed in range(count):
        is_flipped, plan = augment.plan(frame, seed)
        flips += is_flipped
        for step, params in plan:
            kinds[type(step.transform).__name__] += 1
            if "kernel" in params:
                kernels[len(params["kernel"])] += 1
            if "quality" in params:
                qualities.append(params["quality"])
    assert abs(flips / count - 0.5) < 0.03
    for name in ("Rotate", "GaussianBlur", "ImageCompression"):
        assert abs(kinds[name] / count - 0.5) < 0.03
    for name in ("RandomBrightnessContrast", "FancyPCA", "HueSaturationValue"):
        assert abs(kinds[name] / count - 1 / 6) < 0.025
    for side, share in ((3, 0.2), (5, 0.4), (7, 0.4)):
        assert abs(kernels[side] / kernels.total() - share) < 0.04
    assert (min(qualities), max(qualities)) == (40, 100)
    assert abs(np.mean(qualities) - 70) < 1.5


def test_deepfakebench_keeps_its_steps_independent() -> None:
    """Blur must tell nothing about JPEG or the flip, whatever the order of drawing."""
    augment: Any = built("deepfakebench")
    facts = []
    for seed in range(3000):
        is_flipped, plan = augment.plan(face(), seed)
        names = {step.name for step, _ in plan}
        facts.append([is_flipped, *(name in names for name in ("rotate", "blur", "colour", "jpeg"))])
    correlation = np.corrcoef(np.array(facts, float).T) - np.eye(5)
    assert np.abs(correlation).max() < 0.07


def test_rand_augment_is_the_published_list() -> None:
    augment: Any = build_augmentation("fsfm", 224, VGGFACE2[0])
    assert [op.name for op in augment.rand_augment.ops] == [
        "AutoContrast", "Equalize", "Invert", "Rotate", "PosterizeIncreasing", "SolarizeIncreasing", "SolarizeAdd",
        "ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing", "ShearX", "ShearY",
        "TranslateXRel", "TranslateYRel",
    ]  # fmt: skip
    assert augment.rand_augment.num_layers == 2
    assert augment.rand_augment.choice_weights is None  # so drawn with replacement
    for op in augment.rand_augment.ops:
        assert (op.prob, op.magnitude, op.magnitude_std, op.magnitude_max) == (0.5, 9, 0.5, None)
        assert op.kwargs["fillcolor"] == (140, 108, 93)
        assert op.kwargs["resample"] == 2  # bilinear


@pytest.mark.parametrize("magnitude", [0, 5, 9, 10])
def test_every_rand_augment_operation_runs_at_every_strength(magnitude: int) -> None:
    """Posterize at full magnitude keeps 0 bits, which Pillow 13 refuses; about one sample in 650 meets it."""
    from PIL import Image

    config = f"rand-m{magnitude}-mstd0-inc1-p1"
    for op in aug._timm_rand_augment(config, 64, MEAN, "pil_bilinear").ops:
        with aug.seeded_globals(1):
            result = np.array(op(Image.fromarray(face())))
        assert result.shape == face().shape
        if op.name == "PosterizeIncreasing":
            bits = 4 - int(magnitude / 10 * 4)
            np.testing.assert_array_equal(result, face() & (0xFF00 >> bits & 0xFF))


def test_random_crop_and_erase_match_timm() -> None:
    """Distribution of crops and of erased boxes beside timm's own, over the same number of draws."""
    import timm.data.transforms as timm_transforms
    from PIL import Image
    from timm.data.random_erasing import RandomErasing

    count, image = 3000, Image.new("RGB", (90, 120))
    theirs, ours, erased, boxes = [], [], [], []
    erasing = RandomErasing(probability=0.25, mode="pixel", device="cpu")
    get_params = timm_transforms.RandomResizedCropAndInterpolation.get_params
    with aug.seeded_globals(3):
        for _ in range(count):
            theirs.append(get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)))
            erased.append(int((erasing(torch.zeros(1, 48, 48)) != 0).sum()))
    augment: Any = build_augmentation("fsfm", 48, MEAN, rand_augment="")
    tiny = RawSample([np.zeros((6, 6, 3), np.uint8)], 0)
    for seed in range(count):
        box = aug.draw_crop(random.Random(seed), (120, 90, 3), (0.08, 1.0), (3 / 4, 4 / 3))
        ours.append(box.pixels((120, 90)))
        boxes.append(sum(w * h for _, _, w, h in augment(tiny, seed).erase))
    for column in range(4):
        a, b = (np.array([row[column] for row in rows], float) for rows in (theirs, ours))
        assert abs(a.mean() - b.mean()) < 4 * a.std() * (2 / count) ** 0.5
        assert abs(a.std() - b.std()) < 0.08 * a.std()
    assert abs(np.mean(np.array(boxes) > 0) - 0.25) < 0.03
    assert abs(np.mean(boxes) - np.mean(erased)) < 4 * np.std(erased) * (2 / count) ** 0.5


def test_erase_boxes_lie_inside_the_image_and_have_the_published_areas() -> None:
    for seed in range(300):
        boxes = aug.draw_erase(random.Random(seed), 224, (0.02, 1 / 3), 0.3)
        assert len(boxes) == 1
        x, y, width, height = boxes[0]
        assert 0 <= x <= 224 - width
        assert 0 <= y <= 224 - height
        assert 0.015 < width * height / 224**2 < 0.35
        assert 0.28 < height / width < 3.5


# ------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("deepfakebench", {"blur_probability": 0.5}, "not a known key. Did you mean augmentation.blur_prob"),
        ("none", {"flip_prob": 0.5}, "augmentation.flip_prob is not a known key"),
        ("flip", {"flip_prob": 1.5}, "flip_prob: 1.5 is not a probability"),
        ("fsfm", {"crop_scale": (0.9, 0.1)}, "crop_scale"),
        ("fsfm", {"rand_augment": "rand-q9"}, "rand_augment: timm does not understand 'rand-q9'"),
        ("fsfm", {"resize": "pil_bicubik"}, "Did you mean pil_bicubic"),
        ("deepfakebench", {"quality_lower": 0}, "quality"),
        ("deepfakebench", {"release": "3"}, "release"),
        ("deepfakebench", {"rotate_limit": (20.0, 10.0)}, "rotate_limit"),
    ],
)
def test_wrong_options_are_clear_errors(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_augmentation(name, 64, MEAN, **options)


def test_unknown_augmentation_lists_the_nearest() -> None:
    with pytest.raises(RegistryError, match="deepfakebench"):
        build_augmentation("deepfake_bench", 64, MEAN)


def test_albumentations_warnings_are_errors() -> None:
    with pytest.raises(ConfigError, match="quality_lower"):
        albumentations_transform("ImageCompression", quality_lower=40, quality_upper=100)
    with pytest.raises(ConfigError, match="Did you mean GaussianBlur"):
        albumentations_transform("GausianBlur")
    with pytest.raises(ConfigError, match="always_apply"):
        albumentations_transform("HorizontalFlip", always_apply=True)
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"]
    assert albumentations_transform("ImageCompression", quality_range=(40, 100)).quality_range == (40, 100)


# ---------------------------------------------------------------------------------------------- transforms


@pytest.mark.parametrize("center_crop", [False, True])
@pytest.mark.parametrize(("suffix", "norm"), [("imagenet", IMAGENET), ("pretrainstats", VGGFACE2)])
def test_evaluation_equals_golden(center_crop: bool, suffix: str, norm: tuple[Any, Any]) -> None:
    golden = load_file(GOLDEN / "eval_transforms.safetensors")
    view = EvalTransform(int(golden["input_size"][0]), center_crop=center_crop)
    image = view(RawSample([golden["image_hwc_uint8"]], 0)).images[0]
    inputs = to_input(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None], *norm)[0].numpy()
    difference = np.abs(inputs - golden[f"out_simpleaug{int(center_crop)}_{suffix}"])
    assert difference.max() < 2 / 255 / min(norm[1])
    assert difference.mean() < 1e-3


def test_evaluation_moves_maps_and_landmarks_too() -> None:
    for center_crop in (False, True):
        assert_aligned(EvalTransform(128, center_crop=center_crop)(painted()))


@pytest.mark.parametrize("policy", transforms.RESIZE_POLICIES)
def test_resize_policies(policy: str) -> None:
    picture = face(3, 120, 97)
    result = resize_image(picture, 64, 80, policy)
    assert result.shape == (64, 80, 3)
    assert result.flags.c_contiguous
    smooth = cv2.resize(cv2.GaussianBlur(picture, (0, 0), 1), (80, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(result.astype(int) - smooth).mean() < 8
    assert resize_image(picture, 120, 97, policy) is picture


@pytest.mark.parametrize("kind", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(64, 64), (200, 150)])
def test_torch_resize_follows_pillow(kind: str, size: tuple[int, int]) -> None:
    picture = face(3, 120, 97)
    difference = np.abs(
        resize_image(picture, *size, f"torch_{kind}").astype(int) - resize_image(picture, *size, f"pil_{kind}")
    )
    assert difference.max() <= 2
    assert (difference > 0).mean() < 0.02


def test_resize_scales_landmarks_about_pixel_centres() -> None:
    sample = RawSample([face(1, 40, 80)], 0, landmarks=[np.array([[0, 0], [79, 39], [39.5, 19.5]], np.float32)])
    resized = resize_sample(sample, 20, 20)
    np.testing.assert_allclose(
        np.asarray(resized.landmarks)[0], [[-0.375, -0.25], [19.375, 19.25], [9.5, 9.5]], atol=1e-6
    )


def test_resized_maps_hold_only_known_ids() -> None:
    ids = np.random.default_rng(0).choice(np.array([0, 7, 200], np.uint8), (50, 50))
    for size in (17, 50, 131):
        assert set(np.unique(transforms.resize_map(ids, size, size))) <= {0, 7, 200}
    np.testing.assert_array_equal(transforms.resize_map(transforms.resize_map(ids, 150, 150), 50, 50), ids)


def batch(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def nchw(images: torch.Tensor) -> torch.Tensor:
    return images.movedim(-1, -3).contiguous()


def channels_last(images: torch.Tensor) -> torch.Tensor:
    return images.movedim(-1, -3)


@pytest.mark.parametrize("layout", [nchw, channels_last])
@pytest.mark.parametrize("leading", [(4,), (2, 3)])
def test_to_input_normalises(layout: Callable[[torch.Tensor], torch.Tensor], leading: tuple[int, ...]) -> None:
    images = layout(batch(*leading, 10, 12, 3))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    inputs = to_input(images, MEAN, STD)
    torch.testing.assert_close(inputs, (images.float() / 255 - mean) / std, atol=2e-6, rtol=0)
    assert inputs.stride() == images.stride()


def test_to_input_fills_boxes_from_the_seed_of_each_sample() -> None:
    images = channels_last(batch(4, 60, 60, 3))
    erase = [[], [(5, 10, 40, 30)], [], [(0, 0, 50, 50), (52, 52, 6, 6)]]
    plain, inputs = to_input(images, MEAN, STD), to_input(images, MEAN, STD, erase, [1, 2, 3, 2**63 + 5])
    changed = (plain != inputs).any(1)
    expected = torch.zeros(4, 60, 60, dtype=torch.bool)
    expected[1, 10:40, 5:45] = True
    expected[3, :50, :50] = True
    expected[3, 52:58, 52:58] = True
    assert torch.equal(changed, expected)
    noise = inputs[1, :, 10:40, 5:45]
    assert abs(noise.mean()) < 0.06
    assert abs(noise.std() - 1) < 0.05
    alone = to_input(images[1:2], MEAN, STD, [erase[1]], [2])
    assert torch.equal(alone[0], inputs[1])  # neighbours in the batch do not matter
    assert not torch.equal(to_input(images[1:2], MEAN, STD, [erase[1]], [3]), alone)


def test_to_input_gives_all_frames_of_a_clip_the_same_noise() -> None:
    clips = channels_last(batch(2, 3, 20, 20, 3))
    inputs = to_input(clips, MEAN, STD, [[(2, 3, 8, 9)], []], [7, 8])
    block = inputs[0, :, :, 3:12, 2:10]
    assert torch.equal(block[0], block[1])
    assert torch.equal(block[0], block[2])
    assert torch.equal(inputs[1], to_input(clips, MEAN, STD)[1])


def test_to_input_refuses_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="uint8"):
        to_input(torch.zeros(1, 3, 8, 8), MEAN, STD)
    with pytest.raises(ValueError, match="one seed"):
        to_input(channels_last(batch(1, 8, 8, 3)), MEAN, STD, [[(0, 0, 2, 2)]])
