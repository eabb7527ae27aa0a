"""Sentence borders by rule, for prose of many languages; also used to pick the sentences an answer quotes.

A stop ends a sentence unless what stands before it (abbreviation, initial, ordinal, open bracket) or behind it
(lower case, comma) says otherwise. Where an abbreviation may also end a sentence ("in the U.S. The …"), the next word
decides: function words that open sentences count as a beginning. The idea follows Kiss and Strunk, "Unsupervised
Multilingual Sentence Boundary Detection" (2006), with fixed word lists in place of corpus statistics.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

from .sentence_words import INNER, MONTHS, OPENERS, TRAILING

_CLOSERS = r"[\"'”’»›\)\]\}」』】）]*"
_NOTES = r"(?:\[[^\[\]\s]{1,12}(?: [^\[\]\s]{1,12})?\])*"
_STOP = re.compile(
    rf"(?:(?<![.!?…‽؟।॥])[.!?…‽؟।॥]+{_CLOSERS}{_NOTES}(?=\s|$)"  # stops that a blank must follow
    rf"|(?<![.!?])[.!?]+[\"”]?(?:\[\d{{1,3}}\])+(?=\s|$|[A-ZÀ-Þ])"  # a reference mark glued to the stop
    rf"|[。！？｡]+{_CLOSERS})"  # stops that need none
)
_PARAGRAPH_BREAK = re.compile(r"\n[^\S\n]*\n\s*|[\x0b\x0c\u2028\u2029]\s*")
_LIST_ITEM = re.compile(r"[^\S\n]*(?:[-*+•‣▪◦·●○■–—]|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,4})[.)])\s+\S")
_LAST_WORD = re.compile(r"[^\s\"'“”‘’«»()\[\]{}<>/—–]+$")
_NEXT_WORD = re.compile(r"[\"'“”‘’«»„‚(\[{¿¡*_\s]*([^\W_]+(?:['’][^\W\d_]+)?)?")
_SPACED = re.compile(r"(?<![^\W\d_])[^\W\d_](?:\.\s[^\W\d_]){1,3}$")
_BRACKETED = re.compile(r"\([^()\n]{0,300}\)|\[[^\[\]\n]{0,300}\]")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]\.")
_FORMULA = re.compile(r"(?<![^\W_])(?:[A-Z][a-z]?\d*)+\)?$")
_LINE_WIDTH = 40
_CELL = re.compile(r"([^:;|]{1,80}): \S")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """The sentences of ``text`` as spans [start, end), in order.

    Spans begin and end at characters that are not white space; every such character lies in exactly one span.
    Paragraph breaks, list items and lines broken on purpose are borders too; a row of a table is one span.
    """
    spans: list[tuple[int, int]] = []
    for start, end in _segments(text):
        borders = [(start, end)] if _is_record(text[start:end]) else _split(text, start, end)
        for left, right in borders:
            left, right = _trim(text, left, right)
            if left < right:
                spans.append((left, right))
    return spans


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())


def _segments(text: str) -> Iterator[tuple[int, int]]:
    """Stretches of ``text`` that no sentence crosses."""
    start = 0
    for match in _PARAGRAPH_BREAK.finditer(text):
        yield from _lines(text, start, match.start())
        start = match.end()
    yield from _lines(text, start, len(text))


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """One paragraph, cut at the line breaks its writer put there on purpose.

    In wrapped prose a line ends where the next word no longer fitted. A line into which that word would have fitted
    was ended on purpose: a heading, a verse, a table row.
    """
    breaks = list(_find_all(text, "\n", start, end))
    if not breaks:
        yield start, end
        return
    lines = list(zip([start, *(i + 1 for i in breaks)], [*breaks, end], strict=True))
    width = max(right - left for left, right in lines)
    begin = start
    for (left, right), (next_left, next_right) in pairwise(lines):
        if _ends_on_purpose(text[left:right], text[next_left:next_right], width):
            yield begin, right
            begin = next_left
    yield begin, end


def _find_all(text: str, needle: str, start: int, end: int) -> Iterator[int]:
    position = text.find(needle, start, end)
    while position >= 0:
        yield position
        position = text.find(needle, position + 1, end)


def _ends_on_purpose(line: str, following: str, width: int) -> bool:
    if _LIST_ITEM.match(following):
        return True
    head, tail = following.strip(), line.strip()
    if not head or not tail or _same_table(tail, head):
        return True
    if head[0].islower() or tail[-1] in ",;-–—(":
        return False
    if head[0].isdigit() and _FORMULA.search(tail):  # a lowered digit that was copied as a line: H, 2O
        return False
    return width < _LINE_WIDTH or len(line.rstrip()) + 1 + len(head.split(None, 1)[0]) < 0.9 * width


def _same_table(line: str, following: str) -> bool:
    """Whether one is a row as the loaders write it, "column: value; column: value", or both may be rows of less."""
    if _is_record(line) or _is_record(following):
        return True
    columns = _columns(line) & _columns(following)
    return bool(columns) or (" | " in line and " | " in following)


def _columns(line: str) -> set[str]:
    if " | " in line:
        return {cell.strip() for cell in line.split(" | ")}
    return {cell[1] for part in line.split("; ") if (cell := _CELL.match(part))}


def _is_record(line: str) -> bool:
    """Two columns or more, each with a name that holds no sentence's end."""
    if "\n" in line or "; " not in line:
        return False
    cells = [_CELL.match(part) for part in line.strip().split("; ")]
    return all(cell and not _STOP.search(cell[1]) for cell in cells)


