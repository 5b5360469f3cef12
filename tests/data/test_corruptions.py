"""Corruptions: what they do, that they depend on the frame alone, and the words and protocols that ask for them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.data.cards import parse_word
from benchmark.data.corruptions import KINDS, LEVELS, Corruption, corrupt_sample
from benchmark.data.datasets import FaceDataset, corruptions_of, select_videos
from benchmark.data.readers import load_words
from benchmark.data.sample import RawSample
from benchmark.data.transforms import EvalTransform
from benchmark.errors import ConfigError, DataError
from benchmark.protocols import get_protocol
from benchmark.schema import PathsConfig


@pytest.fixture(scope="module")
def face():
    """A colourful picture with edges, (256, 256, 3)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:256, 0:256]
    picture = (
        np.stack([x, y, 255 - x], -1) * 0.6
        + 60 * ((x // 11 + y // 11) % 2)[..., None]
        + rng.normal(0, 6, (256, 256, 1))
    )
    return np.clip(picture, 0, 255).astype(np.uint8)


def damage(face, kind, level):
    return np.abs(Corruption(kind, level)(face, 1).astype(float) - face).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_damage_grows_with_the_level(face, kind):
    before = face.copy()
    amounts = [damage(face, kind, level) for level in LEVELS]
    assert amounts == sorted(amounts)
    assert amounts[0] > 0.1
    assert amounts[-1] > 1.3 * amounts[0]
    assert (face == before).all()


@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_type_stay_and_the_seed_decides(face, kind):
    for image in (face, face[:61, :40]):
        one, same, other = (Corruption(kind, 3)(image, seed) for seed in (1, 1, 2))
        assert one.shape == image.shape
        assert one.dtype == np.uint8
        assert (one == same).all()
        assert (one == other).all() == (kind not in {"noise", "blocks"})


def test_single_strengths(face):
    grey = Corruption("saturation", 5)(face, 0)
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 1] == grey[..., 2]).all()
    assert (Corruption("contrast", 3)(face, 0) == np.rint(face * 0.6)).all()
    squares = Corruption("blocks", 1)(face, 0)
    assert 0.5 * 16 * 64 <= (squares == 136).all(-1).sum() <= 16 * 64 + 20
    noise = Corruption("noise", 5)(np.full((128, 128, 3), 128, np.uint8), 0).astype(float)
    assert noise.std() == pytest.approx(255 * np.sqrt(0.05), rel=0.03)
    assert (Corruption("resize", 1)(face, 0)[::2] == Corruption("resize", 1)(face, 0)[1::2]).all()


def test_lengths_scale_with_the_crop(face):
    """A crop of half the size gets half the blur, so the same share of detail is lost."""
    import cv2

    small = cv2.resize(face, (128, 128), interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(Corruption("blur", 4)(face, 0), (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(Corruption("blur", 4)(small, 0).astype(float) - blurred).mean() < 3


def test_frames_of_a_clip_get_noise_of_their_own(face):
    sample = corrupt_sample(RawSample([face, face], 1), Corruption("noise", 3), ["a/000.png", "a/001.png"])
    assert (sample.images[0] != sample.images[1]).any()
    assert sample.label == 1


def dataset(world, word):
    paths = PathsConfig(data=world.data, indexes=world.indexes)
    loaded = load_words([word], "test", paths)
    return FaceDataset(select_videos(loaded, 4, "uniform"), EvalTransform(32), corruptions=corruptions_of(loaded))


def test_a_dataset_word_asks_for_a_corruption(toy_world):
    clean, noisy = dataset(toy_world, "Toy"), dataset(toy_world, "Toy~noise-5")
    assert noisy.dataset_name(0) == "Toy~noise-5"
    assert noisy.fingerprint() != clean.fingerprint()
    assert (noisy[0]["image"] != clean[0]["image"]).any()
    assert noisy[0]["video"] == clean[0]["video"]


def test_order_and_neighbours_do_not_matter(toy_world):
    first = [sample["image"].clone() for sample in map(dataset(toy_world, "Toy~noise-3").__getitem__, range(6))]
    again = dataset(toy_world, "Toy~noise-3")
    for index in (5, 2, 0):
        assert (again[index]["image"] == first[index]).all()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("CDFv2~jpg-3", "corruption 'jpg' is not known. Did you mean jpeg?"),
        ("CDFv2~jpeg-6", "corruption level '6' is not 1 to 5"),
        ("CDFv2~jpeg", "corruption level '' is not 1 to 5"),
    ],
)
def test_wrong_corruptions_are_refused(word, message, tmp_path):
    with pytest.raises(DataError, match=message.replace("?", r"\?")):
        parse_word(word, tmp_path)


def test_words_keep_their_parts(tmp_path):
    word = parse_word("FaceForensics++/DF@c40~blur-2", tmp_path)
    assert (word.label, word.level, word.corruption) == ("FF++/Deepfakes@c40~blur-2", "c40", "blur-2")


def test_the_robustness_protocol_expands_to_every_condition():
    tests = get_protocol("robustness").runs()[""].test
    assert len(tests) == 1 + len(KINDS) * len(LEVELS)
    assert tests[0] == "FF++@c23"
    assert "FF++@c23~saturation-5" in tests


def test_protocols_with_unknown_corruptions_are_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ntrain: [FF++]\ntest: [CDFv2]\ncorruptions: {kinds: [blurr]}\n")
    with pytest.raises(ConfigError, match=r"corruption 'blurr' is not known\. Did you mean blur\?"):
        get_protocol(str(path))
    path.write_text("name: mine\ntrain: [FF++]\ntest: [CDFv2]\ncorruptions: {levels: [0, 1]}\n")
    with pytest.raises(ConfigError, match=r"levels are \[0, 1\]; allowed: 1 to 5"):
        get_protocol(str(path))
