"""Keeps the model's phrase only when a quoted sentence says the same.

A small model turns a right quote into a wrong statement easily, so its phrase must say something the question does
not, say it with the words of one quoted sentence, and repeat no number that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..rag.analysis import analyze
from .evidence import Evidence
from .support import numbers


def checked_phrase(
    phrase: str, question: str, evidence: Sequence[Evidence], language: str | None, max_words: int
) -> tuple[str, int] | None:
    """The phrase, on one line, and the number (from 1) of the sentence that supports it; None if none does."""
    text = " ".join(phrase.split())
    if not text or len(text.split()) > max_words:
        return None
    for marker, sentence in enumerate(evidence, start=1):
        spoken = sentence.passage.document.language or language or "en"
        asked, said, given = (set(analyze(part, spoken)) for part in (question, text, sentence.text))
        new = said - asked
        if new and new <= given and numbers(text) <= numbers(sentence.text) | numbers(question):
            return text, marker
    return None
