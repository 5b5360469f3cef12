"""Pictures made by diffusion models, of the four kinds of DiFF: T2I, I2I, FS, FE (Cheng et al., arXiv 2401.15859).

Same contract as `preprocessing.demo.forgeries`. What a latent decoder made is smoothed and carries the traces of its
up-sampling stages; for T2I and I2I that is the whole picture, so there is no seam and no inside against outside.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from preprocessing.demo.camera import to_float
from preprocessing.demo.detail import match_detail
from preprocessing.demo.forgeries import (
    Donor,
    blend,
    diffuse,
    face_mask,
    match_color,
    mixed_grain,
    reenact,
    tone_error,
    warp,
    with_expression,
)  # fmt: skip
from preprocessing.demo.noise import FloatArray
from preprocessing.demo.scenes import Scene, Shot


def text_to_image(target: Scene, source: Scene, index: int, rng: np.random.Generator) -> Shot:
    """A new person (`source`) before the target's background, the whole picture made by the decoder."""
    shot = target.shoot(index)
    donor = reenact(target, source, index)
    return _decode(shot, donor, _everywhere(target), mixed_grain(rng, target, index), rng)


def image_to_image(target: Scene, source: Scene, index: int, rng: np.random.Generator) -> Shot:
    """The target's picture through the decoder: features drift a little, all of it is made anew."""
    del source
    shot = target.shoot(index)
    drift = rng.normal(0, 0.008 * target.size, (68, 2))
    landmarks = (shot.landmarks + drift).astype(np.float32)
    image = warp(to_float(shot.image), shot.landmarks, landmarks)
    parsing = warp(shot.parsing, shot.landmarks, landmarks, nearest=True)
    donor = Donor(image, parsing, landmarks)
    return _decode(shot, donor, _everywhere(target), mixed_grain(rng, target, index), rng)


def face_editing(target: Scene, source: Scene, index: int, rng: np.random.Generator) -> Shot:
    """The target with another expression (the source's), the inner face made by the decoder."""
    shot = target.shoot(index)
    donor = with_expression(target, source, index)
    mask = face_mask(donor.landmarks, target.size, rng.uniform(-0.06, 0.06), rng.uniform(0.02, 0.05))
    tone = tone_error(rng, 0.02, 0.08)
    donor = replace(donor, image=donor.image * tone)
    return _decode(shot, donor, mask, mixed_grain(rng, target, index), rng)


def _decode(shot: Shot, donor: Donor, mask: FloatArray, grain: FloatArray, rng: np.random.Generator) -> Shot:
    """Smooth a donor as a denoiser does, give it the captured picture's colours and a decoder's grain, blend it in."""
    own, gain = to_float(shot.image), np.exp(rng.normal(0, 0.2))
    image = match_color(diffuse(donor.image, rng.uniform(0.4, 0.8)), own, mask, 0.9, 0.9)
    return blend(shot, replace(donor, image=match_detail(image, own, mask, grain, gain)), mask)


def _everywhere(scene: Scene) -> FloatArray:
    return np.ones((scene.size, scene.size), np.float32)
