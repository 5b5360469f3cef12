"""benchmark/data/{video_blend,self_blend}.py and forged twins in data sets, batches and training."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from benchmark.data import video_blend as vb
from benchmark.data.augmentation import build_augmentation
from benchmark.data.datasets import FaceDataset, select_videos
from benchmark.data.readers import load_words
from benchmark.data.sample import Augmentation, Forger, RawSample
from benchmark.data.sampling import PairedPlan, SampleKey, chunk
from benchmark.data.self_blend import hull_mask
from benchmark.data.transforms import EvalTransform
from benchmark.errors import ConfigError, DataError, TrainingError
from benchmark.schema import ClipConfig, PathsConfig

MEAN = (0.5, 0.5, 0.5)
SIZE = 96


def face_points(size: int = SIZE, seed: int = 0) -> np.ndarray:
    """68 points roughly where a frontal face has them in a square crop of ``size`` pixels."""

    def arc(count: int, x: float, y: float, rx: float, ry: float, start: float, stop: float) -> np.ndarray:
        angles = np.linspace(start, stop, count)
        return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)

    def ring(count: int, x: float, y: float, rx: float, ry: float) -> np.ndarray:
        return arc(count + 1, x, y, rx, ry, np.pi, 3 * np.pi)[:-1]

    points = np.concatenate([
        arc(17, 0.5, 0.45, 0.36, 0.45, np.pi, 0),
        arc(5, 0.34, 0.36, 0.1, 0.05, np.pi, 2 * np.pi), arc(5, 0.66, 0.36, 0.1, 0.05, np.pi, 2 * np.pi),
        np.linspace((0.5, 0.42), (0.5, 0.58), 4), arc(5, 0.5, 0.6, 0.08, 0.03, np.pi, 0),
        ring(6, 0.35, 0.44, 0.06, 0.025), ring(6, 0.65, 0.44, 0.06, 0.025),
        ring(12, 0.5, 0.74, 0.12, 0.05), ring(8, 0.5, 0.74, 0.08, 0.02),
    ])  # fmt: skip
    return ((points + np.random.default_rng(seed).normal(0, 0.004, points.shape)) * size).astype(np.float32)


def clip_of(length: int, size: int = SIZE, label: int = 0) -> RawSample:
    rng = np.random.default_rng(5)
    frames = [cv2.resize(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8), (size, size)) for _ in range(length)]
    return RawSample(frames, label, landmarks=[face_points(size, seed) for seed in range(length)])


def forger(name: str = "video_blend", size: int = SIZE, **options: Any) -> Forger:
    built = build_augmentation(name, size, MEAN, **options)
    assert isinstance(built, Forger)
    return built


# ------------------------------------------------------------------------------------- golden: the published blending


def test_masks_matrices_and_frames_are_the_published_ones(golden: Callable[[str], Any]) -> None:
    data = {key: value.numpy() for key, value in golden("video_blend.safetensors").items()}
    np.testing.assert_allclose(vb.part_masks(data["landmarks68"][0], 128, 128), data["masks_frame0"], atol=1e-5)
    for image, points, movements, matrices, expected in zip(
        data["frames"], data["landmarks68"], data["part_params"], data["warp_matrix"], data["vb_frames"], strict=True
    ):
        found = [vb.drift_matrix(points, movement) for movement in movements]
        np.testing.assert_allclose(found, matrices, atol=1e-4)
        blended, touched = vb.blend_frame(image, points, movements)
        assert np.abs(blended.astype(int) - expected.astype(int)).max() == 0, "the spec asks for at most 1"
        np.testing.assert_array_equal(blended[touched == 0], image[touched == 0])


def test_all_golden_masks(shared: Path) -> None:
    from safetensors.numpy import load_file

    data = load_file(shared / "golden" / "sta_clip" / "vb_s128_f3.safetensors")
    for points, masks in zip(data["landmarks68"], data["masks"], strict=True):
        np.testing.assert_allclose(vb.part_masks(points, 128, 128), masks, atol=1e-5)


# --------------------------------------------------------------------------------------------------- video blending


@pytest.mark.parametrize("length", [4, 8, 12, 16])
def test_the_real_clip_stays_as_it_is_in_frame_order(length: int) -> None:
    clip = clip_of(length)
    blend = forger()
    real, fake = blend(clip, 3), blend.forge(clip, 3)
    assert (real.label, fake.label) == (0, 1)
    assert all(np.array_equal(a, b) for a, b in zip(real.images, clip.images, strict=True))
    changed = [np.abs(a.astype(int) - b.astype(int)) for a, b in zip(real.images, fake.images, strict=True)]
    assert all(5 < difference.max() < 120 for difference in changed)
    assert all(difference.mean() < 8 for difference in changed), "only the organs change"


def test_the_staging_codes_order_swaps_six_of_eight_frames() -> None:
    assert vb.string_order(8)[:8] == [0, 1, 10, 11, 12, 13, 14, 15]
    swapped = {length: sum(p >= length for p in vb.string_order(length)[:length]) for length in (5, 8, 12, 16)}
    assert swapped == {5: 0, 8: 6, 12: 8, 16: 7}
    clip, faithful = clip_of(8), forger(faithful=("string_order",))
    right_fake = forger().forge(clip, 1)
    real, fake = faithful(clip, 1), faithful.forge(clip, 1)
    together = [*clip.images, *right_fake.images]
    for frames, positions in ((real.images, vb.string_order(8)[:8]), (fake.images, vb.string_order(8)[8:])):
        assert all(np.array_equal(f, together[p]) for f, p in zip(frames, positions, strict=True))


def test_faithful_colours_and_landmarks() -> None:
    clip = clip_of(2, size=128)
    bgr = forger(size=64, faithful=("bgr",))
    np.testing.assert_array_equal(bgr(clip, 1).images[0], forger(size=64)(clip, 1).images[0][..., ::-1])
    unscaled = forger(size=64, faithful=("unscaled_landmarks",)).forge(clip, 1).images[0]
    right = forger(size=64).forge(clip, 1).images[0]
    assert not np.array_equal(unscaled, right)
    small = replace(clip, images=[cv2.resize(image, (64, 64), interpolation=cv2.INTER_CUBIC) for image in clip.images])
    np.testing.assert_array_equal(unscaled, forger(size=64).forge(small, 1).images[0])


def test_movements_over_time() -> None:
    still = clip_of(1)
    clip = RawSample(still.images * 6, 0, landmarks=still.landmarks * 6)
    drifting = {image.tobytes() for image in forger().forge(clip, 9).images}
    shared = {image.tobytes() for image in forger(over_time="shared").forge(clip, 9).images}
    assert (len(drifting), len(shared)) == (6, 1)


def test_movements_lie_in_their_ranges_and_grow_with_the_image() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([vb.Motion().draw(rng, 224) for _ in range(400)])
    assert drawn.shape == (400, 4, 4)
    assert 4.5 < np.abs(drawn[..., 0]).max() <= 5
    assert 0.045 < np.abs(drawn[..., 1] - 1).max() <= 0.05
    assert 2.2 < np.abs(drawn[..., 2:]).max() <= 2.5
    half = np.array([vb.Motion().draw(rng, 112) for _ in range(400)])
    assert 1.1 < np.abs(half[..., 2:]).max() <= 1.25


def test_parts_and_alpha() -> None:
    clip = clip_of(1)
    mouth = forger(parts=("mouth",), alpha=1.0).forge(replace(clip, masks=[np.zeros((SIZE, SIZE), np.uint8)]), 2)
    changed = np.argwhere((mouth.images[0] != clip.images[0]).any(axis=-1))
    assert len(changed)
    assert changed[:, 0].min() > 0.6 * SIZE, "below the nose"
    assert (mouth.masks[0][tuple(changed.T)] == 255).all()
    assert (forger(alpha=0.0).forge(clip, 2).images[0] == clip.images[0]).all()


@pytest.mark.parametrize("name", ["video_blend", "sbi"])
def test_twins_are_pure_functions_and_share_the_augmentation_of_the_real_one(name: str) -> None:
    clip = clip_of(3)
    blend = pickle.loads(pickle.dumps(forger(name, then={"name": "deepfakebench", "rotate_prob": 1.0})))
    first, again, other = (blend.forge(clip, seed) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first.images, again.images, strict=True))
    assert not np.array_equal(first.images[0], other.images[0])
    np.testing.assert_array_equal(first.landmarks[0], blend(clip, 7).landmarks[0])


def test_a_forger_needs_landmarks_of_a_known_layout() -> None:
    for name in ("video_blend", "sbi"):
        for landmarks in (None, [face_points()[:5]]):
            with pytest.raises(DataError, match="68 or 81 landmarks"):
                forger(name).forge(replace(clip_of(1), landmarks=landmarks), 0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("video_blend", {"forged_share": 0.0}, "forged_share"),
        ("video_blend", {"alpha": 2.0}, "alpha"),
        ("video_blend", {"parts": ["ears"]}, "parts"),
        ("video_blend", {"then": {"name": "sbi"}}, "one forger at a time"),
        ("video_blend", {"then": {"name": "flip", "flop": 1}}, "flop"),
        ("sbi", {"scale": 2.0}, "scale"),
        ("sbi", {"forged_share": 1.5}, "forged_share"),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_augmentation(name, SIZE, MEAN, **options)


# -------------------------------------------------------------------------------------------- a forger of one's own


@dataclass(frozen=True)
class Smear(Forger):
    """The example of docs/augmentations.md."""

    then: Augmentation
    forged_share: float = 1.0

    def __call__(self, sample: RawSample, seed: int) -> RawSample:
        return self.then(sample, seed)

    def forge(self, sample: RawSample, seed: int) -> RawSample:
        smeared = [cv2.blur(image, (9, 1)) for image in sample.images]
        return self.then(replace(sample, images=smeared, label=1), seed)


def test_a_forger_without_needs_works_on_any_data(toy_world: Any) -> None:
    smear = Smear(build_augmentation("flip", 32, MEAN, flip_prob=1.0))
    dataset = dataset_of(toy_world, smear, clip=False)
    real, fake = dataset[SampleKey(0, 0)], dataset[SampleKey(0, len(dataset) // 2)]
    assert (real["label"], fake["label"], fake["video"]) == (0, 1, real["video"] + "_fake")
    assert fake["image"].float().std(dim=-1).mean() < 0.8 * real["image"].float().std(dim=-1).mean()


# ------------------------------------------------------------------------------------------------------ self-blending


@pytest.mark.parametrize("kind", ["face", "extended", "components", "inner"])
def test_hulls_cover_the_face(kind: str) -> None:
    points = face_points(128)
    mask = hull_mask(points, kind, 128, 128)
    assert set(np.unique(mask)) == {0.0, 1.0}
    inner = points[27:36].mean(axis=0).round().astype(int)
    assert mask[inner[1], inner[0]] == 1
    assert mask[:, :5].max() == 0
    assert 0.05 < mask.mean() < 0.7


def test_source_or_target_is_changed_at_even_odds_and_the_mask_says_where_the_source_went() -> None:
    clip, blend = replace(clip_of(1, 128), masks=[np.zeros((128, 128), np.uint8)]), forger("sbi", 128)
    outside, inside = [], []
    for seed in range(40):
        fake = blend.forge(clip, seed)
        difference = np.abs(fake.images[0].astype(int) - clip.images[0].astype(int)).max(axis=-1)
        assert fake.label == 1
        assert set(np.unique(fake.masks[0])) == {0, 255}
        outside.append(difference[fake.masks[0] == 0].max())
        inside.append(difference[fake.masks[0] == 255].max())
    assert min(inside) > 0
    assert 10 <= sum(value == 0 for value in outside) <= 30, "an unchanged target shows outside the mask"


def test_frames_of_a_clip_share_all_decisions() -> None:
    still = clip_of(1)
    clip = RawSample(still.images * 3, 0, landmarks=still.landmarks * 3)
    assert len({image.tobytes() for image in forger("sbi").forge(clip, 4).images}) == 1


def test_landmarks_outside_the_image_change_nothing() -> None:
    clip = replace(clip_of(1), landmarks=[face_points() + 1000])
    np.testing.assert_array_equal(forger().forge(clip, 0).images[0], clip.images[0])
    assert forger("sbi").forge(clip, 0).images[0].shape == (SIZE, SIZE, 3)


# --------------------------------------------------------------------------------------- twins in data set and batches


@pytest.fixture(scope="module")
def landmark_world(make_world: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_world(tmp_path_factory.mktemp("twins"), {"train": (6, 9)}, frames=4, parts=("landmarks",))


def dataset_of(world: Any, augmentation: Any, clip: bool = True, needs: frozenset[str] = frozenset()) -> FaceDataset:
    loaded = load_words(["Toy"], "train", PathsConfig(data=world.data, indexes=world.indexes))
    return FaceDataset(
        select_videos(loaded, "all", "uniform"),
        EvalTransform(32),
        augmentation=augmentation,
        needs=needs,
        clip=ClipConfig(length=4) if clip else None,
        seed=3,
    )


def test_every_real_sample_has_a_twin_that_differs_by_the_forgery_only(landmark_world: Any) -> None:
    dataset = dataset_of(landmark_world, forger(size=32))
    assert len(dataset) == 6 + 9 + 6
    assert dataset.summary()["forged_samples"] == 6
    for twin in range(15, 21):
        real = dataset.original(twin)
        one, other = dataset[SampleKey(2, real)], dataset[SampleKey(2, twin)]
        assert (one["label"], other["label"], dataset.labels[twin]) == (0, 1, 1)
        assert (other["video"], other["frame"], other["seed"]) == (one["video"] + "_fake", one["frame"], one["seed"])
        assert other["index"] == twin
        assert "landmarks" not in other, "the detector did not ask for them"
        assert not torch.equal(one["clip"], other["clip"])
    assert "landmarks" in dataset_of(landmark_world, forger(size=32), needs=frozenset({"landmarks"}))[20]


def test_real_samples_only_when_all_fakes_are_forged(landmark_world: Any) -> None:
    dataset = dataset_of(landmark_world, forger("sbi", 32), clip=False)
    assert len(dataset) == 2 * 6 * 4
    assert Counter(dataset.labels.tolist()) == {0: 24, 1: 24}
    assert {dataset[index]["video"].split("/")[0] for index in range(48)} == {"Toy_real"}


def test_missing_landmarks_are_refused_early_and_only_real_videos_need_them(toy_world: Any) -> None:
    with pytest.raises(DataError, match=r"Toy has no 'landmarks' .* which the augmentation needs .* --landmarks"):
        dataset_of(toy_world, forger(size=32))


def test_batches_hold_real_samples_and_their_twins_side_by_side(landmark_world: Any) -> None:
    dataset = dataset_of(landmark_world, forger(size=32, forged_share=0.5))
    plan = dataset.default_plan(8, 0, "natural")
    assert plan.steps_per_epoch == 1
    for epoch in range(5):
        for batch in plan.batches(epoch):
            labels = dataset.labels[batch]
            assert labels.tolist() == [0] * 4 + [1] * 4
            twins = [index for index in batch if index >= 15]
            assert len(twins) == 2
            assert {dataset.original(int(index)) for index in twins} <= set(batch[:4].tolist())
    assert not np.array_equal(plan.batches(0), plan.batches(1))
    np.testing.assert_array_equal(plan.batches(3), dataset.default_plan(8, 0, "natural").batches(3))
    with pytest.raises(ConfigError, match=r"data\.balance=class"):
        dataset.default_plan(8, 0, "class")


def test_pairs_stay_together_on_every_process() -> None:
    plan = PairedPlan(np.arange(32), np.arange(100, 132), np.empty(0, int), 1.0, 16, seed=1)
    for batch in plan.batches(0):
        for part in range(4):
            share = chunk(batch, part, 4)
            assert sorted(share[share < 100] + 100) == sorted(share[share >= 100])
    everything = plan.batches(2)
    assert sorted(everything[:, :8].ravel()) == list(range(32)), "an epoch is one pass over the real samples"


@pytest.mark.parametrize(
    ("batch", "share", "fakes", "message"),
    [(7, 1.0, 0, "even batch"), (80, 1.0, 0, "no more than 32"), (8, 0.1, 4, "less than one"), (8, 0.5, 0, "none")],
)
def test_impossible_batches_are_refused(batch: int, share: float, fakes: int, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        PairedPlan(np.arange(32), np.arange(32, 64), np.arange(100, 100 + fakes), share, batch, seed=0)
