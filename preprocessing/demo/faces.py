"""The renderer: one person in one pose under one light -> pixels, LaPa parsing map, 68 landmarks.

Everything is painted back to front with anti-aliased polygons; skin is lit by a Lambertian height field and carries
the person's texture sheet. Not photoreal, but with pores, wrinkles, shading, strands and a busy background.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.demo import geometry as geo
from preprocessing.demo.backdrop import Backdrop
from preprocessing.demo.geometry import Head, Points
from preprocessing.demo.noise import FloatArray, blur
from preprocessing.demo.people import Light, Motion, Person
from preprocessing.demo.textures import REACH, make_skin, make_strands

LAPA_CLASSES = (
    "background", "skin", "right brow", "left brow", "right eye", "left eye", "nose", "upper lip", "inner mouth",
    "lower lip", "hair",
)  # fmt: skip
"""LaPa class names by id; right and left are the subject's."""
_SKIN, _NOSE, _UPPER_LIP, _INNER_MOUTH, _LOWER_LIP, _HAIR = 1, 6, 7, 8, 9, 10

_SUBPIXEL = 5
_SHADE_SIDE = 72


@dataclass(frozen=True)
class Frame:
    """One rendered frame.

    Attributes:
        image: (H, W, 3) float32 RGB in [0, 1], before any camera.
        parsing: (H, W) uint8 LaPa class ids 0-10.
        landmarks: (68, 2) float32 x, y in pixels, iBUG order.
    """

    image: FloatArray
    parsing: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


def polygon_mask(points: Points, height: int, width: int, soft: float = 0.0) -> FloatArray:
    """(H, W) coverage in [0, 1] of a closed polygon given in pixels, optionally blurred by `soft` pixels."""
    layer = np.zeros((height, width), np.uint8)
    scaled = np.round(np.asarray(points) * (1 << _SUBPIXEL)).astype(np.int32)
    cv2.fillPoly(layer, [scaled], 255, cv2.LINE_AA, _SUBPIXEL)
    return blur(layer.astype(np.float32) / np.float32(255), soft)


