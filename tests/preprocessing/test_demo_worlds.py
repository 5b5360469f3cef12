"""The demo worlds: splits, labels, determinism of what is written, and no shortcut in global statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.data.cards import builtin_cards
from benchmark.data.index import read_index
from benchmark.data.store import Store, decode_landmarks
from benchmark.errors import ConfigError
from preprocessing.demo.build import DEFAULT_SIZE, build_world
from preprocessing.demo.camera import decode_jpeg, encode_jpeg
from preprocessing.demo.shortcuts import image_features, shortcut_table
from preprocessing.demo.worlds import WORLDS, identity_splits, make_shots, neighbours, plan, real_scene, stored_quality


def build(root: Path, name: str = "demo/FF++", **changes) -> tuple[Path, Path]:
    options = {"size": 64, "scale": 0.02, "workers": 1, "progress": False, **changes}
    index = build_world(name, root / "data", root / "json", **options)
    return index, root / "data" / f"{name}_lmdb"


def test_a_scale_that_runs_into_the_people_of_other_worlds_is_known():
    assert neighbours(WORLDS["demo/CDFv2"], 8.0) == []
    assert neighbours(WORLDS["demo/MCIO/casia"], 1.5) == []
    assert neighbours(WORLDS["demo/MCIO/casia"], 2.0) == ["demo/MCIO/replay"]


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_no_identity_is_in_two_splits_or_worlds(scale: float):
    seen: set[int] = set()
    for world in WORLDS.values():
        for pairs in identity_splits(world, scale, 0).values():
            people = {person for pair in pairs for person in pair}
            assert len(people) == 2 * len(pairs)
            assert not people & seen
            seen |= people


def test_fakes_use_only_people_of_their_split():
    world = WORLDS["demo/FF++"]
    people: dict[str, set[int]] = {}
    videos = plan(world)
    for video in videos:
        if video.family is None:
            people.setdefault(video.split, set()).add(video.target)
    for video in videos:
        assert video.target in people[video.split]
        assert video.source is None or video.source in people[video.split]
    assert {split: len(members) for split, members in people.items()} == world.identities


def test_counts_labels_and_names():
    videos = plan(WORLDS["demo/FF++"])
    real = [video for video in videos if video.cls == "FF-real"]
    assert all(len([v for v in videos if v.cls == cls]) == len(real) for cls in ("FF-DF", "FF-F2F", "FF-FS", "FF-NT"))
    assert all(video.name.isdigit() for video in real)
    assert {video.split for video in plan(WORLDS["demo/CDFv2"])} == {"test"}
    assert len({(video.cls, video.name) for video in videos}) == len(videos)


def test_a_video_made_alone_equals_the_one_in_the_store(tmp_path: Path):
    index, store = build(tmp_path)
    world = WORLDS["demo/FF++"]
    video = next(video for video in plan(world, 0.02) if video.cls == "FF-NT")
    record = next(r for r in read_index(index).records if r.cls == video.cls and r.video == video.name)
    real_scene.cache_clear()
    shots, opened = make_shots(world, video, 64, 0), Store(store)
    assert len(shots) == len(record.frames) == world.num_frames
    for key, shot in zip(record.frames, shots, strict=True):
        assert opened.get(key) == encode_jpeg(shot.image, stored_quality(world, video, 0))
        landmarks = opened.get(key.replace("/frames/", "/landmarks/").replace(".jpg", ".npy"))
        assert np.array_equal(decode_landmarks(landmarks, key), shot.landmarks)
        for part in ("parsing", "masks"):
            assert key.replace("/frames/", f"/{part}/").replace(".jpg", ".png") in opened


def test_building_is_deterministic_and_idempotent(tmp_path: Path):
    first, store = build(tmp_path / "a")
    second, other = build(tmp_path / "b", workers=2)
    assert first.read_bytes() == second.read_bytes()
    left, right = Store(store), Store(other)
    assert [(key, left.get(key)) for key in left.keys()] == [(key, right.get(key)) for key in right.keys()]  # noqa: SIM118
    before = (store / "data.mdb").stat().st_mtime_ns
    build(tmp_path / "a")
    assert (store / "data.mdb").stat().st_mtime_ns == before
    build(tmp_path / "a", seed=1)
    assert read_index(first).meta["settings"]["seed"] == 1


def test_an_unknown_world_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"demo/FF\+\+"):
        build_world("demo/FF+", tmp_path, tmp_path)


@pytest.mark.parametrize("name", [name for name in WORLDS if name not in ("demo/FF++", "demo/CDFv2", "demo/DFDC")])
def test_every_other_world_has_its_classes_in_every_split(tmp_path: Path, name: str):
    index, store = build(tmp_path, name, scale=0.04)
    records, opened, world = read_index(index, labels_of(name)).records, Store(store), WORLDS[name]
    assert {record.split for record in records} == set(world.identities)
    for split in world.identities:
        of_split = [record for record in records if record.split == split]
        assert {record.cls: record.label for record in of_split} == {
            world.real_cls: 0, **{family.cls: 1 for family in world.families}
        }  # fmt: skip
    for record in records:
        assert len(record.frames) == world.num_frames
        for key in record.frames:
            assert key in opened
            assert key.replace("/frames/", "/parsing/").replace(".jpg", ".png") in opened


def test_attacks_and_generated_pictures_change_all_of_it_and_edits_only_the_face():
    for name, cls in (("demo/MCIO/oulu", "oulu_print"), ("demo/DiFF", "DiFF_T2I_fake"), ("demo/DiFF", "DiFF_FE_fake")):
        world = WORLDS[name]
        video = next(video for video in plan(world, 0.04) if video.cls == cls)
        (shot,) = make_shots(world, video, 64, 0, frames=(0,))
        real = real_scene(name, video.target, 64, 0).shoot(0)
        assert shot.mask is not None
        everywhere = not cls.startswith("DiFF_FE")
        assert (shot.mask > 0).all() == everywhere
        assert np.array_equal(shot.image[shot.mask == 0], real.image[shot.mask == 0])
        assert np.abs(shot.image.astype(int) - real.image).mean() > 1


def labels_of(name: str) -> dict[str, int]:
    return builtin_cards()[name].labels


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "frames", "overall", "worst"),
    [
        ("demo/FF++", (1, 6), 0.64, 0.72),  # 32 people a family: the standard error is about 0.05
        ("demo/DiFF", (0,), 0.66, 0.76),
        ("demo/MCIO/msu", (0, 2), 0.75, 0.80),  # a recapture changes the whole picture; 24 people
        ("demo/MCIO/oulu", (0, 2), 0.86, 0.86),  # the cleanest cameras: the worst of the five
    ],
)
def test_global_statistics_do_not_give_the_label_away(name: str, frames: tuple[int, ...], overall: float, worst: float):
    """A linear model on some frames of every person (full tables are in docs/demo_worlds.md)."""
    world = WORLDS[name]
    features, classes, videos, splits = [], [], [], []
    for video in plan(world):
        if video.split == "val":
            continue
        quality = stored_quality(world, video, 0)
        for shot in make_shots(world, video, DEFAULT_SIZE, 0, frames=frames):
            data = encode_jpeg(shot.image, quality)
            features.append(image_features(decode_jpeg(data), len(data)))
            classes.append(video.cls)
            videos.append(f"{video.cls}/{video.name}")
            splits.append(video.split)
    rows = {r.name: r.frame_auc for r in shortcut_table(np.stack(features), classes, videos, splits, world.real_cls)}
    assert rows["all"] < overall, rows
    assert max(rows.values()) < worst, rows
