"""What a search finds, and how it ranks, after each change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from capibara.assistant import Assistant
from capibara.rag import Passage

from .observing import Changes, observes

QUERY = "What does lodging cost at Casa Garza?"
"""The passage on the price is nearest in meaning; the one on the boatman has more of the words."""


def found(assistant: Assistant) -> dict[str, Passage]:
    """Passages by the name of their file, best first."""
    return {Path(passage.document.source).stem: passage for passage in assistant.search(QUERY).passages}


def fused(assistant: Assistant) -> dict[str, float]:
    return {name: passage.scores.fused or 0.0 for name, passage in found(assistant).items()}


def final(assistant: Assistant) -> dict[str, float]:
    return {name: passage.scores.final for name, passage in found(assistant).items()}


def between(share: float, one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """``share`` of ``one`` and the rest of ``other``."""
    return {name: share * one[name] + (1 - share) * other[name] for name in one}


def ranks(passages: dict[str, Passage], score: Callable[[Passage], float | None]) -> dict[str, int]:
    """From 1; a passage without a score has none."""
    scores = {name: value for name, passage in passages.items() if (value := score(passage)) is not None}
    return {name: rank for rank, name in enumerate(sorted(scores, key=lambda name: -scores[name]), start=1)}


def reciprocal_ranks(assistant: Assistant, k: int) -> dict[str, float]:
    """The fused scores that Cormack et al. 2009 give."""
    passages = found(assistant)
    lists = (ranks(passages, lambda one: one.scores.dense), ranks(passages, lambda one: one.scores.sparse))
    return {name: sum(1 / (k + of[name]) for of in lists if name in of) for name in passages}


@observes("rag.alpha", "rag.collections.<name>.alpha")
@pytest.mark.parametrize(
    ("key", "named"),
    [("rag.alpha", "rag.alpha"), ("rag.collections.<name>.alpha", "rag.collections.default.alpha")],
)
def test_the_fused_score_is_as_much_of_the_dense_one_as_is_set(
    assistant: Assistant, change: Changes, key: str, named: str
):
    half = fused(assistant)
    change(assistant, {named: 1.0})
    dense = fused(assistant)
    change(assistant, {named: 0.0})
    sparse = fused(assistant)
    change(assistant, {named: 0.2})
    assert dense["night"] == pytest.approx(1.0)
    assert sparse["boatman"] == pytest.approx(1.0)
    assert half == pytest.approx(between(0.5, dense, sparse))
    assert fused(assistant) == pytest.approx(between(0.2, dense, sparse))


@observes("rag.fusion")
def test_ranks_are_fused_instead_of_scores(assistant: Assistant, change: Changes):
    expected = reciprocal_ranks(assistant, 60)
    assert fused(assistant) != pytest.approx(expected)
    change(assistant, {"rag.fusion": "rrf"})
    assert fused(assistant) == pytest.approx(expected)


@observes("rag.rrf_k")
def test_the_rank_constant_is_that_of_the_formula(assistant: Assistant, change: Changes):
    change(assistant, {"rag.fusion": "rrf"})
    assert fused(assistant) == pytest.approx(reciprocal_ranks(assistant, 60))
    change(assistant, {"rag.rrf_k": 3})
    assert fused(assistant) == pytest.approx(reciprocal_ranks(assistant, 3))


@observes("rag.candidates")
def test_a_passage_beyond_the_candidates_of_an_index_has_no_score_of_it(assistant: Assistant, change: Changes):
    change(assistant, {"rag.top_k": 1, "rag.rerank_top": 1, "rag.alpha": 1.0})
    [passage] = found(assistant).values()
    assert passage.scores.sparse is not None
    change(assistant, {"rag.candidates": 1})
    [passage] = found(assistant).values()
    assert passage.scores.sparse is None


@observes("rag.top_k")
def test_as_many_passages_are_found_as_are_set(assistant: Assistant, change: Changes):
    before = list(found(assistant))
    change(assistant, {"rag.top_k": 2})
    assert list(found(assistant)) == before[:2]
    assert len(before) > 2


@observes("rag.reranker")
def test_without_a_reranker_passages_stay_in_fused_order(assistant: Assistant, change: Changes):
    reranked = found(assistant)
    change(assistant, {"rag.reranker": "none"})
    plain = found(assistant)
    assert None not in [passage.scores.reranked for passage in reranked.values()]
    assert {passage.scores.reranked for passage in plain.values()} == {None}
    assert (next(iter(reranked)), next(iter(plain))) == ("night", "boatman")


@observes("rag.rerank_top")
def test_no_more_passages_are_reranked_than_are_set(assistant: Assistant, change: Changes):
    def reranked() -> int:
        return sum(passage.scores.reranked is not None for passage in found(assistant).values())

    assert reranked() > 2
    change(assistant, {"rag.rerank_top": 2})
    assert reranked() == 2


@observes("rag.rerank_mix", "rag.collections.<name>.rerank_mix")
@pytest.mark.parametrize(
    ("key", "named"),
    [("rag.rerank_mix", "rag.rerank_mix"), ("rag.collections.<name>.rerank_mix", "rag.collections.default.rerank_mix")],
)
def test_the_final_score_is_as_much_of_the_rerankers_as_is_set(
    assistant: Assistant, change: Changes, key: str, named: str
):
    half = final(assistant)
    change(assistant, {named: 1.0})
    alone = final(assistant)
    change(assistant, {named: 0.0})
    plain = final(assistant)
    change(assistant, {named: 0.2})
    assert plain == fused(assistant)
    least, most = min(plain.values()), max(plain.values())
    scaled = {name: (score - least) / (most - least) for name, score in plain.items()}
    assert half == pytest.approx(between(0.5, alone, scaled))
    assert final(assistant) == pytest.approx(between(0.2, alone, scaled))
