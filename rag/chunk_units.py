"""The smallest parts of a block that a chunk is made of: sentences, lines, and parts of those that are too long."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .protocols import Embedder
from .sentences import sentence_spans
from .values import Block

_LINE = re.compile(r"[^\n]*\S[^\n]*")
_PARAGRAPH_BREAK = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of the document, [start, end), that begins and ends with no white space.

    ``tokens`` begin in it. ``level`` is the heading's level if the unit is (part of) one. ``sentence`` says that it is
    a whole sentence of prose, ``whole`` that it was not cut for its length, ``ends_paragraph`` that a paragraph, a
    record or a line of code ends with it.
    """

    start: int
    end: int
    tokens: int
    level: int | None = None
    sentence: bool = False
    whole: bool = True
    ends_paragraph: bool = False

    @property
    def heading(self) -> bool:
        return self.level is not None


def units_of(block: Block, start: int, embedder: Embedder, most_tokens: int, most_characters: int) -> Iterator[Unit]:
    """The units of ``block``, which begins at ``start`` of the document, none larger than the two limits.

    A unit too long is cut between words, a word too long between tokens, a token too long between characters.
    """
    spans = _spans(block)
    if not spans:
        return
    starts = embedder.token_offsets(block.text)[:, 0]
    last = len(spans) - 1
    counted = 0  # tokens may begin at the blank before a word: those belong to the unit behind
    for i, (left, right) in enumerate(spans):
        ends = i == last or block.kind != "prose" or _PARAGRAPH_BREAK.search(block.text, right, spans[i + 1][0])
        parts = list(_parts(block.text, left, right, starts, most_tokens, most_characters))
        for j, (begin, end) in enumerate(parts):
            yield Unit(
                start=start + begin,
                end=start + end,
                tokens=_tokens(starts, counted, end),
                level=block.heading,
                sentence=len(parts) == 1 and block.kind == "prose",
                whole=len(parts) == 1,
                ends_paragraph=bool(ends) and j == len(parts) - 1,
            )
            counted = end


def _spans(block: Block) -> list[tuple[int, int]]:
    if block.kind == "prose" and block.heading is None:
        return sentence_spans(block.text)
    spans = []
    for match in _LINE.finditer(block.text):
        line = match.group()
        indent = len(line) - len(line.lstrip()) if block.kind != "code" else 0
        spans.append((match.start() + indent, match.start() + len(line.rstrip())))
    return spans


def _tokens(starts: np.ndarray, begin: int, end: int) -> int:
    return int(np.searchsorted(starts, end) - np.searchsorted(starts, begin))


def _parts(
    text: str, begin: int, end: int, starts: np.ndarray, most_tokens: int, most_characters: int
) -> Iterator[tuple[int, int]]:
    """``text[begin:end]`` in parts within both limits."""
    while _tokens(starts, begin, end) > most_tokens or end - begin > most_characters:
        first = int(np.searchsorted(starts, begin))
        cut = min(end, begin + most_characters)
        if first + most_tokens < len(starts):
            cut = min(cut, int(starts[first + most_tokens]))
        cut = word_border(text, begin, cut)
        yield begin, begin + len(text[begin:cut].rstrip())
        while cut < end and text[cut].isspace():
            cut += 1
        begin = cut
    if begin < end:
        yield begin, end


def word_border(text: str, begin: int, cut: int) -> int:
    """The last beginning of a word in ``text[begin + 1 : cut + 1]``; ``cut`` itself if there is none."""
    if cut < len(text) and text[cut].isspace():
        return cut
    for i in range(cut, begin, -1):
        if text[i - 1].isspace() and i < len(text) and not text[i].isspace():
            return i
    return cut
