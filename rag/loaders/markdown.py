"""Markdown (CommonMark with the common extensions): headings, code, tables and prose without the markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...config.schema import RagSettings
from ..values import Block
from .document import StreamedDocument
from .encoding import detect, pieces
from .markdown_inline import plain
from .source import check
from .tables import Header, table_text
from .text import LONGEST_BLOCK, cut_long

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r"(\s*)(`{3,}|~{3,})[^`]*$")
_RULE = re.compile(r" {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$")
_TABLE_RULE = re.compile(r"\s*(?:\|\s*)?:?-+:?\s*(?:\|\s*:?-+:?\s*)*(?:\|\s*)?$")
_REFERENCE = re.compile(r" {0,3}\[[^\]]+\]:\s*\S+")
_QUOTE = re.compile(r" {0,3}>[ \t]?")
_ALERT = re.compile(r"\s*\[!(\w+)\][+-]?[ \t]*(.*)$")
_ADMONITION = re.compile(r"\s*(?:!!!|\?\?\?\+?|:{3,}|/{3,})[ \t]*([A-Za-zÀ-ÿ][\w-]*)?[ \t]*(.*)$")
_LONGEST_FRONT_MATTER = 200


class MarkdownLoader:
    """Reads Markdown of any size, line by line; implements `DocumentLoader`."""

    suffixes = (".md", ".markdown")

    def __init__(self, settings: RagSettings) -> None:
        self._settings = settings

    def load(self, path: Path) -> StreamedDocument:
        """Open ``path``.

        Raises:
            DocumentError: missing, unreadable, empty, too large or binary.
        """
        check(path, self._settings.max_file_mb)
        warnings: list[str] = []
        title, lines = _front_matter(_lines(pieces(path, detect(path), warnings)))
        return StreamedDocument(_Reader().read(lines), title=title, warnings=warnings)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """The lines of a stream, without their ends; a line without end is cut."""
    rest = ""
    for text in texts:
        rest += text
        *whole, rest = rest.split("\n")
        for line in whole:
            yield from cut_long(line) if line else ("",)
        if len(rest) > 2 * LONGEST_BLOCK:
            *parts, rest = cut_long(rest)
            yield from parts
    if rest:
        yield rest


def _front_matter(lines: Iterator[str]) -> tuple[str | None, Iterator[str]]:
    """Take YAML front matter off: its ``title``, and the lines behind it."""
    first = next(lines, None)
    if first is None or first.rstrip() != "---":
        return None, _chained([] if first is None else [first], lines)
    taken = [first]
    for line in lines:
        taken.append(line)
        if line.rstrip() in ("---", "..."):
            found = (re.match(r"title:\s*(.+)", entry) for entry in taken)
            title = next((match[1].strip().strip("\"'") for match in found if match), None)
            return title, lines
        if len(taken) > _LONGEST_FRONT_MATTER:
            break
    return None, _chained(taken, lines)


def _chained(head: list[str], lines: Iterator[str]) -> Iterator[str]:
    yield from head
    yield from lines


class _Reader:
    """Turns lines into blocks; holds the paragraph or table at hand."""

    def __init__(self) -> None:
        self._paragraph: list[str] = []
        self._size = 0
        self._table: list[list[str]] = []

    def read(self, lines: Iterator[str]) -> Iterator[Block]:
        for line in lines:
            fence = _FENCE.match(line)
            if fence:
                yield from self._flush()
                yield from _code(lines, fence[2], len(fence[1]))
                continue
            yield from self._take(_unquoted(line))
        yield from self._flush()

    def _take(self, line: str) -> Iterator[Block]:
        if self._table:
            if "|" in line:
                self._table.append(_cells(line))
                if len(self._table) > 500:
                    yield from self._flush_table(keep_header=True)
                return
            yield from self._flush_table()
        heading = _ATX.match(line)
        if heading:
            yield from self._flush()
            yield from _heading(heading[2] or "", len(heading[1]))
        elif self._paragraph and _SETEXT.match(line):
            text = " ".join(self._paragraph)
            self._clear()
            yield from _heading(text, 1 if "=" in line else 2)
        elif self._paragraph and "|" in self._paragraph[-1] and "-" in line and _TABLE_RULE.match(line):
            header = _cells(self._paragraph.pop())
            yield from self._flush()
            self._table = [header]
        elif not line.strip() or _RULE.match(line) or _REFERENCE.match(line):
            yield from self._flush()
        else:
            yield from self._text(line)

    def _text(self, line: str) -> Iterator[Block]:
        admonition = _ADMONITION.match(line)
        if admonition:
            yield from self._flush()
            kind, title = admonition[1] or "", admonition[2].strip("\"' |{}[]")
            if not kind and not title:
                return
            line = f"{title or kind.capitalize()}:"
        self._paragraph.append(line)
        self._size += len(line)
        if self._size > LONGEST_BLOCK:
            yield from self._flush()

    def _flush(self) -> Iterator[Block]:
        yield from self._flush_table()
        if self._paragraph:
            text = plain(
                "\n".join(
                    line.strip() if len(line) - len(line.lstrip()) > 8 else line.rstrip() for line in self._paragraph
                )
            )
            if text.strip():
                yield Block(text.strip("\n") + "\n\n")
        self._clear()

    def _clear(self) -> None:
        self._paragraph = []
        self._size = 0

    def _flush_table(self, *, keep_header: bool = False) -> Iterator[Block]:
        if self._table:
            text = table_text([[plain(cell) for cell in row] for row in self._table], Header.DECLARED)
            if text:
                yield Block(text if keep_header else text + "\n", kind="rows")
        self._table = self._table[:1] if keep_header else []


def _heading(text: str, level: int) -> Iterator[Block]:
    text = " ".join(plain(text).split())
    if text:
        yield Block(text + "\n\n", heading=level)


def _code(lines: Iterator[str], fence: str, indent: int) -> Iterator[Block]:
    """The lines up to the closing fence; an unclosed fence reaches to the end of the document."""
    closing = re.compile(rf"\s*{re.escape(fence[0])}{{{len(fence)},}}\s*$")
    held: list[str] = []
    size = 0
    for line in lines:
        if closing.match(line):
            break
        held.append(line[indent:] if not line[:indent].strip() else line)
        size += len(line)
        if size > LONGEST_BLOCK:
            yield Block("\n".join(held) + "\n", kind="code")
            held, size = [], 0
    if any(line.strip() for line in held):
        yield Block("\n".join(held).rstrip() + "\n\n", kind="code")


def _unquoted(line: str) -> str:
    while match := _QUOTE.match(line):
        line = line[match.end() :]
        alert = _ALERT.match(line)
        if alert:
            return f"{alert[2] or alert[1].capitalize()}:"
    return line


def _cells(line: str) -> list[str]:
    """The cells of a table row; ``\\|`` is a bar inside a cell."""
    inner = line.strip().removeprefix("|")
    cells = re.split(r"(?<!\\)\|", inner.removesuffix("|") if not inner.endswith("\\|") else inner)
    return [cell.replace("\\|", "|").strip() for cell in cells]
