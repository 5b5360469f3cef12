"""benchmark/data/decode.py: right pixels from every kind of file, a named error from every kind of trouble."""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmark.data import decode
from benchmark.data.decode import decode_image, decode_jpeg_bgr, decode_map, decode_mask
from benchmark.errors import DataError

KEY = "FF++/fake/0031/12"


def picture(height: int = 72, width: int = 56) -> np.ndarray:
    rng = np.random.default_rng(3)
    blotches = cv2.resize(rng.uniform(0, 255, (6, 5, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(blotches + rng.normal(0, 6, blotches.shape), 0, 255).astype(np.uint8)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(**options: object) -> bytes:
    return encode(Image.fromarray(picture()), "JPEG", quality=92, **options)


def png() -> bytes:
    return encode(Image.fromarray(picture()), "PNG")


def webp() -> bytes:
    return encode(Image.fromarray(picture()), "WEBP", lossless=True)


@pytest.fixture(params=["simplejpeg", "opencv"])
def _each_decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "simplejpeg":
        pytest.importorskip("simplejpeg")
    else:
        monkeypatch.setattr(decode, "_simplejpeg", lambda: None)


@pytest.mark.parametrize("make", [png, webp])
def test_lossless_formats_come_back_exactly(make: Callable[[], bytes]) -> None:
    pixels = decode_image(make(), KEY)
    np.testing.assert_array_equal(pixels, picture())
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@pytest.mark.usefixtures("_each_decoder")
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}])
def test_jpeg_equals_pillow_with_either_decoder(options: dict[str, object]) -> None:
    data = jpeg(**options)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode_image(data, KEY), np.array(image))


@pytest.mark.usefixtures("_each_decoder")
def test_jpeg_round_trip_keeps_the_channel_order_and_equals_opencv() -> None:
    data = cv2.imencode(".jpg", picture(), (cv2.IMWRITE_JPEG_QUALITY, 60))[1]
    np.testing.assert_array_equal(decode_jpeg_bgr(data), cv2.imdecode(data, cv2.IMREAD_UNCHANGED))


@pytest.mark.usefixtures("_each_decoder")
def test_exif_orientation_is_applied() -> None:
    upright = Image.fromarray(picture())
    exif = upright.getexif()
    exif[0x0112] = 6  # the camera was turned: show rotated by 90 degrees clockwise
    turned = decode_image(jpeg(exif=exif), KEY)
    plain = decode_image(jpeg(), KEY)
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))


@pytest.mark.usefixtures("_each_decoder")
def test_grey_cmyk_alpha_16_bit_and_palette_become_rgb() -> None:
    grey = picture()[..., 0]
    for kind in ("PNG", "JPEG"):
        pixels = decode_image(encode(Image.fromarray(grey), kind), KEY)
        assert pixels.shape == (*grey.shape, 3)
        assert (pixels == pixels[..., :1]).all()
    flat = np.full((16, 16, 3), (200, 100, 30), np.uint8)
    cmyk = decode_image(encode(Image.fromarray(flat).convert("CMYK"), "JPEG", quality=95), KEY)
    assert np.abs(cmyk.astype(int) - flat).max() <= 3
    alpha = np.dstack([picture(), np.full(grey.shape, 9, np.uint8)])
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(alpha), "PNG"), KEY), picture())
    deep = cv2.imencode(".png", picture()[..., ::-1].astype(np.uint16) * 256 + 77)[1].tobytes()
    np.testing.assert_array_equal(decode_image(deep, KEY), picture())
    palette = Image.fromarray(picture()).quantize(16)
    np.testing.assert_array_equal(decode_image(encode(palette, "PNG"), KEY), np.array(palette.convert("RGB")))


