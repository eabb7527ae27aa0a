"""Ctrl-C during long work: asks the work to stop at a consistent point, or ends the process at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, NoReturn, Self, TextIO, TypeVar

from .failures import INTERRUPTED, Failure, report
from .output import note

Result = TypeVar("Result")


class _Heeding:
    """While entered, SIGINT comes to `_interrupted`."""

    def __init__(self) -> None:
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
        raise NotImplementedError


class Interruption(_Heeding):
    """While entered, the first SIGINT sets ``cancel`` and the second one ends the process.

    Ending at once is safe: what the store has acknowledged survives any kill.
    """

    def __init__(self, message: str = "capibara: stopping; press Ctrl-C again to end at once") -> None:
        super().__init__()
        self._message = message
        self.cancel = threading.Event()

    def _interrupted(self, _signal: int, _frame: FrameType | None) -> None:
        if self.cancel.is_set():
            _end(INTERRUPTED)
        self.cancel.set()
        note(self._message)


class EndingAtOnce(_Heeding):
    """While entered, SIGINT ends the process as a failed command ends: for loading, which has no place to stop at.

    The interpreter must not shut down meanwhile: it ends each thread that comes back to it from XLA, OpenVINO or
    CTranslate2 by unwinding their frames, where C++ aborts the process.
    """

    def __init__(self, stdout: TextIO, *, as_json: bool) -> None:
        super().__init__()
        self._stdout, self._as_json = stdout, as_json

    def end(self) -> NoReturn:
        """End the process."""
        failure = Failure("interrupted", exit_code=INTERRUPTED, kind="Interrupted")
        with contextlib.redirect_stdout(self._stdout):
            code = report(failure, as_json=self._as_json, verbose=False)
        self._stdout.flush()
        _end(code)

    def rearm(self) -> None:
        """Heed SIGINT again, after something else did."""
        signal.signal(signal.SIGINT, self._interrupted)

    def _interrupted(self, _signal: int, _frame: FrameType | None) -> None:
        self.end()


def _end(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
