"""Progress of a long run: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from loguru import logger
from tqdm import tqdm

if TYPE_CHECKING:
    from preprocessing.task import ItemResult

_LOG_EVERY_SECONDS = 30.0


class Progress:
    """Counts finished items; shows videos/s, frames/s, time left, frames without a face and unreadable files.

    Args:
        name: of the dataset.
        total: items to do.
    """

    def __init__(self, name: str, total: int) -> None:
        self._name = name
        self._total = total
        self._done = self._frames = self._faceless = self._broken = 0
        self._start = self._last_log = time.monotonic()
        self._bar = tqdm(total=total, desc=name, unit="video", disable=None, smoothing=0.05, dynamic_ncols=True)

    def update(self, result: ItemResult) -> None:
        """Count one finished item; a broken file is logged at once."""
        self._done += 1
        self._frames += len(result.numbers)
        self._faceless += len(result.faceless)
        if result.problem or result.notes or result.unreadable:
            self._broken += 1
            reason = result.problem or "; ".join(result.notes) or f"{len(result.unreadable)} frames cannot be decoded"
            with tqdm.external_write_mode():
                logger.warning("{}: {}", result.source["file"], reason)
        self._bar.set_postfix_str(self._words(), refresh=False)
        self._bar.update()
        self._log()

    def _words(self) -> str:
        rate = self._frames / max(time.monotonic() - self._start, 1e-9)
        return f"{rate:.1f} frames/s, {self._faceless} frames without face, {self._broken} broken files"

    def _log(self) -> None:
        now = time.monotonic()
        if not self._bar.disable or (now - self._last_log < _LOG_EVERY_SECONDS and self._done < self._total):
            return
        self._last_log = now
        rate = self._done / max(now - self._start, 1e-9)
        left = (self._total - self._done) / rate
        logger.info(
            "{}: {} of {} videos, {:.2f} videos/s, {}, {:.0f} s left",
            self._name, self._done, self._total, rate, self._words(), left,
        )  # fmt: skip

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()