@pytest.mark.usefixtures("_each_decoder")
@pytest.mark.parametrize("make", [jpeg, png, webp])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.97])
def test_cut_off_files_are_errors_that_name_the_key(make: Callable[[], bytes], kept: float) -> None:
    data = make()
    with pytest.raises(DataError, match=KEY.replace("+", r"\+")):
        decode_image(data[: int(len(data) * kept)], KEY)


def test_cut_off_jpeg_with_an_embedded_thumbnail_is_an_error() -> None:
    """The thumbnail's end marker must not pass for the picture's."""
    thumbnail = encode(Image.fromarray(picture(16, 16)), "JPEG")
    segment = b"Exif\x00\x00" + thumbnail
    head = b"\xff\xd8\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
    whole = head + jpeg()[2:]
    assert decode_image(whole, KEY).shape == (72, 56, 3)
    with pytest.raises(DataError, match="cut-off JPEG"):
        decode_image(whole[:-400], KEY)


def test_bytes_after_the_end_marker_do_no_harm() -> None:
    np.testing.assert_array_equal(decode_image(jpeg() + b"\x00" * 33, KEY), decode_image(jpeg(), KEY))


def test_damaged_scan_is_an_error_where_the_decoder_can_tell() -> None:
    pytest.importorskip("simplejpeg")
    data = bytearray(jpeg())
    data[-300:-20] = data[-600:-320]  # another part of the scan pasted over: wrong length of Huffman data
    with pytest.raises(DataError, match="damaged JPEG"):
        decode_image(bytes(data), KEY)


def test_damaged_png_is_an_error() -> None:
    data = bytearray(png())
    data[len(data) // 2] ^= 1  # the chunk's CRC tells
    with pytest.raises(DataError, match="damaged PNG"):
        decode_image(bytes(data), KEY)


@pytest.mark.parametrize(
    "data", [b"", b"hello world, not an image", b"GIF89a" + b"\0" * 50, b"\xff\xd8\xff\xe0\xff\xd9"]
)
def test_what_is_not_an_image_is_an_error(data: bytes) -> None:
    with pytest.raises(DataError, match=KEY.replace("+", r"\+")):
        decode_image(data, KEY)


def labels() -> np.ndarray:
    return (np.arange(40 * 30).reshape(40, 30) // 111).astype(np.uint8)


def test_maps_keep_their_ids_whatever_the_png_flavour() -> None:
    ids = labels()
    np.testing.assert_array_equal(decode_map(encode(Image.fromarray(ids), "PNG"), KEY), ids)
    np.testing.assert_array_equal(decode_map(encode(Image.fromarray(np.dstack([ids] * 3)), "PNG"), KEY), ids)
    wide = cv2.imencode(".png", ids.astype(np.uint16))[1].tobytes()
    np.testing.assert_array_equal(decode_map(wide, KEY), ids)
    coloured = Image.fromarray(ids).convert("P")
    coloured.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    np.testing.assert_array_equal(decode_map(encode(coloured, "PNG"), KEY), ids)


def test_maps_refuse_what_would_change_ids() -> None:
    with pytest.raises(DataError, match="must be PNG"):
        decode_map(encode(Image.fromarray(labels()), "JPEG"), KEY)
    with pytest.raises(DataError, match="colour picture"):
        decode_map(png(), KEY)
    with pytest.raises(DataError, match="at most 255"):
        decode_map(cv2.imencode(".png", labels().astype(np.uint16) + 300)[1].tobytes(), KEY)
    with pytest.raises(DataError, match="cut-off PNG"):
        decode_map(encode(Image.fromarray(labels()), "PNG")[:-20], KEY)


def test_masks_come_back_as_grey_levels() -> None:
    mask = np.where(labels() > 4, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(decode_mask(encode(Image.fromarray(mask), "PNG"), KEY), mask)
    np.testing.assert_array_equal(decode_mask(encode(Image.fromarray(np.dstack([mask] * 3)), "PNG"), KEY), mask)
    with pytest.raises(DataError, match="0 bytes"):
        decode_mask(b"", KEY)
