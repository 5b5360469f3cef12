"""Cameras and codecs: what happens between a rendered face and the file somebody stores.

A `Camera` belongs to one video; real and fake videos draw it from the same `CameraDomain`, and a fake keeps the
camera of its target video, so no statistic of the whole image tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.demo.noise import FloatArray, blur

Image = NDArray[np.uint8]
Range = tuple[float, float]


@dataclass(frozen=True)
class CameraDomain:
    """Ranges from which the cameras of one dataset are drawn.

    Attributes:
        blur: lens blur in thousandths of the crop width (sigma).
        noise: sensor noise at mid grey, in grey levels of 255 (drawn on a log scale).
        noise_grain: correlation length of the noise in pixels, drawn for rows and columns apart.
        mottle: share of coarse noise (3 to 6 pixels), as noise filters leave it.
        shake: motion blur in thousandths of the crop width (sigma), drawn for rows and columns apart.
        chroma_noise: colour noise relative to luminance noise.
        denoise: strength of the camera's own noise filter, 0 to 1.
        sharpen: amount of unsharp masking.
        gamma, exposure, saturation, contrast: response curve factors around 1.
        white_balance: spread of the log gain of red and blue.
        vignette: darkening of the corners, 0 to 1.
        quality: JPEG quality of the first codec (the camera's).
        stored_quality: JPEG quality of the second codec (the dataset's).
        tint: fixed colour shift of the domain, log gains of red, green, blue.
    """

    blur: Range = (1.0, 7.0)
    noise: Range = (1.5, 7.0)
    noise_grain: Range = (0.15, 0.85)
    mottle: Range = (0.0, 0.7)
    shake: Range = (0.0, 8.0)
    chroma_noise: Range = (0.2, 0.8)
    denoise: Range = (0.0, 0.8)
    sharpen: Range = (0.0, 1.0)
    gamma: Range = (0.8, 1.25)
    exposure: Range = (0.75, 1.2)
    saturation: Range = (0.65, 1.2)
    contrast: Range = (0.85, 1.15)
    white_balance: float = 0.09
    vignette: Range = (0.0, 0.3)
    quality: Range = (85, 98)
    stored_quality: Range = (84, 97)
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Camera:
    """One camera; the fields mean what they mean in `CameraDomain`, as single values."""

    blur: float
    noise: float
    noise_grain: tuple[float, float]
    mottle: float
    shake: tuple[float, float]
    chroma_noise: float
    denoise: float
    sharpen: float
    gamma: float
    exposure: float
    saturation: float
    contrast: float
    gains: NDArray[np.float32]
    vignette: float
    quality: int


def sample_camera(rng: np.random.Generator, domain: CameraDomain) -> Camera:
    """Draw the camera of one video."""
    uniform = rng.uniform
    log_gains = np.array(domain.tint) + np.array([1.0, 0.2, 1.0]) * rng.normal(0, domain.white_balance, 3)
    return Camera(
        blur=uniform(*domain.blur),
        noise=float(np.exp(uniform(*np.log(domain.noise)))),
        noise_grain=(uniform(*domain.noise_grain), uniform(*domain.noise_grain)),
        mottle=uniform(*domain.mottle),
        shake=(uniform(*domain.shake), uniform(*domain.shake)),
        chroma_noise=uniform(*domain.chroma_noise),
        denoise=uniform(*domain.denoise),
        sharpen=uniform(*domain.sharpen),
        gamma=uniform(*domain.gamma),
        exposure=uniform(*domain.exposure),
        saturation=uniform(*domain.saturation),
        contrast=uniform(*domain.contrast),
        gains=np.exp(log_gains).astype(np.float32),
        vignette=uniform(*domain.vignette),
        quality=round(uniform(*domain.quality)),
    )


def capture(image: FloatArray, camera: Camera, rng: np.random.Generator) -> Image:
    """Take one picture: lens, sensor noise, colour response, sharpening, first codec.

    Args:
        image: (H, W, 3) RGB in [0, 1].
        camera: the camera of this video.
        rng: stream of this frame (noise and codec grid).

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = _vignette(lens(image, camera), camera.vignette) * np.float32(camera.exposure)
    out = out + sensor_noise(rng, out, camera)
    if camera.denoise > 0.05:
        out = out + (cv2.bilateralFilter(out, 5, 0.08, 1.5) - out) * np.float32(camera.denoise)
    out = develop(out, camera)
    if camera.sharpen > 0.05:
        out = out + (out - blur(out, 0.9)) * np.float32(camera.sharpen)
    return shifted_jpeg(to_uint8(out), camera.quality, rng)


def develop(image: FloatArray, camera: Camera) -> FloatArray:
    """Colour response of the camera: gains, gamma, contrast, saturation."""
    out = np.clip(image * camera.gains, 0, 1.2) ** np.float32(camera.gamma)
    out = (out - np.float32(0.5)) * np.float32(camera.contrast) + np.float32(0.5)
    grey = out.mean(axis=-1, keepdims=True)
    return (grey + (out - grey) * np.float32(camera.saturation)).astype(np.float32)


def lens(image: FloatArray, camera: Camera) -> FloatArray:
    """Blur of the lens and of a shaking hand, in (H, W, 3) [0, 1] images of any size."""
    across, down = (np.hypot(camera.blur, shake) * image.shape[1] / 1000 for shake in camera.shake)
    soft = cv2.GaussianBlur(image, (0, 0), max(across, 0.1), sigmaY=max(down, 0.1), borderType=cv2.BORDER_REFLECT_101)
    return soft.astype(np.float32, copy=False)


def sensor_noise(rng: np.random.Generator, image: FloatArray, camera: Camera) -> FloatArray:
    """(H, W, 3) noise whose deviation grows with brightness and is `camera.noise` / 255 at mid grey."""
    height, width = image.shape[:2]
    luma = rng.standard_normal((height, width, 1), dtype=np.float32)
    noise = luma + rng.standard_normal((height, width, 3), dtype=np.float32) * np.float32(camera.chroma_noise)
    layers = [noise * np.float32(1 - camera.mottle), blur(noise, 1.3) * np.float32(4 * camera.mottle)]
    across, down = (max(sigma, 0.15) for sigma in camera.noise_grain)
    smooth = cv2.GaussianBlur(sum(layers), (0, 0), across, sigmaY=down, borderType=cv2.BORDER_REFLECT_101)
    noise = smooth * np.float32(noise.std() / (smooth.std() + 1e-6))
    strength = np.sqrt(0.3 + 1.4 * np.clip(image.mean(axis=-1, keepdims=True), 0, 1))
    return (noise * strength * np.float32(camera.noise / 255)).astype(np.float32)


def _vignette(image: FloatArray, amount: float) -> FloatArray:
    height, width = image.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    return image * (1 - np.float32(amount / 2) * (x * x + y * y))[..., None]


def to_uint8(image: FloatArray) -> Image:
    """(H, W, 3) [0, 1] floats to rounded bytes."""
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


def to_float(image: Image) -> FloatArray:
    """(H, W, 3) bytes to [0, 1] floats."""
    return image.astype(np.float32) / np.float32(255)


def encode_jpeg(image: Image, quality: int) -> bytes:
    """JPEG bytes of an (H, W, 3) RGB image."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    assert ok
    return data.tobytes()


def decode_jpeg(data: bytes) -> Image:
    """(H, W, 3) RGB image of JPEG bytes."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def shifted_jpeg(image: Image, quality: int, rng: np.random.Generator) -> Image:
    """Encode and decode on a block grid at a random offset, as when a face is cropped out of a coded video."""
    height, width = image.shape[:2]
    top, left = (int(value) for value in rng.integers(0, 8, 2))
    padded = cv2.copyMakeBorder(image, top, 8, left, 8, cv2.BORDER_REFLECT_101)
    return decode_jpeg(encode_jpeg(padded, quality))[top : top + height, left : left + width]
