"""A scene: one person filmed by one camera. The same scene always gives the same frames, one by one or all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from preprocessing.demo.backdrop import Backdrop, sample_backdrop
from preprocessing.demo.camera import Camera, CameraDomain, Image, capture, sample_camera
from preprocessing.demo.faces import FacePainter, Frame
from preprocessing.demo.people import Light, Motion, Person, sample_light, sample_motion, sample_person
from preprocessing.demo.seeds import stream

Key = tuple[int | str, ...]


@dataclass(frozen=True)
class Shot:
    """One captured frame.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        parsing: (H, W) uint8 LaPa class ids 0-10.
        landmarks: (68, 2) float32 pixels, iBUG order.
        mask: (H, W) uint8, 255 where a forgery changed the image; None for real frames.
    """

    image: Image
    parsing: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Scene:
    """Everything behind one real video; frames are made on demand.

    Attributes:
        key: name of the video's random streams, e.g. ``(seed, "demo/FF++", "000")``.
        size: side of the crop in pixels.
    """

    key: Key
    size: int
    person: Person
    motions: tuple[Motion, ...]
    light: Light
    backdrop: Backdrop
    camera: Camera

    @cached_property
    def painter(self) -> FacePainter:
        """Renderer of this person at this size."""
        return FacePainter(self.person, self.size)

    @cached_property
    def _shots(self) -> dict[int, Shot]:
        return {}

    def render(self, index: int) -> Frame:
        """Frame `index` before any camera."""
        return self.painter.paint(self.motions[index], self.light, self.backdrop)

    def shoot(self, index: int) -> Shot:
        """Frame `index` as the camera delivers it (first codec included); kept for the next call."""
        if index not in self._shots:
            frame = self.render(index)
            image = capture(frame.image, self.camera, stream(*self.key, "capture", index))
            self._shots[index] = Shot(image, frame.parsing, frame.landmarks)
        return self._shots[index]


def make_scene(key: Key, identity: Key, size: int, num_frames: int, domain: CameraDomain) -> Scene:
    """Draw the scene of one video.

    Args:
        key: name of the video; its motion, light, background and camera hang on it.
        identity: name of the person; the same name is the same person in another video.
        size: side of the crop in pixels.
        num_frames: frames of the video.
        domain: where the camera comes from.
    """
    return Scene(
        key=key,
        size=size,
        person=sample_person(stream(*identity, "person")),
        motions=tuple(sample_motion(stream(*key, "motion"), num_frames)),
        light=sample_light(stream(*key, "light")),
        backdrop=sample_backdrop(stream(*key, "backdrop")),
        camera=sample_camera(stream(*key, "camera"), domain),
    )
