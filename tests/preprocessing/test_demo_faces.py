"""People, faces, cameras and forgeries of the demo world: repeatable, consistent, local."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from preprocessing.demo import forgeries
from preprocessing.demo.camera import CameraDomain, decode_jpeg, encode_jpeg
from preprocessing.demo.faces import LAPA_CLASSES
from preprocessing.demo.scenes import Scene, make_scene
from preprocessing.demo.seeds import stream

FORGERIES = [
    forgeries.deepfakes,
    forgeries.face2face,
    forgeries.faceswap,
    forgeries.neural_textures,
    forgeries.better_swap,
    forgeries.drifting_swap,
    forgeries.self_blend,
]


def scene(number: int, size: int = 64) -> Scene:
    return make_scene((7, "video", number), (7, "person", number), size, 3, CameraDomain())


def test_a_name_has_one_stream():
    assert stream(1, "a").integers(1 << 60) == stream(1, "a").integers(1 << 60)
    assert stream(1, "a").integers(1 << 60) != stream(1, "b").integers(1 << 60)


@pytest.mark.parametrize("size", [64, 224])
def test_frame_types_and_ranges(size: int):
    shot = scene(0, size).shoot(1)
    assert shot.image.shape == (size, size, 3)
    assert shot.image.dtype == np.uint8
    assert shot.parsing.shape == (size, size)
    assert shot.parsing.max() < len(LAPA_CLASSES)
    assert shot.landmarks.shape == (68, 2)
    assert shot.landmarks.dtype == np.float32
    assert shot.mask is None


def test_frames_can_be_made_alone_in_any_order():
    forwards, alone = scene(1), scene(1)
    images = [forwards.shoot(index).image for index in range(3)]
    assert np.array_equal(alone.shoot(2).image, images[2])


@pytest.mark.parametrize("number", range(12))
def test_landmarks_lie_in_their_parsing_regions(number: int):
    shot = scene(number, 128).render(0)
    pixels = np.round(shot.landmarks).astype(int).clip(0, 127)
    labels = shot.parsing[pixels[:, 1], pixels[:, 0]]
    hair = 10
    assert set(labels[27:31]) <= {6, 1, hair}  # bridge: nose (its top may be under glasses or a fringe)
    assert labels[30] == 6
    assert set(labels[48:68]) <= {1, 7, 8, 9}
    middle_x, brow_x = shot.landmarks[27, 0], shot.landmarks[17:27, 0]
    assert brow_x[:5].mean() < middle_x < brow_x[5:].mean()  # the subject's right is the viewer's left
    assert shot.landmarks[8, 1] > shot.landmarks[57, 1] > shot.landmarks[33, 1] > shot.landmarks[27, 1]


def test_every_face_part_is_there():
    counts = sum(np.bincount(scene(number, 96).render(0).parsing.ravel(), minlength=11) for number in range(8))
    assert (counts > 0).all()


@pytest.mark.parametrize("forge", FORGERIES)
def test_forgeries_change_only_the_masked_region(forge: forgeries.Forgery):
    target, source = scene(2), scene(3)
    fake = forge(target, source, 1, stream("style"))
    real = target.shoot(1)
    assert fake.mask is not None
    outside = cv2.dilate(fake.mask, np.ones((3, 3), np.uint8)) == 0
    assert np.array_equal(fake.image[outside], real.image[outside])
    assert np.array_equal(fake.mask == 0, (fake.mask == 0) & (fake.image == real.image).all(axis=-1))
    inside = fake.mask > 0
    assert 0.05 < inside.mean() < 0.7
    difference = np.abs(fake.image.astype(int) - real.image)[inside].mean()
    assert difference > 1.0
    again = forge(scene(2), scene(3), 1, stream("style"))
    assert np.array_equal(again.image, fake.image)


def test_features_of_a_drifting_swap_move_by_themselves_in_every_frame():
    def landmarks(forge: forgeries.Forgery, index: int) -> np.ndarray:
        return forge(scene(2), scene(3), index, stream("style")).landmarks

    moves = np.stack([landmarks(forgeries.drifting_swap, i) - landmarks(forgeries.better_swap, i) for i in range(3)])
    assert np.array_equal(moves[:, :17], np.zeros((3, 17, 2)))  # the outline stays
    parts = [moves[:, part] for part in (slice(17, 27), slice(27, 36), slice(36, 42), slice(42, 48), slice(48, 68))]
    for part in parts:
        assert np.allclose(part, part[:, :1], atol=1e-4), "a feature keeps its shape"
    firsts = np.stack([part[:, 0] for part in parts])
    assert 0.2 < np.abs(firsts).mean() < 2.0  # 64 pixels a side
    assert len(np.unique(firsts.reshape(-1, 2).round(3), axis=0)) == 15, "three frames, five features, all moves differ"


def test_codec_keeps_size_and_colour_order():
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 200
    decoded = decode_jpeg(encode_jpeg(image, 95))
    assert decoded.shape == image.shape
    assert decoded[..., 0].mean() > 180
    assert decoded[..., 2].mean() < 40
