"""The values an assistant gives back: answers, citations, and the events of a streamed answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..rag.values import Passage

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Citation:
    """One checked reference: ``quote`` is exactly ``document_text[start:end]``.

    ``marker`` is the number that stands in the answer as ``[marker]``. ``document`` is the source as the user
    named it, ``page`` counts from 1 and is None where the format has no pages. ``start`` and ``end`` are
    Unicode code points in the document's extracted text.
    """

    marker: int
    document: str
    document_id: str
    title: str
    page: int | None
    start: int
    end: int
    quote: str


@dataclass(frozen=True, slots=True)
class AnswerUsage:
    """Tokens by the model's own tokenizer; ``passages_left_out`` did not fit the model's context."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    passages_used: int = 0
    passages_left_out: int = 0
    turns_left_out: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its checked citations.

    ``question`` is what was searched for: the user's question, condensed to a stand-alone one where it
    referred to earlier turns. ``abstained`` says that nothing retrieved supports an answer.
    ``removed_markers`` and ``removed_phrases`` count what the model wrote and its passages did not support.
    ``timings`` are seconds per step; ``degraded`` names parts that were missing.
    """

    text: str
    question: str
    citations: tuple[Citation, ...] = ()
    abstained: bool = False
    finish_reason: FinishReason = "stop"
    removed_markers: int = 0
    removed_phrases: int = 0
    usage: AnswerUsage = field(default_factory=AnswerUsage)
    timings: Mapping[str, float] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()
    conversation: str | None = None


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Event: the passages that the answer may draw from, best first."""

    question: str
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Event: the next piece of the answer's text; the pieces joined are ``Answer.text``."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerReady:
    """Event, the last one: the whole answer."""

    answer: Answer


AnswerEvent = Retrieved | TextDelta | AnswerReady
