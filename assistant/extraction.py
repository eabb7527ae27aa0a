"""Chooses among the words that the extractive reader points at in each passage."""

from __future__ import annotations

from collections.abc import Sequence

from ..rag.extractive_reader import AnswerSpan, ExtractiveReader
from ..rag.sentences import sentence_spans
from ..rag.values import Passage
from .grounding import Grounded

_PASSAGE_WEIGHT = 4.0
"""How much a passage's own score, in [0, 1], adds to its span's; docs/evaluation.md holds the comparison."""


def extract(
    extractor: ExtractiveReader, question: str, passages: Sequence[Passage], least_score: float
) -> Grounded | None:
    """The best span of all passages, with the sentences that hold it; None where no passage seems to answer.

    A passage answers where its span's score is at least ``least_score``.

    Raises:
        RagError: the extractive reader cannot be loaded.
    """
    spans = extractor.read(question, [passage.chunk.text for passage in passages])
    found = [(passage, span) for passage, span in zip(passages, spans, strict=True) if span is not None]
    answering = [one for one in found if one[1].score >= least_score]
    if not answering:
        return None
    return _grounded(*max(answering, key=lambda one: one[1].score + _PASSAGE_WEIGHT * one[0].scores.final))


def _grounded(passage: Passage, span: AnswerSpan) -> Grounded:
    text, offset = passage.chunk.text, passage.chunk.start
    held = [(start, end) for start, end in sentence_spans(text) if start < span.end and span.start < end]
    start, end = (held[0][0], held[-1][1]) if held else (span.start, span.end)
    phrase = " ".join(text[span.start : span.end].split())
    return Grounded(phrase, passage, offset + start, offset + end, text[start:end], moved=False)
