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

_HEADING_SIZE = 1.09
_LONGEST_HEADING = 160
_SHORT_ROW = 40
_NEIGHBOURS = 12
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
        """The paragraphs and headings of one page that was learned before, in reading order."""
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
                if _same_row(line, following):
                    blank = " " if following.left - line.right > 0.15 * body else ""
                    text = text.rstrip() + blank + following.text.lstrip()
                    continue
                wraps = _is_full(line, following, _column(lines, i, gap))
                text = self._joined(text, following.text, wraps=wraps)
        yield from self._block(group, text, page, body)

    def learn(self, lines: Sequence[Line]) -> None:
        """Take in the type sizes and words of a page; pages read ahead make the judgement better.

        The parts of a word broken at a line's end are no words.
        """
        broken = False
        for line in lines:
            words = _WORD.findall(line.text)
            first = 1 if broken else 0
            broken = line.text.rstrip()[-1] in "\x02-"
            self._words.update(word.lower() for word in words[first : len(words) - broken])
            self._sizes[round(line.size, 1)] += len(line.text)

    def _breaks(self, line: Line, following: Line, gap: float, body: float) -> bool:
        """Whether a new paragraph begins with the ``following`` line."""
        if line.text.endswith("\x02") or _same_row(line, following):
            return False
        if _heading_like(line, body) and not 0.9 < line.size / following.size < 1.1:
            return True
        if _heading_like(line, body) != _heading_like(following, body):
            return True
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
        if split in self._words:
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
        return min(6, (1 if line.size >= 1.6 * body else 2) + numbered[1].count("."))
    return 1 if line.size >= 1.6 * body else 2 if line.size >= 1.3 * body else 3


def _column(lines: Sequence[Line], i: int, gap: float) -> float:
    """How far to the right the lines about line ``i`` reach that stand one below the other without a gap."""
    right = lines[i].right
    for step in (-1, 1):
        j = i
        while 0 <= j + step < len(lines) and abs(j + step - i) <= _NEIGHBOURS:
            near, far = lines[j], lines[j + step]
            fall = (far.baseline - near.baseline) * -step
            if not 0 < fall < 1.45 * gap or abs(far.left - lines[i].left) > 1.5 * lines[i].size:
                break
            right = max(right, far.right)
            j += step
    return right


def _is_full(line: Line, following: Line, column: float) -> bool:
    """Whether the first word of the ``following`` line would not have fitted behind ``line``."""
    if line.text.endswith("\x02"):
        return True
    if line.right > column - 0.5 * line.size and len(line.text) > _SHORT_ROW / 2:
        return True
    words = following.text.split()
    if not words or (len(line.text.split()) < _SHORT_ROW / 5 and not words[0][0].islower()):
        return False  # a row of a form or a table
    return line.right + (len(words[0]) + 1) * following.character > column - 0.5 * line.size


def _same_row(line: Line, following: Line) -> bool:
    """A raised or lowered sign, or what follows one: PDFium makes lines of their own of them."""
    near = abs(line.baseline - following.baseline) < 0.6 * max(line.size, following.size)
    return near and following.left > line.right - 0.5 * line.size


def _is_short(line: Line, following: Line) -> bool:
    words = following.text.split(None, 1)
    room = (len(words[0]) + 2) * following.character if words else 0.0
    return line.right + room < following.right
