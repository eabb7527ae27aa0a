"""Chooses among the words that the extractive reader points at in each passage."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..config.schema import Settings
from ..rag.extractive_reader import AnswerSpan, ExtractiveReader
from ..rag.parts import SearchParts
from ..rag.sentences import sentence_spans
from ..rag.values import Passage
from .grounding import Grounded

_PASSAGE_WEIGHT = 8.0
"""How much a passage's own score adds to its span's; docs/evaluation.md holds the comparison.

The score is in [0, 1] over the passages that were reranked, and below behind them. Without a reranker it is the fused
score: in [0, 1] too, but by reciprocal ranks some hundredths, and then the spans decide almost alone.
"""

_CLAUSE_END = re.compile(r"[,;:\s]+\Z")
_STOPS = ".。｡．！？।۔؟"
"""Marks that end a sentence and are part of no name, as "!" may be."""
_ABBREVIATION = re.compile(r"(?<!\w)(?:[^\W\d_]{1,3}\.){2,}\Z")
"""A last word whose stop is its own: "D.C.", "p.m."."""
_CLOSING = re.compile(r"(?:[^\w\s]|\[\w{1,12}\])*")
"""What may stand behind a sentence's stop: quotes, brackets, marks of references."""


def extractor_for(settings: Settings, parts: SearchParts) -> ExtractiveReader | None:
    """What reads the passages in the styles `short` and `sentence`; None: the language model.

    The extractive reader that the settings name; by itself only in the style `short` and in place of the bundled
    language model, where it was measured to be better (docs/evaluation.md).
    """
    style = settings.assistant.answer_style
    if style not in ("short", "sentence"):
        return None
    replaces = style == "short" and settings.model.path == "default" and settings.model.reader == "auto"
    return parts.extractor if replaces or settings.rag.extractor != "auto" else None


def answers_alone(settings: Settings, parts: SearchParts) -> bool:
    """Whether a question that stands alone is answered without a language model."""
    return settings.assistant.answer_style == "quote" or extractor_for(settings, parts) is not None


def choose(passages: Sequence[Passage], spans: Sequence[AnswerSpan | None], abstain_bias: float) -> Grounded | None:
    """The best of each passage's ``spans``, with the sentences that hold it; None where no passage seems to answer.

    A span of nothing but marks is none.

    A passage answers where its span's score is at least ``abstain_bias``: 0 where answering is as likely as not. Among
    those that do, the passage's own place in the search counts too.
    """
    found = [(passage, span) for passage, span in zip(passages, spans, strict=True) if span is not None]
    answering = [one for one in found if one[1].score >= abstain_bias]
    answering.sort(key=lambda one: one[1].score + _PASSAGE_WEIGHT * one[0].scores.final, reverse=True)
    return next((grounded for one in answering if (grounded := _grounded(*one))), None)


def _grounded(passage: Passage, span: AnswerSpan) -> Grounded | None:
    text, offset = passage.chunk.text, passage.chunk.start
    held = [(start, end) for start, end in sentence_spans(text) if start < span.end and span.start < end]
    start, end = (held[0][0], held[-1][1]) if held else (span.start, span.end)
    phrase = _phrase(text, span, end)
    return Grounded(phrase, passage, offset + start, offset + end, text[start:end], moved=False) if phrase else None


def _phrase(text: str, span: AnswerSpan, sentence_end: int) -> str:
    """The words of ``span`` without what ends a clause or, there alone, the sentence; empty where there are none."""
    words = _CLAUSE_END.sub("", text[span.start : span.end])
    behind = text[span.start + len(words) : sentence_end]
    if words.endswith(tuple(_STOPS)) and _CLOSING.fullmatch(behind) and not _ABBREVIATION.search(words):
        words = _CLAUSE_END.sub("", words.rstrip(_STOPS))
    return " ".join(words.split()) if words.strip(_STOPS + "!?…,;: ") else ""