class Canvas:
    """A float RGB image and its parsing map, painted back to front."""

    def __init__(self, image: FloatArray) -> None:
        self.image = image
        self.height, self.width = image.shape[:2]
        self.parsing = np.zeros(image.shape[:2], np.uint8)

    def blend(self, mask: FloatArray, color: NDArray[np.float32]) -> None:
        """Paint a colour (3,) or image (H, W, 3) where `mask` (H, W) says."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        source = color[box] if color.ndim == 3 else color
        self.image[box] += (source - self.image[box]) * mask[box][..., None]

    def darken(self, mask: FloatArray, factor: NDArray[np.float32] | float) -> None:
        """Multiply by `factor` (scalar or (3,)) where `mask` is 1."""
        self.image *= 1 - mask[..., None] * (1 - np.asarray(factor, np.float32))

    def fill(
        self,
        points: Points,
        color: NDArray[np.float32],
        label: int | None = None,
        opacity: float = 1,
        soft: float = 0,
    ) -> FloatArray:
        """Paint a polygon and, if `label` is given, write it into the parsing map. Returns the coverage."""
        mask = polygon_mask(points, self.height, self.width, soft)
        self.blend(mask * np.float32(opacity), color)
        if label is not None:
            self.parsing[polygon_mask(points, self.height, self.width) > 0.5] = label
        return mask

    def stroke(
        self, points: Points, color: NDArray[np.float32], width: float, opacity: float = 1, soft: float = 0
    ) -> None:
        """Paint an open curve of `width` pixels (thinner than a pixel becomes fainter)."""
        layer = np.zeros((self.height, self.width), np.uint8)
        scaled = np.round(np.asarray(points) * (1 << _SUBPIXEL)).astype(np.int32)
        cv2.polylines(layer, [scaled], False, 255, max(1, round(width)), cv2.LINE_AA, _SUBPIXEL)
        strength = np.float32(opacity * min(1.0, max(width, 0.3)) / 255)
        self.blend(blur(layer.astype(np.float32) * strength, soft), color)


class FacePainter:
    """Renders frames of one person at one crop size; textures are made once."""

    def __init__(self, person: Person, size: int) -> None:
        self.person, self.size = person, size
        self.skin = make_skin(person, size / geo.VIEW)
        self.strands = make_strands(person)

    def paint(self, motion: Motion, light: Light, backdrop: Backdrop) -> Frame:
        """Render one frame of `size` x `size` pixels."""
        head = geo.place(self.person, motion, self.size)
        canvas = Canvas(backdrop.view(self.size, motion))
        grid = _unit_grid(head, self.size)
        shade = _shading(head, light, self.size)
        skin = self._skin_pixels(head, grid, shade, light)
        hair = self._hair_pixels(grid, shade)
        self._paint_body(canvas, head, skin, hair, light, backdrop)
        face = canvas.fill(geo.face_outline(head), skin, _SKIN)
        _paint_rim(canvas, head, face)
        _paint_nose(canvas, head)
        _paint_mouth(canvas, head, shade, light)
        for side, eye in ((4, geo.RIGHT_EYE), (5, geo.LEFT_EYE)):
            _paint_eye(canvas, head, eye, side, light)
        for side, brow in ((2, geo.RIGHT_BROW), (3, geo.LEFT_BROW)):
            self._paint_brow(canvas, head, brow, side, shade)
        self._paint_front_hair(canvas, head, hair)
        if self.person.glasses:
            _paint_glasses(canvas, head)
        image = np.clip(canvas.image, 0, 1).astype(np.float32, copy=False)
        return Frame(image, canvas.parsing, head.landmarks.astype(np.float32))

    def _skin_pixels(self, head: Head, grid: FloatArray, shade: FloatArray, light: Light) -> FloatArray:
        """(H, W, 3) lit skin for every pixel, as if skin were everywhere."""
        sheet = _sheet_coordinates(head, grid, self.skin.per_unit)
        sample = {"interpolation": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT_101}
        albedo = cv2.remap(self.skin.albedo, sheet, None, **sample)
        relief = cv2.remap(self.skin.relief, sheet, None, **sample)
        lit = shade[..., :3] * (self.person.skin * albedo)
        gloss = shade[..., 3:] * np.float32(0.1 + 0.22 * self.person.oiliness) * light.key
        return (lit * relief[..., None] + gloss).astype(np.float32)

    def _hair_pixels(self, grid: FloatArray, shade: FloatArray) -> FloatArray:
        """(H, W, 3) lit hair for every pixel; strands run away from the crown."""
        x, y = grid[..., 0], grid[..., 1] + np.float32(0.95)
        radius = np.sqrt(x * x + y * y)
        swirl = np.float32(0.35) * np.sin(3 * radius)
        turn = (np.arctan2(x, -y) + swirl) * np.float32(256 / (2 * np.pi)) + np.float32(128)
        along = radius * np.float32(26)
        strands = cv2.remap(self.strands, along, turn, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        lit = shade[..., :3] * np.float32(0.9) + np.float32(0.1)
        sheen = (shade[..., 3:] * np.float32(0.12)) * strands[..., None]
        return (self.person.hair_color * strands[..., None] * lit + sheen).astype(np.float32)

    def _paint_body(
        self, canvas: Canvas, head: Head, skin: FloatArray, hair: FloatArray, light: Light, backdrop: Backdrop
    ) -> None:
        """Long hair behind the head, shoulders, neck, ears."""
        person = self.person
        length = {"medium": 0.55, "long": 1.6, "curly": 0.25}.get(person.hair_style)
        volume = 0.1 + 0.12 * person.hair_volume
        if length is not None:
            grow = volume + (0.12 if person.hair_style == "curly" else 0.0)
            arc = geo.skull_arc(person, 0, np.pi, grow)
            drop = np.array(
                [
                    [-1.02, 0.3],
                    [-0.98, length],
                    [-0.3, length + 0.05],
                    [0.3, length + 0.05],
                    [0.98, length],
                    [1.02, 0.3],
                ]
            )
            drop[:, 0] *= person.face_width + grow * 0.9
            outline = geo.smooth_closed(head.pixels(np.concatenate([arc, drop])), 4)
            canvas.fill(outline, hair * np.float32(0.8), _HAIR, soft=0.01 * head.unit)
        neck = 0.62 * person.face_width
        chin = person.chin_y
        sides = np.array(
            [
                [-neck, 0.3],
                [-neck * 0.95, chin + 0.1],
                [-neck * 1.1, chin + 0.35],
                [-1.5, chin + 0.75],
                [-1.5, 3.0],
            ]
        )
        body = np.concatenate([sides, sides[::-1] * [-1, 1]])
        turned = body + np.array([0.1 * np.sin(head.motion.yaw), 0.0])
        neck_points = head.flat_pixels(turned)
        canvas.fill(neck_points, skin * np.float32(0.86), 0, soft=0.01 * head.unit)
        under = head.landmarks[geo.JAW] + np.array([0.0, 0.1 * head.unit])
        shadow = polygon_mask(np.concatenate([under, under[::-1] - [0, 0.5 * head.unit]]), canvas.height, canvas.width)
        canvas.darken(blur(shadow, 0.06 * head.unit) * (canvas.parsing == 0), 0.62)
        collar = chin + 0.3 + backdrop.collar
        cloth = np.array(
            [
                [-1.8, collar + 0.3],
                [-0.62, collar],
                [0.0, collar + 0.22],
                [0.62, collar],
                [1.8, collar + 0.3],
                [1.8, 3.5],
                [-1.8, 3.5],
            ]
        )
        canvas.fill(head.flat_pixels(cloth), backdrop.cloth(self.size, head.to_pixels) * light.ambient * 1.4, 0)
        for side in (-1, 1):
            ear = _ellipse(np.array([side * (person.face_width + 0.03), -0.05]), 0.085, 0.19, 0.12 * side)
            pixels = head.pixels(ear)
            canvas.fill(pixels, skin * np.float32(0.93), 0)
            inner = head.pixels(_ellipse(np.array([side * (person.face_width + 0.04), -0.06]), 0.04, 0.11, 0.12 * side))
            canvas.darken(polygon_mask(inner, canvas.height, canvas.width, 0.02 * head.unit), 0.75)

    def _paint_brow(self, canvas: Canvas, head: Head, brow: slice, label: int, shade: FloatArray) -> None:
        person = self.person
        outline = geo.brow_outline(head, brow)
        color = (person.hair_color * 0.75 + person.skin * 0.08) * shade.mean()
        canvas.fill(outline, color.astype(np.float32), label, 0.75 * person.brow_density, 0.014 * head.unit)
        line = geo.smooth_open(head.landmarks[brow], 6)
        outward = -1.0 if brow == geo.RIGHT_BROW else 1.0
        reach = person.brow_thickness * head.unit
        for index in range(0, len(line), 2):
            lean = np.array([outward * (0.2 + index / len(line)), -0.9]) * reach
            hair = np.stack([line[index] - lean * 0.8, line[index] + lean * 0.8])
            canvas.stroke(hair, (color * 0.8).astype(np.float32), 0.012 * head.unit, 0.55 * person.brow_density)

    def _paint_front_hair(self, canvas: Canvas, head: Head, hair: FloatArray) -> None:
        """Hair over the forehead and temples, according to the style."""
        person = self.person
        if person.hair_style == "bald":
            return
        grow = {"buzz": 0.03, "short": 0.12, "curly": 0.25}.get(person.hair_style, 0.15) * (
            0.6 + 0.6 * person.hair_volume
        )
        side_y = {"buzz": 0.28, "short": 0.35, "fringe": 0.1}.get(person.hair_style, 0.2)
        line_y = -0.42 if person.hair_style == "fringe" else person.hairline_y
        across = np.linspace(1, -1, 15)
        wiggle = 0.02 * np.sin(across * 17 + person.texture_seed % 7) + 0.015 * np.sin(
            across * 41 + person.texture_seed % 11
        )
        bend = np.abs(across) ** 3
        edge_y = line_y + wiggle + bend * (-side_y + 0.1 - line_y)
        edge = np.stack([across * (person.face_width * (1 - 0.06 * (1 - bend))), edge_y], axis=1)
        arc = geo.skull_arc(person, side_y, np.pi - side_y, grow)[::-1]
        outline = np.concatenate([head.pixels(edge), head.pixels(arc)])
        shadow = polygon_mask(
            head.pixels(edge + np.array([0, 0.05])).tolist() + head.pixels(arc).tolist(), self.size, self.size
        )
        canvas.darken(blur(shadow, 0.035 * head.unit) * (canvas.parsing == _SKIN), 0.72)
        canvas.fill(outline, hair, _HAIR, soft=(0.035 if person.hair_style == "buzz" else 0.008) * head.unit)


def _unit_grid(head: Head, size: int) -> FloatArray:
    """(H, W, 2) turned head-unit coordinates of every pixel centre."""
    inverse = np.linalg.inv(head.to_pixels[:, :2])
    offset = -inverse @ head.to_pixels[:, 2]
    axis = np.arange(size, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    rows = [inverse[i, 0] * x + inverse[i, 1] * y + offset[i] for i in range(2)]
    return np.stack(rows, axis=-1).astype(np.float32)


def _sheet_coordinates(head: Head, grid: FloatArray, per_unit: float) -> FloatArray:
    """(H, W, 2) skin-sheet pixels seen by every pixel: yaw and pitch are undone with the depth of the smooth head."""
    motion = head.motion
    z = np.sqrt(np.clip(1 - grid[..., 0] ** 2 - (grid[..., 1] / 1.6) ** 2, 0.02, None)) * 0.75 - 0.45
    x = (grid[..., 0] - z * np.sin(motion.yaw)) / np.cos(motion.yaw)
    y = (grid[..., 1] - z * np.sin(motion.pitch)) / np.cos(motion.pitch)
    return ((np.stack([x, y], axis=-1) + REACH) * per_unit).astype(np.float32)


def _bumps(head: Head) -> list[tuple[float, float, float, float, float]]:
    """Bumps of the face as (x, y, width, height, amount) in turned head units."""
    marks = head.units(head.landmarks)
    person, tip = head.person, head.units(head.landmarks)[30]
    bridge = (marks[27] + marks[29]) / 2
    mouth, chin = marks[48:60].mean(axis=0), marks[8]
    r = person.nose_relief
    bumps = [
        (tip[0], tip[1] + 0.03, 0.10, 0.10, 0.20 * r),
        (bridge[0], bridge[1], 0.065, 0.22, 0.12 * r),
        (mouth[0], mouth[1] - 0.01, 0.26, 0.12, 0.05),
        (mouth[0], marks[57][1] + 0.055, 0.14, 0.035, -0.025),
        (chin[0], chin[1] - 0.12, 0.17, 0.13, 0.09),
        ((marks[21] + marks[22])[0] / 2, marks[21][1] - 0.25, 0.5, 0.22, 0.05),
    ]
    for eye, brow, nostril in ((slice(36, 42), slice(17, 22), 31), (slice(42, 48), slice(22, 27), 35)):
        (ex, ey), (bx, by) = marks[eye].mean(axis=0), marks[brow].mean(axis=0)
        bumps += [(ex, ey - 0.01, 0.17, 0.09, -0.07), (bx, by - 0.01, 0.2, 0.06, 0.035)]
        bumps += [(1.12 * ex - 0.12 * tip[0], ey + 0.36, 0.2, 0.17, 0.07)]
        bumps += [(marks[nostril][0], marks[nostril][1] - 0.03, 0.05, 0.055, 0.06 * r)]
    return [tuple(float(value) for value in bump) for bump in bumps]  # type: ignore[misc]


def _shading(head: Head, light: Light, size: int) -> FloatArray:
    """(H, W, 4) RGB light on the head's surface and, last, the strength of the gloss."""
    coarse = geo.place(head.person, head.motion, _SHADE_SIDE)
    grid = _unit_grid(coarse, _SHADE_SIDE)
    x, y = grid[..., 0], grid[..., 1]
    height = np.float32(0.8) * np.sqrt(np.clip(1.04 - (x / 0.95) ** 2 - ((y + 0.1) / 1.5) ** 2, 0.03, None))
    for cx, cy, sx, sy, amount in _bumps(coarse):
        height = height + np.float32(amount) * np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)
    slope_y, slope_x = np.gradient(blur(height.astype(np.float32), 0.8) * np.float32(coarse.unit))
    normal = np.stack([-slope_x, -slope_y, np.ones_like(slope_x)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    facing = (normal @ light.direction).clip(-1, 1)
    wrap = 0.45 - 0.35 * light.hardness
    diffuse = ((facing + wrap) / (1 + wrap)).clip(0, None)
    half = light.direction + np.array([0, 0, 1], np.float32)
    gloss = (normal @ (half / np.linalg.norm(half))).clip(0, 1) ** 26
    shade = light.ambient * (0.75 + 0.25 * normal[..., 2:]) + light.key * diffuse[..., None]
    full = np.concatenate([shade, gloss[..., None]], axis=-1).astype(np.float32)
    return cv2.resize(full, (size, size), interpolation=cv2.INTER_LINEAR)


def _ellipse(centre: Points, rx: float, ry: float, tilt: float = 0.0, num: int = 20) -> Points:
    angle = np.linspace(0, 2 * np.pi, num, endpoint=False)
    x, y = rx * np.cos(angle), ry * np.sin(angle)
    turned = np.stack([x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)], axis=1)
    return centre + turned


def _paint_rim(canvas: Canvas, head: Head, face: FloatArray) -> None:
    """Darken the skin towards the outline of the face, where it turns away from the viewer."""
    inside = blur(face, 0.09 * head.unit)
    canvas.darken(face * (1 - inside) * np.float32(0.9), 0.6)


def _paint_nose(canvas: Canvas, head: Head) -> None:
    outline = geo.nose_outline(head)
    canvas.parsing[polygon_mask(outline, canvas.height, canvas.width) > 0.5] = _NOSE
    marks, unit = head.landmarks, head.unit
    for a, b in ((31, 32), (35, 34)):
        centre = (marks[a] + marks[b]) / 2 + [0, -0.004 * unit]
        hole = _ellipse(centre, 0.033 * unit, 0.017 * unit)
        canvas.darken(polygon_mask(hole, canvas.height, canvas.width, 0.008 * unit), 0.28)
    base = marks[geo.NOSE_BASE] + [0, 0.03 * unit]
    under = np.concatenate([base, marks[geo.NOSE_BASE][::-1]])
    canvas.darken(polygon_mask(under, canvas.height, canvas.width, 0.018 * unit), 0.72)
    for a, b in ((31, 29), (35, 29)):
        side = polygon_mask(
            _ellipse(marks[a] * 0.92 + marks[b] * 0.08, 0.02 * unit, 0.05 * unit),
            canvas.height,
            canvas.width,
        )
        canvas.darken(blur(side, 0.018 * unit), 0.85)


def _paint_mouth(canvas: Canvas, head: Head, shade: FloatArray, light: Light) -> None:
    marks, unit = head.landmarks, head.unit
    outer = geo.smooth_closed(marks[geo.OUTER_LIPS], 4)
    inner = geo.smooth_closed(marks[geo.INNER_LIPS], 4)
    colors = (shade[..., :3] * head.person.lip_color + shade[..., 3:] * np.float32(0.16) * light.key).astype(np.float32)
    soft = 0.008 * unit
    upper = np.concatenate([outer[:25], inner[:17][::-1]])
    lower = np.concatenate([outer[24:], outer[:1], inner[:1], inner[16:][::-1]])
    canvas.fill(lower, colors * np.float32(1.04), _LOWER_LIP, 0.85, soft)
    canvas.fill(upper, colors * np.float32(0.84), _UPPER_LIP, 0.85, soft)
    dark = np.array([0.16, 0.06, 0.06], np.float32)
    hole = canvas.fill(inner, dark, _INNER_MOUTH)
    if head.motion.mouth_open > 0.12:
        top, bottom = marks[61:64], marks[61:64][::-1] * 0.55 + marks[65:68] * 0.45
        ends = (marks[60] * 0.8 + marks[62] * 0.2)[None], (marks[64] * 0.8 + marks[62] * 0.2)[None]
        teeth = polygon_mask(np.concatenate([ends[0], top, ends[1], bottom]), canvas.height, canvas.width, 0.01 * unit)
        canvas.blend(teeth * hole, np.array([0.82, 0.78, 0.7], np.float32) * light.ambient * 1.2)
    canvas.stroke(geo.smooth_open(marks[[60, 61, 62, 63, 64]], 4), dark, 0.016 * unit, 0.8, 0.006 * unit)


def _paint_eye(canvas: Canvas, head: Head, eye: slice, label: int, light: Light) -> None:
    marks, unit, person = head.landmarks[eye], head.unit, head.person
    outline = geo.smooth_closed(marks, 4)
    sclera = (np.array([0.86, 0.83, 0.80], np.float32) * (light.ambient + light.key * 0.45)).clip(0, 0.97)
    opening = canvas.fill(outline, sclera, label)
    centre = (marks[0] + marks[3]) / 2 + [0, -0.1 * person.eye_height * unit]
    radius = 0.062 * unit
    centre = centre + np.array([head.motion.gaze_x + 1.6 * np.sin(head.motion.yaw), head.motion.gaze_y]) * radius * 0.7
    shapes = ((1.0, person.iris * 0.55), (0.82, person.iris), (0.42, person.iris * 0.05))
    for scale, color in shapes:
        disc = polygon_mask(
            _ellipse(centre, radius * scale, radius * scale), canvas.height, canvas.width, 0.08 * radius
        )
        canvas.blend(disc * opening, (color * (light.ambient + 0.5 * light.key)).astype(np.float32))
    glint = centre + np.array([light.direction[0], light.direction[1]]) * radius * 0.55
    spot = polygon_mask(_ellipse(glint, radius * 0.2, radius * 0.2), canvas.height, canvas.width, 0.05 * radius)
    canvas.blend(spot * opening * np.float32(0.9), np.ones(3, np.float32))
    lid = geo.smooth_open(marks[[0, 1, 2, 3]], 5)
    canvas.darken(
        polygon_mask(
            np.concatenate([lid, lid[::-1] + np.array([0, 0.035 * unit])]), canvas.height, canvas.width, 0.01 * unit
        )
        * opening,
        0.55,
    )
    lash = (person.hair_color * 0.25 + person.skin * 0.05).astype(np.float32)
    canvas.stroke(lid, lash, 0.022 * unit, 0.85, 0.004 * unit)
    canvas.stroke(geo.smooth_open(marks[[3, 4, 5, 0]], 5), (person.skin * 0.45).astype(np.float32), 0.012 * unit, 0.6)
    crease = lid + np.array([0, -0.035 - 0.012 * head.motion.eye_open]) * unit
    canvas.stroke(crease, (person.skin * 0.5).astype(np.float32), 0.014 * unit, 0.55, 0.006 * unit)


def _paint_glasses(canvas: Canvas, head: Head) -> None:
    """Thin frames; LaPa has no class for them, so the parsing map stays."""
    unit, dark = head.unit, np.full(3, 0.08, np.float32)
    width = 0.028 * unit * head.person.glasses
    centres = [head.landmarks[geo.RIGHT_EYE].mean(axis=0), head.landmarks[geo.LEFT_EYE].mean(axis=0)]
    rims = [
        _ellipse(centre + np.array([0, 0.02 * unit]), 0.22 * unit, 0.16 * unit, head.motion.roll, 32)
        for centre in centres
    ]
    for rim in rims:
        canvas.stroke(np.concatenate([rim, rim[:1]]), dark, width, 0.9)
    canvas.stroke(np.stack([rims[0][0], rims[1][16]]), dark, width, 0.9)
    canvas.stroke(np.stack([rims[0][16], head.landmarks[0]]), dark, width, 0.9)
    canvas.stroke(np.stack([rims[1][0], head.landmarks[16]]), dark, width, 0.9)