def _split(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut one segment at the stops that end a sentence."""
    brackets: list[tuple[int, int]] | None = None
    begin = start
    for match in _STOP.finditer(text, start, end):
        if not _is_border(text, begin, match, end):
            continue
        if brackets is None:
            brackets = [found.span() for found in _BRACKETED.finditer(text, start, end)]
        if _inside(brackets, match.end()):
            continue
        yield begin, match.end()
        begin = match.end()
    yield begin, end


def _inside(brackets: list[tuple[int, int]], position: int) -> bool:
    i = bisect_right(brackets, (position, -1)) - 1
    return i >= 0 and brackets[i][0] < position < brackets[i][1]


def _is_border(text: str, begin: int, match: re.Match[str], end: int) -> bool:
    stop = match.group()
    if stop[0] in "。！？｡":
        return True
    following = _NEXT_WORD.match(text, match.end(), end)
    behind = text[match.end() : end].lstrip()[:1]
    if not behind:
        return True
    word = (following.group(1) or "") if following else ""
    if behind in ",;:.!?…)]}»”" or _is_lower(word):
        return False
    if stop[0] != "." or stop.startswith(".."):
        return True
    before = _LAST_WORD.search(text, max(begin, match.start() - 40), match.start())
    if before is None:
        return True
    spaced = _SPACED.search(text, max(begin, match.start() - 40), match.start())
    if spaced and re.sub(r"\s", "", spaced.group()).lower() in INNER:  # "z. B."
        return False
    return _ends_here(
        before.group(), word, stop, at_start=before.start() == _first(text, begin), initial=_is_initial(text, following)
    )


def _first(text: str, begin: int) -> int:
    """Where the sentence that begins at ``begin`` has its first character."""
    while begin < len(text) and text[begin].isspace():
        begin += 1
    return begin


def _is_initial(text: str, following: re.Match[str] | None) -> bool:
    """The next word is one letter with a stop behind it: "A. A. Milne"."""
    return following is not None and text[following.end() : following.end() + 1] == "."


def _is_lower(word: str) -> bool:
    """Lower case all through; a brand such as "iPhone" may open a sentence."""
    return word[:1].islower() and not any(character.isupper() for character in word[1:3])


def _ends_here(before: str, word: str, stop: str, *, at_start: bool, initial: bool) -> bool:
    """Whether a full stop behind the word ``before`` ends a sentence, given the next ``word``."""
    key = before.lower().rstrip(".").rpartition("-")[2]
    opens = word.lower() in OPENERS and not (len(word) == 1 and initial)
    if before.isdigit():
        return _number_ends(before, word, at_start=at_start, opens=opens)
    if len(stop) > 1 and not stop[1:].isspace():  # closing quote or bracket, reference mark: the stop was meant
        return key not in INNER and not (_INITIALS.fullmatch(before + ".") and not opens)
    if key in INNER or (initial and len(before) == 1):
        return False
    if key in TRAILING or (_INITIALS.fullmatch(before + ".") and (before[0].isupper() or "." in before)):
        return opens and not (at_start and len(before) == 1)
    return True


def _number_ends(number: str, word: str, *, at_start: bool, opens: bool) -> bool:
    if at_start and len(number) <= 3:  # "1. First item"
        return False
    if len(number) > 2 or opens:
        return True
    return word.lower() not in MONTHS
