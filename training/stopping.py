"""Stop signals: finish the step, save, leave."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Interrupted(Exception):  # noqa: N818 - not an error: the run was asked to stop and has been saved
    """SIGINT or SIGTERM arrived; the state was saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number


class StopSignals:
    """Notes SIGINT and SIGTERM while it is entered; a second signal leaves at once.

    Attributes:
        received: number of the signal that arrived, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._note)
            except ValueError:  # not in the main thread: signals belong to someone else
                return

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
