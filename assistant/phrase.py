"""Keeps the model's phrase only when it is a part of the quoted sentence and nothing else there could be meant.

A small model turns a right quote into a wrong statement easily, with the very words of the quote: of names and reasons
it picks every second one wrongly (docs/evaluation.md). So its phrase must be a run of the sentence's own content words,
shorter than the sentence, and hold all the numbers of the sentence that the question does not.
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
    if len(text.split()) > max_words or len(said) >= len(given):
        return None
    new = numbers(evidence.text) - numbers(question)
    runs = (given[start : start + len(said)] for start in range(len(given) - len(said) + 1))
    return text if new and new == numbers(text) - numbers(question) and said in runs else None


def _words(text: str, language: str) -> list[str]:
    """The stems of ``text`` in order, without the codes that stand behind them."""
    return [term for term in analyze(text, language) if term.isalnum()]
