"""A line that changes while it is shown."""

from __future__ import annotations

import shutil
import sys

from .output import one_line, printable


class LiveLine:
    """On a terminal it is written over. In a pipe every new state is a line of its own, marked with ``…``; without
    ``in_pipe`` it is not shown there at all.
    """

    def __init__(self, *, in_pipe: bool = True) -> None:
        self._terminal = sys.stdout.isatty()
        self._shown_at_all = self._terminal or in_pipe
        self._latest = ""

    def show(self, text: str) -> None:
        """Show ``text``, of which only the end where it is longer than the terminal is wide."""
        shown = printable(one_line(text))
        if not self._shown_at_all or shown == self._latest:
            return
        self._latest = shown
        if not self._terminal:
            sys.stdout.write(f"… {shown}\n")
        else:
            room = shutil.get_terminal_size().columns - 3
            sys.stdout.write(f"\r\x1b[K… {shown if len(shown) <= room else shown[-room:]}")
        sys.stdout.flush()

    def clear(self) -> None:
        """Take it away, where that can be done."""
        self._latest = ""
        if self._terminal:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
