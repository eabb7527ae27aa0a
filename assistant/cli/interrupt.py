"""Ctrl-C during long work: once asks the work to stop at a consistent point, twice ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

from .failures import INTERRUPTED
from .output import note


class Interruption:
    """While entered, the first SIGINT sets ``cancel`` and the second one ends the process.

    Ending at once is safe: what the store has acknowledged survives any kill.
    """

    def __init__(self, message: str = "capibara: stopping; press Ctrl-C again to end at once") -> None:
        self._message = message
        self.cancel = threading.Event()
        self._earlier: Any = None

    def __enter__(self) -> Self:
        self._earlier = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, *_error: object) -> None:
        signal.signal(signal.SIGINT, self._earlier)

    def _interrupted(self, _signal: int, _frame: FrameType | None) -> None:
        if self.cancel.is_set():
            os._exit(INTERRUPTED)
        self.cancel.set()
        note(self._message)
