"""What a command that goes on for a while does about changed settings: it tells of them, and takes SIGHUP."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

from .output import note

if TYPE_CHECKING:
    from ...config.generation import Change
    from ..assistant import Assistant


def tell_of_changes(assistant: Assistant) -> None:
    """One line on standard error for each change that is taken up, unless the log says it already."""

    def tell(changes: tuple[Change, ...]) -> None:
        if assistant.settings.logging.level in ("warning", "error"):
            note(f"capibara: settings taken up: {', '.join(map(str, changes))}")

    assistant.on_change([], tell)


def reload_at_hangup(assistant: Assistant) -> None:
    """From now on; does nothing outside the main thread, or where there is no such signal."""
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        return

    def reload() -> None:
        if assistant.reload().result == "unchanged":
            note("capibara: settings were read again, and are as they were")

    def at_signal(*_: object) -> None:
        # A handler interrupts whatever runs, which may hold the very lock that a reload takes.
        threading.Thread(target=reload, name="capibara-reload", daemon=True).start()

    signal.signal(signal.SIGHUP, at_signal)
