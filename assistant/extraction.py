"""Chooses among the words that the extractive reader points at in each passage."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.schema import Settings
from ..rag.extractive_reader import AnswerSpan, ExtractiveReader
from ..rag.parts import SearchParts
from ..rag.sentences import sentence_spans
from ..rag.values import Passage
from .grounding import Grounded

_PASSAGE_WEIGHT = 8.0
"""How much a passage's own score, in [0, 1], adds to its span's; docs/evaluation.md holds the comparison."""


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

    A passage answers where its span's score is at least ``abstain_bias``: 0 where answering is as likely as not. Among
    those that do, the passage's own place in the search counts too.
    """
    found = [(passage, span) for passage, span in zip(passages, spans, strict=True) if span is not None]
    answering = [one for one in found if one[1].score >= abstain_bias]
    if not answering:
        return None
    return _grounded(*max(answering, key=lambda one: one[1].score + _PASSAGE_WEIGHT * one[0].scores.final))


def _grounded(passage: Passage, span: AnswerSpan) -> Grounded:
    text, offset = passage.chunk.text, passage.chunk.start
    held = [(start, end) for start, end in sentence_spans(text) if start < span.end and span.start < end]
    start, end = (held[0][0], held[-1][1]) if held else (span.start, span.end)
    phrase = " ".join(text[span.start : span.end].split()).rstrip(".,;: ")  # what ends a clause is not part of it
    return Grounded(phrase, passage, offset + start, offset + end, text[start:end], moved=False)
