"""Decides whether a sentence says what a claim says: the check behind every citation.

A claim is supported when all its numbers and most of its content words (stemmed, stop words dropped) stand
in the evidence. Words are a crude measure of meaning, but an exact one: what passes can be pointed at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..rag.analysis import analyze

# A number with its inner separators (1,250.5 or 12:30) and a directly attached unit sign.
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")


@dataclass(frozen=True, slots=True)
class Support:
    """How well an evidence text supports a claim: ``share`` of its content words, and whether all numbers agree."""

    share: float
    numbers_agree: bool
    words: int

    def holds(self, least_share: float) -> bool:
        """True when the claim says something, its numbers agree and ``share`` reaches ``least_share``."""
        return self.words > 0 and self.numbers_agree and self.share >= least_share


def numbers(text: str) -> set[str]:
    """The numbers of ``text``, thousands separators dropped."""
    return {re.sub(r"(?<=\d),(?=\d{3}\b)", "", match) for match in _NUMBER.findall(text)}


def support(claim: str, evidence: str, language: str) -> Support:
    """Compare ``claim`` with ``evidence``, both in ``language`` (ISO 639-1, for the stemmer)."""
    claimed = set(analyze(claim, language))
    given = set(analyze(evidence, language))
    share = len(claimed & given) / len(claimed) if claimed else 0.0
    return Support(share, numbers(claim) <= numbers(evidence), len(claimed))
