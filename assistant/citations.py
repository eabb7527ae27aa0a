"""Checks the markers of a streamed answer against the passages they name.

The model writes ``[2]`` after what it took from passage 2. A marker stays when the words before it stand in
that passage (see `support`); otherwise it is taken out and counted. Nothing is ever put in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..rag.sentences import sentence_spans
from ..rag.values import Chunk, Passage
from .support import support
from .values import Citation

LEAST_SHARE = 0.6
"""Share of a claim's content words that its passage must hold."""

_MARKERS = re.compile(r"\s*\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
# What may still become a marker when more text arrives; bounded, so that a stray bracket is not held back.
_MARKER_BEGUN = re.compile(r"\s*\[[\d\s,]{0,12}$|\s+$")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)\]]*\s+|\n+")


def cite(marker: int, passage: Passage, start: int, end: int, quote: str) -> Citation:
    """A citation of ``quote``, which stands at ``start``:``end`` of the passage's document."""
    document, chunk = passage.document, passage.chunk
    return Citation(marker, document.source, document.id, document.title, chunk.page, start, end, quote)


def best_sentence(claim: str, chunk: Chunk, language: str) -> tuple[int, int]:
    """The span, within the document, of the sentence of ``chunk`` that shares most of the claim's words."""
    spans = sentence_spans(chunk.text) or [(0, len(chunk.text))]
    start, end = max(spans, key=lambda span: support(claim, chunk.text[span[0] : span[1]], language).share)
    return chunk.start + start, chunk.start + end


class MarkerFilter:
    """Passes streamed text on, taking out the markers that their passage does not support.

    Feed pieces to `push`, then call `finish`; ``citations`` and ``removed`` are complete after that. One
    filter serves one answer.
    """

    def __init__(self, passages: Sequence[Passage], language: str = "en") -> None:
        self._passages = passages
        self._language = language
        self._held = ""
        self._claim = ""
        self.citations: list[Citation] = []
        self.removed = 0

    def push(self, piece: str) -> str:
        """Take in ``piece`` and return what may be shown now."""
        self._held += piece
        begun = _MARKER_BEGUN.search(self._held)
        ready, self._held = (self._held[: begun.start()], begun.group()) if begun else (self._held, "")
        return "".join(self._checked(ready))

    def finish(self) -> str:
        """Return what was still held back."""
        rest, self._held = self._held, ""
        return "".join(self._checked(rest))

    def _checked(self, text: str) -> Iterator[str]:
        position = 0
        for match in _MARKERS.finditer(text):
            yield self._plain(text[position : match.start()])
            kept = [number for number in map(int, match.group(1).split(",")) if self._supported(number)]
            yield "".join(f" [{number}]" for number in kept)
            position = match.end()
        yield self._plain(text[position:])

    def _plain(self, text: str) -> str:
        """Remember the last sentence begun: it is the claim that a following marker backs."""
        self._claim += text
        ends = [match.end() for match in _SENTENCE_END.finditer(self._claim)]
        if ends and self._claim[ends[-1] :].strip():
            self._claim = self._claim[ends[-1] :]
        return text

    def _supported(self, number: int) -> bool:
        if 1 <= number <= len(self._passages):
            passage = self._passages[number - 1]
            language = passage.document.language or self._language
            if support(self._claim, passage.chunk.text, language).holds(LEAST_SHARE):
                self._add(number, passage, language)
                return True
        self.removed += 1
        return False

    def _add(self, number: int, passage: Passage, language: str) -> None:
        start, end = best_sentence(self._claim, passage.chunk, language)
        offset = passage.chunk.start
        citation = cite(number, passage, start, end, passage.chunk.text[start - offset : end - offset])
        if citation not in self.citations:
            self.citations.append(citation)
