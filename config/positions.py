"""Finds the line on which each key of a TOML document stands.

`tomllib` gives values without positions. This scanner walks a document that `tomllib` has already accepted
(TOML 1.0, https://toml.io/en/v1.0.0), so it looks only for the borders of keys and values and checks nothing.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_right

KeyPath = tuple[str | int, ...]
"""Names of tables and keys, and indices (from 0) into arrays."""


def key_lines(document: str) -> dict[KeyPath, int]:
    """The line (from 1) of every key, table header and array element of a valid TOML ``document``."""
    return _Scanner(document.replace("\r\n", "\n")).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [i for i, character in enumerate(text) if character == "\n"]
        self._lines: dict[KeyPath, int] = {}
        self._tables_in_array: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip_blank():
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._assignment(table)
        return self._lines

    def _skip_blank(self) -> bool:
        """Move to the next character that is neither white space nor comment; False at the end."""
        while self._at < len(self._text):
            character = self._text[self._at]
            if character == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif character in " \t\n":
                self._at += 1
            else:
                return True
        return False

    def _note(self, path: KeyPath, line: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], line)

    def _line(self) -> int:
        return bisect_right(self._newlines, self._at - 1) + 1

    def _header(self) -> KeyPath:
        line = self._line()
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        names = self._dotted_key()
        self._at += 2 if is_array else 1
        path: KeyPath = ()
        for depth, name in enumerate(names, start=1):
            path += (name,)
            if is_array and depth == len(names):
                self._tables_in_array[path] = self._tables_in_array.get(path, 0) + 1
            if path in self._tables_in_array:
                path += (self._tables_in_array[path] - 1,)
        self._note(path, line)
        return path

    def _assignment(self, table: KeyPath) -> None:
        line = self._line()
        path = table + self._dotted_key()
        self._note(path, line)
        self._at += 1  # the equals sign
        self._skip_blank()
        self._value(path)

    def _dotted_key(self) -> tuple[str, ...]:
        """Read ``a . "b" . 'c'``; stops at the character that follows."""
        names = []
        while True:
            self._skip_blank()
            names.append(self._name())
            self._skip_blank()
            if self._text[self._at] != ".":
                return tuple(names)
            self._at += 1

    def _name(self) -> str:
        start = self._at
        if self._text[start] in "\"'":
            self._string()
            return tomllib.loads(f"name = {self._text[start : self._at]}")["name"]
        while self._text[self._at] not in " \t.=]":
            self._at += 1
        return self._text[start : self._at]

    def _value(self, path: KeyPath) -> None:
        opening = self._text[self._at]
        if opening in "\"'":
            self._string()
        elif opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            while self._at < len(self._text) and self._text[self._at] not in ",]}#\n":
                self._at += 1

    def _string(self) -> None:
        quote = self._text[self._at]
        delimiter = quote * 3 if self._text.startswith(quote * 3, self._at) else quote
        self._at += len(delimiter)
        while not self._text.startswith(delimiter, self._at):
            escaped = quote == '"' and self._text[self._at] == "\\"
            self._at += 2 if escaped else 1
        self._at += len(delimiter)
        if len(delimiter) == 3:
            # The content may end with one or two quotes of its own, which come before the last delimiter.
            while self._at < len(self._text) and self._text[self._at] == quote:
                self._at += 1

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while self._skip_blank() and self._text[self._at] != "]":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._note((*path, index), self._line())
            self._value((*path, index))
            index += 1
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._skip_blank() and self._text[self._at] != "}":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._assignment(path)
        self._at += 1
