"""Plain text: paragraphs of a file of any size, exactly as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from ...config.schema import RagSettings
from ..values import Block
from .document import StreamedDocument
from .encoding import detect, pieces
from .source import check

LONGEST_BLOCK = 1 << 15
"""Characters after which a paragraph is cut, so that memory stays bounded."""

_TITLE_LINES = 12
_PARAGRAPH_BREAK = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)\]]*\s+")
_BULLET = re.compile(r"\s*(?:[-*•–—·]|\d+[.)])\s")


class TextLoader:
    """Reads plain text in any common encoding; implements `DocumentLoader`."""

    suffixes = (".txt", ".text")

    def __init__(self, settings: RagSettings) -> None:
        self._settings = settings

    def load(self, path: Path) -> StreamedDocument:
        """Open ``path``.

        Raises:
            DocumentError: missing, unreadable, empty, too large or binary.
        """
        check(path, self._settings.max_file_mb)
        warnings: list[str] = []
        texts = paragraphs(pieces(path, detect(path), warnings))
        head = list(_up_to_text(texts))
        return StreamedDocument(
            _with_headings(chain(head, texts)), title=_title(head[-1]) if head else None, warnings=warnings
        )


def paragraphs(texts: Iterable[str]) -> Iterator[str]:
    """Cut a stream of text behind its blank lines; the results, joined, are the text.

    A paragraph longer than `LONGEST_BLOCK` characters is cut behind a sentence, else a line, else a word.
    """
    rest = ""
    for piece in texts:
        rest += piece
        start = 0
        for match in _PARAGRAPH_BREAK.finditer(rest):
            if match.end() == len(rest):  # the break may go on in the next piece
                break
            yield from cut_long(rest[start : match.end()])
            start = match.end()
        rest = rest[start:]
        while len(rest) > 2 * LONGEST_BLOCK:
            end = cut_position(rest, LONGEST_BLOCK)
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield from cut_long(rest)


def cut_long(text: str) -> Iterator[str]:
    """``text`` in parts of at most `LONGEST_BLOCK` characters, cut at the best border there is."""
    start = 0
    while len(text) - start > LONGEST_BLOCK:
        part = text[start : start + LONGEST_BLOCK]
        end = cut_position(part, LONGEST_BLOCK)
        yield part[:end]
        start += end
    if start < len(text):
        yield text[start:]


def cut_position(text: str, limit: int) -> int:
    """The last border in ``text[limit // 2 : limit]``: behind a sentence, a line, a word; else ``limit``."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text, limit // 2, limit)]
    if ends:
        return ends[-1]
    for border in ("\n", " ", "\t"):
        position = text.rfind(border, limit // 2, limit)
        if position >= 0:
            return position + 1
    return limit


def _up_to_text(texts: Iterator[str]) -> Iterator[str]:
    for text in texts:
        yield text
        if text.strip():
            return


def _title(paragraph: str) -> str | None:
    """The first line of the first paragraph, if it was not broken where the next word no longer fitted."""
    lines = [line.strip() for line in paragraph.strip().split("\n")[:_TITLE_LINES]]
    if len(lines) < 2 or not _may_be_heading(lines[0]) or not lines[1]:
        return None
    fitting = len(lines[0]) + 1 + len(lines[1].split()[0])
    return lines[0] if not lines[1][0].islower() and fitting <= max(map(len, lines[1:])) else None


def _with_headings(texts: Iterable[str]) -> Iterator[Block]:
    """Mark short lines that stand alone above a long paragraph as headings."""
    pending: str | None = None
    for text in texts:
        if pending is not None:
            yield Block(pending, heading=2 if _is_prose(text) else None)
            pending = None
        if _may_be_heading(text):
            pending = text
        else:
            yield Block(text)
    if pending is not None:
        yield Block(pending)


def _may_be_heading(text: str) -> bool:
    line = text.strip()
    return (
        0 < len(line) <= 72
        and "\n" not in line
        and line[-1] not in ".,;:!?…"
        and not line[0].islower()
        and any(character.isalpha() for character in line)
        and _BULLET.match(line) is None
    )


def _is_prose(text: str) -> bool:
    line = text.strip().partition("\n")[0]
    return _BULLET.match(line) is None and len(text.strip()) >= 80 and len(line) >= 40
