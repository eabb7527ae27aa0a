"""Wraps text to the width of the terminal; in a pipe nothing is wrapped."""

from __future__ import annotations

import shutil
import sys

from .output import printable


def wrapped(text: str) -> str:
    """``text`` with line breaks between words where standard output is a terminal."""
    if not sys.stdout.isatty():
        return text
    writer = _Lines(shutil.get_terminal_size().columns)
    return writer.push(text) + writer.finish()


class WrappedText:
    """Writes streamed text to standard output, each word as soon as it is whole; in a pipe, as it comes."""

    def __init__(self) -> None:
        self._lines = _Lines(shutil.get_terminal_size().columns) if sys.stdout.isatty() else None

    def write(self, piece: str) -> None:
        """Show the next piece."""
        sys.stdout.write(printable(self._lines.push(piece) if self._lines else piece))
        sys.stdout.flush()

    def finish(self) -> None:
        """Show what was held back, and end the line."""
        sys.stdout.write(printable(self._lines.finish() if self._lines else "") + "\n")


class _Lines:
    """Breaks streamed text into lines of at most ``width`` columns; a word that is longer stands alone."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._column = 0
        self._blank = ""
        self._word = ""

    def push(self, piece: str) -> str:
        shown = ""
        for character in piece:
            if not character.isspace() or character == "\N{NO-BREAK SPACE}":
                self._word += character
                continue
            shown += self.finish()
            if character == "\n":
                shown += "\n"
                self._column, self._blank = 0, ""
            else:
                self._blank = " "
        return shown

    def finish(self) -> str:
        if not self._word:
            return ""
        from rich.cells import cell_len

        length = cell_len(self._word)
        if self._column and self._column + len(self._blank) + length > self._width:
            blank, self._column = "\n", 0
        else:
            blank = self._blank
            self._column += len(blank)
        self._column += length
        shown = blank + self._word
        self._blank = self._word = ""
        return shown
