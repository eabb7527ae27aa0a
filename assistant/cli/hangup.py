"""SIGHUP reads the settings again, as it does with servers."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..assistant import Assistant


def reload_at_hangup(assistant: Assistant) -> None:
    """From now on; does nothing outside the main thread, or where there is no such signal."""
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        return

    def reload(*_: object) -> None:
        # A handler interrupts whatever runs, which may hold the very lock that a reload takes.
        threading.Thread(target=assistant.reload, name="capibara-reload", daemon=True).start()

    signal.signal(signal.SIGHUP, reload)
