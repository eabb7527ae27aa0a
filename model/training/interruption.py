"""Turns the signals that end a process into a request to stop after the current update."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cancelled_by(*signals: signal.Signals) -> Iterator[threading.Event]:
    """An event that is set by ``signals`` (SIGTERM and SIGINT where none is named), for ``train(cancel=…)``.

    The second signal acts as if nothing stood here. Only in the main thread, as Python demands of signal handlers.
    """
    event = threading.Event()
    before = {number: signal.getsignal(number) for number in signals or (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def cancel(*_: object) -> None:
        event.set()
        restore()

    for number in before:
        signal.signal(number, cancel)
    try:
        yield event
    finally:
        restore()
