"""Which videos the demo worlds hold. A world is data: cameras, families, identities; see `WORLDS`.

Identities of different worlds, and of different splits of one world, never overlap; both videos of a forged pair
lie in one split, as in FaceForensics++.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from preprocessing.demo import attacks, diffusion, forgeries
from preprocessing.demo.camera import CameraDomain
from preprocessing.demo.forgeries import Forgery
from preprocessing.demo.scenes import Key, Scene, Shot, make_scene
from preprocessing.demo.seeds import stream

GENERATOR_VERSION = 4
"""Raise it whenever the same settings would give other pixels."""
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Family:
    """One class of fakes.

    Attributes:
        cls: class string of the index, e.g. ``FF-DF``.
        folder: folder of its videos below the world's root.
        forgeries: manipulations; each video gets one of them.
    """

    cls: str
    folder: str
    forgeries: tuple[Forgery, ...]


@dataclass(frozen=True)
class World:
    """Definition of one demo dataset.

    Attributes:
        name: dataset name, e.g. ``demo/FF++``.
        identities: number of people per split at scale 1 (even: they are paired).
        first_identity: number of the first person; worlds keep apart by it.
        real_cls, real_folder: class string and folder of the real videos.
        families: classes of fakes.
        camera: where cameras come from.
        level: compression level of the index, or None.
        naming: how videos are called: ``number`` (``000``, ``000_003``), ``celeb`` (``id0_0000``, ``id0_id3_0000``) or
            ``solo`` (``000`` for real and fake: the class tells them apart).
        num_frames: frames per video.
    """

    name: str
    identities: dict[str, int]
    first_identity: int
    real_cls: str
    real_folder: str
    families: tuple[Family, ...]
    camera: CameraDomain = field(default_factory=CameraDomain)
    level: str | None = None
    naming: str = "number"
    num_frames: int = 8


@dataclass(frozen=True)
class Video:
    """Plan of one video: everything needed to make it alone.

    Attributes:
        target: identity number of the person seen (of the head, for fakes).
        source: identity number of the face put in, None for real videos.
        family: index into the world's families, None for real videos.
    """

    name: str
    cls: str
    folder: str
    split: str
    target: int
    source: int | None = None
    family: int | None = None


_FF_CAMERA = CameraDomain()
_CELEB_CAMERA = replace(_FF_CAMERA, blur=(2.0, 7.0), noise=(2.0, 7.0), stored_quality=(85, 96))
_DFDC_CAMERA = CameraDomain(
    blur=(2.0, 9.0), noise=(3.0, 9.0), noise_grain=(0.3, 1.0), exposure=(0.55, 1.15), saturation=(0.45, 1.05),
    gamma=(0.75, 1.4), quality=(78, 95), stored_quality=(78, 94), tint=(0.05, 0.0, -0.05), white_balance=0.12,
)  # fmt: skip

_SPOOF_CAMERAS = {
    "msu": CameraDomain(
        blur=(2.0, 8.0), noise=(3.0, 8.0), noise_grain=(0.3, 0.9), saturation=(0.5, 0.9), exposure=(0.7, 1.0),
        quality=(82, 94),
    ),
    "casia": CameraDomain(blur=(1.0, 11.0), noise=(1.5, 9.0), shake=(0.0, 10.0), stored_quality=(80, 97)),
    "replay": CameraDomain(
        blur=(4.0, 9.0), noise=(2.5, 7.0), denoise=(0.4, 1.0), tint=(0.06, 0.0, -0.08), quality=(78, 92),
    ),
    "oulu": CameraDomain(
        blur=(0.5, 5.0), noise=(2.0, 6.0), sharpen=(0.3, 1.2), contrast=(0.95, 1.25), quality=(88, 98),
    ),
    "celeb": CameraDomain(gamma=(0.7, 1.4), exposure=(0.6, 1.25), saturation=(0.5, 1.25), white_balance=0.14),
}  # fmt: skip
"""Cameras of the four MCIO domains (laptop webcam, three qualities, dim office, phones) and of the supplement."""


def _spoof_world(number: int, domain: str, camera: CameraDomain) -> World:
    """One domain of demo/MCIO: live faces, prints and replays of the same people."""
    return World(
        name=f"demo/MCIO/{domain}",
        identities={"train": 28, "val": 12, "test": 24},
        first_identity=6000 + 100 * number,
        real_cls=f"{domain}_live",
        real_folder="live",
        families=(
            Family(f"{domain}_print", "print", (attacks.print_attack,)),
            Family(f"{domain}_replay", "replay", (attacks.replay_attack,)),
        ),
        camera=camera,
        naming="solo",
        num_frames=4,
    )


WORLDS: dict[str, World] = {
    world.name: world
    for world in (
        World(
            name="demo/FF++",
            identities={"train": 176, "val": 16, "test": 32},
            first_identity=0,
            real_cls="FF-real",
            real_folder="youtube/c23",
            families=(
                Family("FF-DF", "Deepfakes/c23", (forgeries.deepfakes,)),
                Family("FF-F2F", "Face2Face/c23", (forgeries.face2face,)),
                Family("FF-FS", "FaceSwap/c23", (forgeries.faceswap,)),
                Family("FF-NT", "NeuralTextures/c23", (forgeries.neural_textures,)),
            ),
            level="c23",
        ),
        World(
            name="demo/CDFv2",
            identities={"test": 40},
            first_identity=2000,
            real_cls="CelebDFv2_real",
            real_folder="Celeb-real",
            families=(
                Family(
                    "CelebDFv2_fake",
                    "Celeb-synthesis",
                    (forgeries.better_swap, forgeries.better_swap, forgeries.self_blend),
                ),
            ),
            camera=_CELEB_CAMERA,
            naming="celeb",
        ),
        World(
            name="demo/DFDC",
            identities={"test": 40},
            first_identity=3000,
            real_cls="DFDC_Real",
            real_folder="test/real",
            families=(
                Family(
                    "DFDC_Fake",
                    "test/fake",
                    (
                        forgeries.deepfakes,
                        forgeries.faceswap,
                        forgeries.neural_textures,
                        forgeries.better_swap,
                    ),
                ),
            ),
            camera=_DFDC_CAMERA,
        ),
        World(
            name="demo/Drift",
            identities={"test": 40},
            first_identity=5000,
            real_cls="Drift_real",
            real_folder="real",
            families=(Family("Drift_fake", "fake", (forgeries.drifting_swap,)),),
            camera=_CELEB_CAMERA,
        ),
        World(
            name="demo/DiFF",
            identities={"train": 96, "val": 32, "test": 96},
            first_identity=4000,
            real_cls="DiFF_real",
            real_folder="real",
            families=(
                Family("DiFF_T2I_fake", "T2I", (diffusion.text_to_image,)),
                Family("DiFF_I2I_fake", "I2I", (diffusion.image_to_image,)),
                Family("DiFF_FS_fake", "FS", (forgeries.better_swap,)),
                Family("DiFF_FE_fake", "FE", (diffusion.face_editing,)),
            ),
            num_frames=1,
        ),
        *(_spoof_world(number, domain, camera) for number, (domain, camera) in enumerate(_SPOOF_CAMERAS.items())),
        World(
            name="demo/Faces",
            identities={"train": 480},
            first_identity=8000,
            real_cls="Faces_real",
            real_folder="faces",
            families=(),
            num_frames=4,
        ),
    )
}


def identity_splits(world: World, scale: float, seed: int) -> dict[str, list[tuple[int, int]]]:
    """Pairs of identity numbers per split, shuffled by the seed.

    Args:
        world: the definition.
        scale: factor on the number of identities (at least one pair per split remains).
        seed: seed of the world.
    """
    pairs = _pairs(world, scale)
    order = stream(seed, world.name, "pairs").permutation(2 * sum(pairs.values())) + world.first_identity
    result: dict[str, list[tuple[int, int]]] = {}
    start = 0
    for split, count in pairs.items():
        chosen = order[start : start + 2 * count].reshape(-1, 2)
        result[split] = [(int(a), int(b)) for a, b in chosen]
        start += 2 * count
    return result


def neighbours(world: World, scale: float) -> list[str]:
    """Other worlds (of the same seed, at scale 1) with people that are also in this one at ``scale``."""
    last = world.first_identity + 2 * sum(_pairs(world, scale).values())
    return [name for name, other in WORLDS.items() if world.first_identity < other.first_identity < last]


def _pairs(world: World, scale: float) -> dict[str, int]:
    return {split: max(1, round(num * scale / 2)) for split, num in world.identities.items()}


def plan(world: World, scale: float = 1.0, seed: int = 0) -> list[Video]:
    """All videos of a world, in a fixed order."""
    videos: list[Video] = []
    for split, pairs in identity_splits(world, scale, seed).items():
        for pair in pairs:
            for target, source in (pair, pair[::-1]):
                videos.append(Video(_name(world, target), world.real_cls, world.real_folder, split, target))
                for number, family in enumerate(world.families):
                    name = _name(world, target, source)
                    videos.append(Video(name, family.cls, family.folder, split, target, source, number))
    return videos


def _name(world: World, target: int, source: int | None = None) -> str:
    numbers = [target - world.first_identity]
    if source is not None and world.naming != "solo":
        numbers.append(source - world.first_identity)
    if world.naming == "celeb":
        return "_".join(f"id{number}" for number in numbers) + "_0000"
    return "_".join(f"{number:03d}" for number in numbers)


@lru_cache(maxsize=4)
def real_scene(world_name: str, identity: int, size: int, seed: int) -> Scene:
    """The scene behind the real video of one person; the last few are kept, for the forgeries made from them."""
    world = WORLDS[world_name]
    person: Key = (seed, "person", identity)
    return make_scene((seed, world_name, identity), person, size, world.num_frames, world.camera)


def make_shots(world: World, video: Video, size: int, seed: int, frames: Sequence[int] | None = None) -> list[Shot]:
    """Make all frames of one video (or those numbered in `frames`), before the second codec."""
    numbers = range(world.num_frames) if frames is None else frames
    target = real_scene(world.name, video.target, size, seed)
    if video.family is None or video.source is None:
        return [target.shoot(index) for index in numbers]
    source = real_scene(world.name, video.source, size, seed)
    choices = world.families[video.family].forgeries
    key = (seed, world.name, video.cls, video.name)
    forge = choices[int(stream(*key, "kind").integers(len(choices)))]
    return [forge(target, source, index, stream(*key, "style")) for index in numbers]


def stored_quality(world: World, video: Video, seed: int) -> int:
    """JPEG quality of the second codec: drawn per video from one distribution for real and fake alike."""
    rng = stream(seed, world.name, video.cls, video.name, "codec")
    return round(rng.uniform(*world.camera.stored_quality))
