"""Everything that decides which bytes are stored, checked, and as a plain record for the fingerprint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmark.errors import ConfigError, did_you_mean
from preprocessing.faces.align import ALIGNMENTS
from preprocessing.faces.base import FACE_CHOICES, MASK_CHOICE
from preprocessing.faces.crop import RESIZE_FILTER
from preprocessing.frame_rules import FrameRule

if TYPE_CHECKING:
    from preprocessing.tools import Tools

SUFFIXES = {"png": ".png", "jpeg": ".jpg"}
PNG_COMPRESSION = 3
JPEG_QUALITY = 95
Options = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Settings:
    """Everything that decides which bytes are stored.

    Attributes:
        frames: which frames are taken.
        frames_real: another rule for real videos (FSFM takes 128 of them, to balance four manipulations of 32).
        face_finder: registered name.
        face_options: keyword arguments of the finder, sorted pairs.
        face_choice: a key of ``FACE_CHOICES``.
        margin: side of the crop over the larger side of the face box; with ``five_point``, scale of the template.
        size: side of the stored crops in pixels; None is the crop as it is (the published way) or the alignment's own.
        image_format: ``png`` or ``jpeg``.
        quality: JPEG quality 1-100; None for PNG.
        align: a key of ``ALIGNMENTS``, or None for the upright square.
        legacy_bgr: with ``five_point``, search the aligned crop in BGR and take the first face, as DeepfakeBench did.
        predictor: file of the landmark model, or None when none is needed.
        landmarks: store landmarks.
        parser: registered name of a face parser, or None.
        parse_options: its keyword arguments, sorted pairs.
        masks: store manipulation masks where the dataset has them.
    """

    frames: FrameRule = field(default_factory=lambda: FrameRule("uniform", 32))
    frames_real: FrameRule | None = None
    face_finder: str = "dlib"
    face_options: Options = ()
    face_choice: str = "first"
    margin: float = 1.3
    size: int | None = None
    image_format: str = "png"
    quality: int | None = None
    align: str | None = None
    legacy_bgr: bool = False
    predictor: str | None = None
    landmarks: bool = False
    parser: str | None = None
    parse_options: Options = ()
    masks: bool = True

    def __post_init__(self) -> None:
        _check_name("--face-choice", self.face_choice, FACE_CHOICES)
        if not 1.0 <= self.margin <= 10.0:
            raise ConfigError(f"--margin {self.margin} must be between 1 (the bare face box) and 10.")
        if self.size is not None and self.size < 1:
            raise ConfigError(f"--size {self.size} must be at least 1 pixel.")
        if self.image_format not in SUFFIXES:
            raise ConfigError(f"--format {self.image_format} is not known. Allowed: {', '.join(SUFFIXES)}.")
        if self.image_format == "png" and self.quality is not None:
            raise ConfigError("--quality is for --format jpeg; PNG keeps every pixel as it is.")
        if self.image_format == "jpeg" and self.quality is None:
            object.__setattr__(self, "quality", JPEG_QUALITY)
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ConfigError(f"--quality {self.quality} must be between 1 and 100.")
        if self.align is not None:
            _check_name("--align", self.align, ALIGNMENTS)
        if self.legacy_bgr and self.align != "five_point":
            raise ConfigError(
                "--legacy-bgr is a rule of --align five_point (DeepfakeBench's crops); give both or none."
            )
        if self.parse_options and self.parser is None:
            raise ConfigError("--parse-option needs --parse NAME.")
        if self.landmarks and self.predictor is None:
            raise ConfigError("--landmarks needs the file of a landmark model.")

    @property
    def suffix(self) -> str:
        """File suffix of the stored crops."""
        return SUFFIXES[self.image_format]

    @property
    def aligned_size(self) -> int:
        """Side of an aligned crop in pixels."""
        assert self.align is not None
        return self.size or ALIGNMENTS[self.align]

    @property
    def uses_masks(self) -> bool:
        """True when masks are needed although they may not be stored."""
        return self.face_choice == MASK_CHOICE

    def rule(self, label: int) -> FrameRule:
        """The frame rule for real (0) or fake (1) items."""
        return self.frames_real if label == 0 and self.frames_real else self.frames

    def record(self, dataset: str, tools: Tools) -> dict[str, Any]:
        """Plain mapping for the index, the store and the fingerprint."""
        encoding = {"png_compression": PNG_COMPRESSION} if self.quality is None else {"quality": self.quality}
        return {
            "dataset": dataset,
            "frame_rule": str(self.frames),
            "frame_rule_real": str(self.frames_real or self.frames),
            "face_finder": {"name": self.face_finder, **tools.finder.settings()},
            "face_choice": self.face_choice,
            "margin": self.margin,
            "size": self.aligned_size if self.align else self.size,
            "resize_filter": RESIZE_FILTER if self.size and not self.align else None,
            "image_format": self.image_format,
            **encoding,
            "align": self.align,
            "second_detection": self._second_detection(tools),
            "landmarks": {"stored": self.landmarks, **tools.predictor.settings()} if tools.predictor else None,
            "parser": {"name": self.parser, **tools.parser.settings()} if tools.parser else None,
            "masks": self.masks,
        }

    def _second_detection(self, tools: Tools) -> str | None:
        if self.align != "five_point" or tools.predictor is None:
            return None
        return "BGR crop, first face" if self.legacy_bgr else "RGB crop, largest face"


def _check_name(flag: str, name: str, known: Mapping[str, Any] | Sequence[str]) -> None:
    if name not in known:
        hint = did_you_mean(name, known)
        raise ConfigError(f"{flag} {name} is not known. Allowed: {', '.join(known)}.{hint}")
