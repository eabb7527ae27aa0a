"""Paragraphs and headings out of the lines of PDF pages.

A line goes on in the next one when it reaches so far to the right that the next line's first word would not have
fitted; a gap, a change of type size or an indent begins a new paragraph. Type larger than that of the running text
marks a heading. Nothing is dropped: running heads and page numbers stay.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from ..values import Block
from .pdf_lines import Line

_HEADING_SIZE = 1.12
_LONGEST_HEADING = 160
_NUMBERED = re.compile(r"(?:\d{1,2}(?:\.\d{1,2}){0,3}\.?|[A-Z]\.|[IVX]{1,5}\.)\s+\D")
_BULLET = re.compile(r"\s*(?:[-*•‣▪◦·●○■–—]|\(?\d{1,3}[.)]|\[\d{1,3}\])\s")
_STOP = re.compile(r"[.!?:…。][\"'”’»)\]]*\d{0,3}$")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_BROKEN_WORD = re.compile(r"([^\W\d_]+)[\x02-]$")


class PageLayout:
    """Joins lines page after page; remembers the words and type sizes met, to judge hyphens and headings."""

    def __init__(self) -> None:
        self._words: set[str] = set()
        self._sizes: Counter[float] = Counter()

    def blocks(self, lines: Sequence[Line], page: int) -> Iterator[Block]:
        """The paragraphs and headings of one page, in reading order."""
        for line in lines:
            self._words.update(word.lower() for word in _WORD.findall(line.text.rstrip("\x02")))
            self._sizes[round(line.size, 1)] += len(line.text)
        if not lines:
            return
        body = self._sizes.most_common(1)[0][0]
        gap = _usual_gap(lines)
        group = [lines[0]]
        text = lines[0].text
        for i, (line, following) in enumerate(pairwise(lines)):
            if self._breaks(line, following, gap, body):
                yield from self._block(group, text, page, body)
                group, text = [following], following.text
            else:
                group.append(following)
                wraps = _is_full(line, following, lines[max(0, i - 8) : i + 10])
                text = self._joined(text, following.text, wraps=wraps)
        yield from self._block(group, text, page, body)

    def _breaks(self, line: Line, following: Line, gap: float, body: float) -> bool:
        """Whether a new paragraph begins with the ``following`` line."""
        if line.text.endswith("\x02"):
            return False
        if _heading_like(line, body) != _heading_like(following, body):
            # A raised or lowered sign in another size is no heading.
            return len(line.text.strip()) > 3 and len(following.text.strip()) > 3
        fall = line.baseline - following.baseline
        if fall < -0.5 * line.size:  # up again: the next column
            return not following.text.lstrip()[:1].islower()
        if fall > 1.45 * gap and fall > 1.2 * line.size:
            return True
        if _BULLET.match(following.text) and fall > 0.5 * line.size:
            return True
        indented = following.left - line.left > 0.8 * line.size
        stopped = _STOP.search(line.text.rstrip()) is not None
        return stopped and fall > 0.5 * line.size and (indented or _is_short(line, following))

    def _joined(self, text: str, following: str, *, wraps: bool) -> str:
        broken = _BROKEN_WORD.search(text.rstrip(" "))
        if broken and (text.rstrip(" ")[-1] == "\x02" or wraps) and following[:1].isalnum():
            return text.rstrip(" ")[:-1] + self._hyphen(broken[1], following) + following
        return text.rstrip(" ") + (" " if wraps else "\n") + following.lstrip(" ")

    def _hyphen(self, first: str, following: str) -> str:
        """The hyphen at a line's end is part of the word if the document shows so elsewhere."""
        second = _WORD.match(following)
        if second is None or second[0][:1].isupper():
            return "-"
        last = second[0].split("-")[0].lower()
        whole, split = first.lower() + last, f"{first}-{last}".lower()
        if any(word == split or word.startswith(split + "-") for word in (split,) if word in self._words):
            return "-"
        if whole in self._words:
            return ""
        # Two words of their own, neither a mere syllable, are rather a compound than one word divided.
        compound = first.lower() in self._words and last in self._words and min(len(first), len(last)) > 3
        return "-" if compound else ""

    def _block(self, group: Sequence[Line], text: str, page: int, body: float) -> Iterator[Block]:
        text = text.replace("\x02", "-").strip()
        if not text:
            return
        if all(_heading_like(line, body) for line in group) and len(text) <= _LONGEST_HEADING and _names(text):
            yield Block(" ".join(text.split()) + "\n\n", page=page, heading=_level(group[0], text, body))
        else:
            yield Block(text + "\n\n", page=page)


def _usual_gap(lines: Sequence[Line]) -> float:
    gaps = [a.baseline - b.baseline for a, b in pairwise(lines) if 0.5 * a.size < a.baseline - b.baseline < 3 * a.size]
    return median(gaps) if gaps else lines[0].size * 1.2


def _heading_like(line: Line, body: float) -> bool:
    text = line.text.strip()
    if line.size >= _HEADING_SIZE * body:
        return True
    return line.bold and len(text) <= 90 and line.size >= 0.98 * body and bool(_NUMBERED.match(text))


def _names(text: str) -> bool:
    """A heading has a word in it and does not begin in the middle of a sentence."""
    return re.search(r"[^\W\d_]{2}", text) is not None and not text[0].islower() and text[-1] not in ",;"


def _level(line: Line, text: str, body: float) -> int:
    numbered = re.match(r"(\d{1,2}(?:\.\d{1,2})*)\.?\s", text)
    if numbered:
        return min(6, 2 + numbered[1].count("."))
    return 1 if line.size >= 1.6 * body else 2 if line.size >= 1.3 * body else 3


def _is_full(line: Line, following: Line, around: Sequence[Line]) -> bool:
    """Whether the first word of the ``following`` line would not have fitted behind ``line``."""
    column = [other.right for other in around if abs(other.left - line.left) < 3 * line.size]
    words = following.text.split(None, 1)
    room = (len(words[0]) + 1) * following.character if words else 0.0
    return line.text.endswith("\x02") or line.right + room > max(column, default=line.right) - 0.5 * line.size


def _is_short(line: Line, following: Line) -> bool:
    words = following.text.split(None, 1)
    room = (len(words[0]) + 2) * following.character if words else 0.0
    return line.right + room < following.right
