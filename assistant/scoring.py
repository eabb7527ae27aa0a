"""Scores of retrieval and of answers: recall, reciprocal rank, containment, token F1.

Answers are normalised as in the official SQuAD evaluation (Rajpurkar et al. 2016, arXiv:1606.05250): lower case,
no punctuation, no English articles, single blanks.
"""

from __future__ import annotations

import re
import statistics
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_MARKERS = re.compile(r"\s*\[\d+\]")
_PUNCTUATION = str.maketrans("", "", string.punctuation + "“”‘’«»¿¡…")


def normalised(text: str) -> str:
    """``text`` in the form in which answers are compared."""
    return " ".join(_ARTICLES.sub(" ", text.casefold().translate(_PUNCTUATION)).split())


def without_markers(answer: str) -> str:
    """``answer`` without the numbers of its citations."""
    return _MARKERS.sub("", answer)


def contains(answer: str, references: Sequence[str]) -> bool:
    """True when one of ``references`` stands in ``answer`` as whole words."""
    return holds(normalised(answer), references)


def holds(normal: str, references: Sequence[str]) -> bool:
    """`contains` for a text that is `normalised` already."""
    said = f" {normal} "
    return any(f" {normalised(reference)} " in said for reference in references if normalised(reference))


def exact_match(answer: str, references: Sequence[str]) -> bool:
    """True when ``answer`` is one of ``references``, both `normalised`."""
    return normalised(answer) in {normalised(reference) for reference in references}


def token_f1(answer: str, references: Sequence[str]) -> float:
    """The best token F1 of ``answer`` against ``references``; 0 without references."""
    return max((_f1(normalised(answer).split(), normalised(one).split()) for one in references), default=0.0)


def _f1(said: Sequence[str], meant: Sequence[str]) -> float:
    shared = sum((Counter(said) & Counter(meant)).values())
    return 2 * shared / (len(said) + len(meant)) if shared else 0.0


def recall_at(ranks: Sequence[int | None], k: int) -> float:
    """Share of questions whose passage has a rank (from 1) of at most ``k``."""
    return sum(rank is not None and rank <= k for rank in ranks) / len(ranks) if ranks else 0.0


def mean_reciprocal_rank(ranks: Sequence[int | None]) -> float:
    """Mean of 1 / rank, 0 where the passage was not found."""
    return sum(1 / rank for rank in ranks if rank is not None) / len(ranks) if ranks else 0.0


def percentile(values: Sequence[float], percent: int) -> float:
    """The ``percent``-th percentile, 1 to 99, interpolated; 0 without values."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
