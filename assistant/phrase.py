"""Keeps the model's phrase only when it is a part of the quoted sentence.

A small model turns a right quote into a wrong statement easily, with the very words of the quote. So its phrase must be
a run of the sentence's own content words, in their order, that says something the question does not and is shorter
than the sentence.
"""

from __future__ import annotations

from ..rag.analysis import analyze
from .evidence import Evidence
from .support import numbers


def checked_phrase(phrase: str, question: str, evidence: Evidence, language: str | None, max_words: int) -> str | None:
    """The phrase on one line, or None if the sentence does not hold it or it adds nothing."""
    text = " ".join(phrase.split())
    spoken = evidence.passage.document.language or language or "en"
    said, given = _words(text, spoken), _words(evidence.text, spoken)
    if len(text.split()) > max_words or not set(said) - set(analyze(question, spoken)) or len(said) >= len(given):
        return None
    runs = (given[start : start + len(said)] for start in range(len(given) - len(said) + 1))
    return text if numbers(text) <= numbers(evidence.text) and said in runs else None


def _words(text: str, language: str) -> list[str]:
    """The stems of ``text`` in order, without the codes that stand behind them."""
    return [term for term in analyze(text, language) if term.isalnum()]
