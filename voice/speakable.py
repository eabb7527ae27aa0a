"""Cuts streamed text into sentences as they complete, and says how each is spoken and where it stands in the text.

A stop ends a sentence only once the character behind it is known: "$29." may go on as "$29.95". What stands before the
stop (abbreviation, initial, the number of a list item) or behind it (lower case) can say otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_CHARACTERS = 300
"""A sentence longer than this is cut at its last comma, or else between words, so that speech can begin."""

_MARKER = r"\[\d{1,3}\]"
_STOP = re.compile(
    rf"[.!?…]+[\"'”’»›)\]]*(?:\s?{_MARKER})*|[。！？｡]+[”’」』）]*|\n\s*\n|\n(?=\s*(?:[-*•–]|\d+[.)])\s)"
)
_AFTER = re.compile(r"\s*(\S+)")
_PART_OF_MARKER = re.compile(r"\[\d{0,3}$")
_OPENING = "\"'“‘«‹([{¿¡*_#„ "
_ABBREVIATIONS = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "mt",
        "rev",
        "gov",
        "sen",
        "gen",
        "col",
        "sgt",
        "capt",
        "cmdr",
        "jr",
        "vs",
        "cf",
        "e.g",
        "i.e",
        "eg",
        "ie",
        "approx",
        "ca",
        "fig",
        "figs",
        "vol",
        "pp",
        "ed",
        "no",
        "nos",
        "sr",
        "sra",
        "srta",
        "d",
        "dña",
        "lic",
        "ing",
        "ud",
        "uds",
        "pág",
        "págs",
        "núm",
        "núms",
        "tel",
        "aprox",
        "avda",
        "av",
        "art",
        "arts",
        "p.ej",
        "ej",
        "a.m",
        "p.m",
        "u.s",
        "u.k",
        "z.b",
        "d.h",
        "u.a",
        "bzw",
        "nr",
        "str",
        "abb",
        "mme",
        "mlle",
    ]
)
_LAST_WORD = re.compile(r"[^\s\"'“”‘’«»()\[\]]+$")
_REMOVED = re.compile(
    rf"\s?{_MARKER}(?=\W|$)|{_MARKER}|\*+|`+|~~|(?<!\w)_+(?=\S)|(?<=\S)_+(?!\w)|^[ \t]*(?:#{{1,6}}|[-•–>])[ \t]+"
    r"|\[(?=[^\[\]]+\]\([^()\s]+\))|\]\([^()\s]+\)|[|<>{}\\^]|\[\[|\]\]|[\x00-\x08\x0e-\x1f]",
    re.MULTILINE,
)
_SPOKEN = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Sentence:
    """``text`` as it is spoken: without citation markers and markup, words with single spaces between them.

    It stands at ``[start, end)`` of the streamed text; ``word_ends`` has, for each word, the position behind it there.
    """

    text: str
    start: int
    end: int
    word_ends: tuple[int, ...]

    @property
    def words(self) -> list[str]:
        return self.text.split()


class SpeakableSentences:
    """Takes the pieces of a text as they come and gives back the sentences that are complete."""

    def __init__(self) -> None:
        self._text = ""
        """What is not given out yet; it stands at ``_offset`` of the whole."""
        self._offset = 0

    def push(self, piece: str) -> list[Sentence]:
        """The sentences that ``piece`` completes."""
        self._text += piece
        return list(self._complete())

    def finish(self) -> list[Sentence]:
        """What is left, when the text has ended."""
        found = list(self._complete(ended=True))
        if (last := self._take(len(self._text))) is not None:
            found.append(last)
        return found

    def _complete(self, *, ended: bool = False) -> Iterator[Sentence]:
        while (border := self._border(ended)) is not None:
            if (sentence := self._take(border)) is not None:
                yield sentence

    def _border(self, ended: bool) -> int | None:
        """Where the first sentence of the text ends, if that is known."""
        for match in _STOP.finditer(self._text):
            if match.start() > MAX_CHARACTERS:
                break
            if not _SPOKEN.search(self._text, 0, match.start()):
                continue
            following = _AFTER.match(self._text, match.end())
            if following is None:
                # At the end of what has come: a marker is never followed by more of the same sentence.
                return match.end() if match.group().endswith("]") and not ended else None
            if not ended and _PART_OF_MARKER.search(self._text, following.start(1)):
                return None
            if _is_border(self._text, match, following.group(1)):
                return match.end()
        return self._cut() if len(self._text) > MAX_CHARACTERS else None

    def _cut(self) -> int:
        head = self._text[:MAX_CHARACTERS]
        for pattern in (r"[,;:—–]\s", r"\s"):
            places = [match.end() for match in re.finditer(pattern, head)]
            if places and places[-1] > MAX_CHARACTERS // 4:
                return places[-1]
        return MAX_CHARACTERS

    def _take(self, length: int) -> Sentence | None:
        """Cut ``length`` characters off the text; None where there is nothing in them to speak."""
        taken, self._text = self._text[:length], self._text[length:]
        start = self._offset
        self._offset += length
        return speakable(taken, start)


def speakable(text: str, offset: int = 0) -> Sentence | None:
    """``text``, which stands at ``offset`` of a longer one, as it is spoken; None where it holds no word."""
    kept = [True] * len(text)
    for match in _REMOVED.finditer(text):
        kept[match.start() : match.end()] = [False] * len(match.group())
    words: list[str] = []
    ends: list[int] = []
    open_word = False
    for position, character in enumerate(text):
        if not kept[position]:
            continue
        if character.isspace():
            open_word = False
        else:
            if not open_word:
                words.append("")
                ends.append(0)
            words[-1] += character
            ends[-1] = offset + position + 1
            open_word = True
    if not any(map(_SPOKEN.search, words)):
        return None
    return Sentence(" ".join(words), offset, offset + len(text), tuple(ends))


def _is_border(text: str, match: re.Match[str], following: str) -> bool:
    stop = match.group()
    if stop[0] in "。！？｡\n":
        return True
    if not text[match.end()].isspace():
        return False
    first = following.lstrip(_OPENING)[:1]
    if first.islower() or following[0] in ",;:.!?…)]}»”":
        return False
    if stop[0] != "." or stop.startswith(".."):
        return True
    before = _LAST_WORD.search(text, max(0, match.start() - 40), match.start())
    if before is None:
        return True
    word = before.group().lower()
    if word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha()):
        return False
    return not (word.isdigit() and len(word) <= 3 and not _SPOKEN.search(text, 0, before.start()))
