"""Which frames of a video are taken, by name."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from benchmark.errors import ConfigError

FAS_PAIR = "fas_pair"
_FAS_FIRST = 6


@dataclass(frozen=True, slots=True)
class FrameRule:
    """Which frames of a video are taken.

    Attributes:
        name: ``uniform`` (``number`` frames from first to last, the published rule of deepfake detection), ``all``,
            ``stride`` (frames 0, ``number``, 2 ``number``, ...), or ``fas_pair`` (frames 6 and 6 + total // 2, each
            replaced by the next frame with a face when it has none: the published rule of face anti-spoofing).
        number: frames per video, or the stride; 0 for the others.
    """

    name: str
    number: int = 0

    @classmethod
    def parse(cls, text: str | int) -> FrameRule:
        """``32`` -> uniform, ``all``, ``stride:10`` -> every tenth, ``fas_pair``.

        Raises:
            ConfigError: none of these forms, or a number below 1.
        """
        match = re.fullmatch(r"(?:(stride):)?(\d+)|all|fas_pair", str(text).strip())
        if match is None or (match[2] is not None and int(match[2]) < 1):
            raise ConfigError(
                f"Frames '{text}' is not a frame rule. Allowed: a number such as 32 (spread evenly from the first to "
                "the last frame), all, stride:10 (every tenth), or fas_pair (frames 6 and 6 + half of the video)."
            )
        if match[2] is None:
            return cls(match[0])
        return cls(match[1] or "uniform", int(match[2]))

    def select(self, total: int) -> list[int] | None:
        """Rising frame numbers of a video of ``total`` frames; None means every frame there is.

        A video shorter than ``number`` gives each frame once: the repeats of ``uniform_indices`` fall together.
        """
        if self.name == "all":
            return None
        if self.name == "stride":
            return list(range(0, total, self.number))
        if self.name == FAS_PAIR:
            return [window.start for window in self.windows(total)]
        return sorted({index for index in uniform_indices(total, self.number) if 0 <= index < total})

    def windows(self, total: int) -> list[range]:
        """Where to look for another frame when a selected one has no face; empty for rules that do not look.

        The published procedure looks on without an end. Here the first frame's search ends where the second one's
        begins, so that no frame is taken twice, and the second one's with the video. A video of 12 frames or fewer has
        no second frame, one of 6 or fewer none.
        """
        if self.name != FAS_PAIR:
            return []
        second = min(_FAS_FIRST + total // 2, total)
        return [window for window in (range(_FAS_FIRST, second), range(second, total)) if window]

    @property
    def is_for_videos(self) -> bool:
        """True when images that were chosen from a video by somebody else are not to be chosen from again."""
        return self.name == FAS_PAIR

    def __str__(self) -> str:
        return {"uniform": str(self.number), "stride": f"stride:{self.number}"}.get(self.name, self.name)


def uniform_indices(total: int, count: int) -> list[int]:
    """``count`` numbers from 0 to ``total - 1``, both included, truncated to integers (FSFM, DeepfakeBench).

    Repeats numbers when ``total < count``, exactly as the published extraction does.
    """
    return [int(index) for index in np.linspace(0, total - 1, count, dtype=int)]
