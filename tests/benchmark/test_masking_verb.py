"""``python -m benchmark masking``: crops, maps and strategies to one picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmark.__main__ import main
from benchmark.data.decode import decode_image
from detectors.masking_picture import paint, region_counts


@pytest.fixture
def crop(tmp_path):
    """A picture of 100 pixels and a map of it: background, skin, and a nose in one patch."""
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "face.png"), image)
    ids = np.zeros((1, 112, 112), np.int8)
    ids[:, 24:96, 24:96] = 1
    ids[:, 48:56, 48:56] = 6
    np.save(tmp_path / "face.npy", ids)
    return tmp_path


def test_picture_and_counts_from_own_maps(crop, capsys):
    face, out = crop / "face.png", crop / "out" / "masks.png"
    words = [str(face), str(face), "--maps", str(crop / "face.npy"), str(crop / "face.npy"), "--region", "nose"]
    assert main(["masking", *words, "--out", str(out), "--strategies", "random", "crfr_p"]) == 0
    picture = decode_image(out.read_bytes(), "picture")
    assert picture.shape == (22 + 2 * 230 + 6, 4 * 230 + 6, 3)
    printed = capsys.readouterr().out
    assert f"wrote {out}" in printed
    nose = next(line for line in printed.splitlines() if line.split()[:1] == ["nose"])
    assert nose.split()[-1] == "1/1"  # crfr_p covers the whole nose
    covered = np.abs(picture[22:252, 4 + 3 * 230 :].astype(int) - (200, 80, 80)).max(-1) == 0
    assert covered.sum() == 16 * 16
    grey = (picture[22 : 22 + 224, 6 + 2 * 230 : 6 + 2 * 230 + 224] == 128).all(-1)
    assert abs(grey.mean() - 0.75) < 0.01


def test_a_crop_is_parsed_without_any_model(crop, capsys):
    out = crop / "typical.png"
    assert main(["masking", str(crop / "face.png"), "--cropped", "--parse", "template", "--out", str(out)]) == 0
    assert decode_image(out.read_bytes(), "picture").shape[1] == 7 * 230 + 6  # input, parsing, five strategies


def test_messages(crop, capsys):
    face = str(crop / "face.png")
    for words, message in (
        ([face, "--maps", face, face], "error: --maps: 2 maps for 1 images; give one each."),
        ([face, "--ratio", "1"], "error: --ratio 1 must lie between 0 and 1."),
        ([face, "--patch-size", "15"], "error: --patch-size 15 must divide 224."),
        ([str(crop / "none.png"), "--cropped", "--parse", "template"], "none.png: No such file or directory."),
        (
            [face, "--cropped", "--parse", "template", "--strategies", "crfrp"],
            "No masking named 'crfrp'. Closest: crfr_p",
        ),
    ):
        assert main(["masking", *words, "--out", str(crop / "x.png")]) == 2
        assert message in capsys.readouterr().err


def test_a_picture_without_a_face_is_refused(crop, capsys):
    pytest.importorskip("dlib")
    assert main(["masking", str(crop / "face.png"), "--parse", "template", "--out", str(crop / "x.png")]) == 2
    assert "face.png: no face. Is it a face crop already? --cropped" in capsys.readouterr().err


def test_counts_and_paint_agree_with_the_masks():
    import torch

    parts = torch.tensor([1, 2, 3, 1 << 6], dtype=torch.int16)  # background, skin, both (a boundary), nose
    counts = region_counts(parts, torch.tensor([True, False, True, True]))
    assert counts["background"] == "2/2"
    assert counts["skin"] == "1/2"
    assert counts["boundaries"] == "1/1"
    assert counts["nose"] == "1/1"
    assert counts["hair"] == "0/0"
    image = np.full((1, 4, 4, 3), 7, np.uint8)
    painted = paint(image, np.array([[True, False, False, True]]), np.array([[False, False, False, True]]), 2)
    assert painted[0, 0, 0].tolist() == [128, 128, 128]
    assert painted[0, 0, 2].tolist() == [7, 7, 7]
    assert painted[0, 2, 2].tolist() == [200, 80, 80]
