"""Picks the sentences of the retrieved passages that answer a question.

Sentences are scored by late interaction (MaxSim; ColBERT, Khattab & Zaharia 2020, arXiv:2004.12832) between the
question's token vectors and the sentence's own share of its passage's token vectors, so that a sentence is read
in its context without encoding it again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..rag.protocols import Embedder
from ..rag.sentences import sentence_spans
from ..rag.values import Passage, TokenVectors

# How much a passage's own score adds to its sentences' scores; docs/evaluation.md holds the comparison.
_PASSAGE_WEIGHT = 0.5
# Shorter sentences are headings, list numbers or leftovers of a cut.
_LEAST_TOKENS = 3
# A further sentence much less similar than the best is beside the point; see docs/evaluation.md.
_LEAST_RELATIVE = 0.75
_LONGEST_HEADING = 12
_STATES_SOMETHING = re.compile(r": |[.!?…;。！？][\"'”’»)\]]*$")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence that supports an answer; ``start`` and ``end`` are offsets in the document's text.

    ``similarity`` is the mean over the question's tokens of their best cosine in the sentence, in [-1, 1].
    """

    passage: Passage
    start: int
    end: int
    text: str
    similarity: float
    score: float


def rank_sentences(question: str, passages: Sequence[Passage], embedder: Embedder) -> list[Evidence]:
    """Every sentence of ``passages``, the best supporting one first; empty for no passages."""
    if not passages:
        return []
    query, *texts = embedder.embed_tokens([question, *(passage.chunk.text for passage in passages)])
    if not len(query.vectors):
        return []
    ranked = []
    for passage, tokens in zip(passages, texts, strict=True):
        ranked.extend(_score_passage(query, passage, tokens))
    return sorted(ranked, key=lambda evidence: -evidence.score)


def _score_passage(query: TokenVectors, passage: Passage, tokens: TokenVectors) -> list[Evidence]:
    similarity_QT = query.vectors @ tokens.vectors.T
    if not similarity_QT.size:
        return []
    passage_score = float(similarity_QT.max(axis=1).mean())
    found = []
    for start, end in sentence_spans(passage.chunk.text):
        if _is_heading(passage.chunk.text, start, end):
            continue
        inside_T = (tokens.offsets[:, 0] >= start) & (tokens.offsets[:, 1] <= end)
        if np.count_nonzero(inside_T) < _LEAST_TOKENS:
            continue
        similarity = float(similarity_QT[:, inside_T].max(axis=1).mean())
        offset = passage.chunk.start
        text = passage.chunk.text[start:end]
        score = similarity + _PASSAGE_WEIGHT * passage_score
        found.append(Evidence(passage, offset + start, offset + end, text, similarity, score))
    return found


def _is_heading(text: str, start: int, end: int) -> bool:
    """A short line without a stop, with a blank line behind it, names what follows and states nothing itself."""
    line = text[start:end]
    stands_alone = text[end : end + 2] == "\n\n" and "\n" not in line
    return stands_alone and len(line.split()) <= _LONGEST_HEADING and not _STATES_SOMETHING.search(line)


def select(ranked: Sequence[Evidence], count: int, max_words: int) -> list[Evidence]:
    """The ``count`` best sentences that together stay within ``max_words``, none said twice.

    The best sentence always stands; when it alone is longer, its beginning is kept.
    """
    chosen: list[Evidence] = []
    words = 0
    for evidence in ranked:
        length = len(evidence.text.split()) + 1  # its marker is read as a word
        if len(chosen) == count:
            break
        if any(_same_words(evidence.text, other.text) for other in chosen):
            continue
        if chosen and evidence.similarity < _LEAST_RELATIVE * chosen[0].similarity:
            continue
        if not chosen and length > max_words:
            return [_shortened(evidence, max_words - 1)]
        if words + length <= max_words:
            chosen.append(evidence)
            words += length
    return chosen


def _same_words(first: str, second: str) -> bool:
    return first.casefold().split() == second.casefold().split()


def _shortened(evidence: Evidence, max_words: int) -> Evidence:
    position = 0
    for word in evidence.text.split()[:max_words]:
        position = evidence.text.index(word, position) + len(word)
    return Evidence(
        evidence.passage,
        evidence.start,
        evidence.start + position,
        evidence.text[:position],
        evidence.similarity,
        evidence.score,
    )
