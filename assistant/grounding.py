"""Holds what the reader answered against the passages: only words that stand in one of them are shown as fact."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..rag.sentences import sentence_spans
from ..rag.values import Passage
from .evidence import Evidence
from .reading import Reading


@dataclass(frozen=True, slots=True)
class Grounded:
    """A phrase as its passage spells it, and the sentence that holds it; offsets in the document's text.

    ``moved``: the reader named another passage than this one.
    """

    phrase: str
    passage: Passage
    start: int
    end: int
    sentence: str
    moved: bool


def ground(reading: Reading, passages: Sequence[Passage], ranked: Sequence[Evidence]) -> Grounded | None:
    """Find the phrase in the passage that the reader names, else in the first other one that holds it; None: nowhere.

    ``passages`` are numbered from 1. Where a passage holds the phrase several times, the sentence counts that stands
    first in ``ranked``, the sentences in the order in which they support an answer.
    """
    named = passages[reading.number - 1 : reading.number] if reading.number else []
    for passage in [*named, *(one for one in passages if one not in named)]:
        places = list(_places(reading.phrase, passage))
        if places:
            order = {(one.passage.chunk.id, one.start): place for place, one in enumerate(ranked)}
            best = min(places, key=lambda place: order.get((passage.chunk.id, place[0]), len(order)))
            start, end, phrase = best
            offset = passage.chunk.start
            sentence = passage.chunk.text[start - offset : end - offset]
            return Grounded(phrase, passage, start, end, sentence, moved=passage not in named)
    return None


def _places(phrase: str, passage: Passage) -> Iterator[tuple[int, int, str]]:
    """Start and end of each sentence (two, where a phrase spans them) that holds the phrase, and its words there."""
    text, offset = passage.chunk.text, passage.chunk.start
    words = r"\s+".join(re.escape(word) for word in phrase.split())
    spans = sentence_spans(text) or [(0, len(text))]
    for match in re.finditer(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE) if words else ():
        held = [span for span in spans if span[0] < match.end() and match.start() < span[1]]
        if held:
            yield offset + held[0][0], offset + held[-1][1], " ".join(match.group().split())
