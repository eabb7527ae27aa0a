"""Ctrl-C during long work: once asks the work to stop at a consistent point, twice ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, Self, TypeVar

from .failures import INTERRUPTED
from .output import note

Result = TypeVar("Result")


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

    def run(self, work: Callable[[], Result]) -> Result:
        """The result of ``work``, done on another thread: this one is free to say at once that it heard Ctrl-C.

        Python handles signals on the main thread only, and not while that converts or runs a model.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="capibara-work") as worker:
            return worker.submit(work).result()

    def _interrupted(self, _signal: int, _frame: FrameType | None) -> None:
        if self.cancel.is_set():
            os._exit(INTERRUPTED)
        self.cancel.set()
        note(self._message)
