"""Fusion orders the union of two rankings as its formulas say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capibara.rag.fusion import convex, mix, rrf

DENSE = [("a", 0.8), ("b", 0.6), ("c", 0.4)]
SPARSE = [("c", 10.0), ("d", 5.0)]
rankings = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.floats(0.01, 50), max_size=8).map(
    lambda scores: sorted(scores.items(), key=lambda pair: -pair[1])
)


def test_convex_adds_the_scaled_scores() -> None:
    fused = convex(DENSE, SPARSE, 0.6)
    assert dict(fused) == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.4, "d": 0.2})
    assert [identifier for identifier, _ in fused] == list("acbd")


def test_a_known_similarity_replaces_the_floor_of_a_missing_candidate() -> None:
    fused = dict(convex(DENSE, SPARSE, 0.5, {"d": 0.7, "a": 0.1, "z": 0.9}))
    assert fused["d"] == pytest.approx(0.25 + 0.5 * 0.75)
    assert fused["a"] == pytest.approx(0.5)
    assert "z" not in fused


@pytest.mark.parametrize(("alpha", "order"), [(1.0, "abcd"), (0.0, "cdab")])
def test_the_ends_of_alpha_are_the_parts(alpha: float, order: str) -> None:
    assert [identifier for identifier, _ in convex(DENSE, SPARSE, alpha)] == list(order)


@pytest.mark.parametrize(
    ("dense", "sparse", "expected"),
    [([], [], []), (DENSE, [], ["a", "b", "c"]), ([], SPARSE, ["c", "d"]), ([("a", 0.3)], [("a", 1.0)], ["a"])],
)
def test_empty_lists_leave_the_other_in_its_order(dense: list, sparse: list, expected: list[str]) -> None:
    assert [identifier for identifier, _ in convex(dense, sparse, 0.5)] == expected
    assert [identifier for identifier, _ in rrf(dense, sparse)] == expected


def test_rrf_adds_reciprocal_ranks() -> None:
    assert dict(rrf(DENSE, SPARSE, 60)) == pytest.approx({"a": 1 / 61, "b": 1 / 62, "c": 1 / 63 + 1 / 61, "d": 1 / 62})
    assert rrf(DENSE, SPARSE, 60)[0][0] == "c"


@given(rankings, rankings, st.floats(0, 1))
def test_convex_keeps_the_union_once_in_unit_range_best_first(dense: list, sparse: list, alpha: float) -> None:
    fused = convex(dense, sparse, alpha)
    scores = [score for _, score in fused]
    assert sorted(identifier for identifier, _ in fused) == sorted(dict(dense) | dict(sparse))
    assert scores == sorted(scores, reverse=True)
    assert all(-1e-9 <= score <= 1 + 1e-9 for score in scores)


@pytest.mark.parametrize(
    ("weight", "expected"), [(0.0, [1.0, 0.5, 0.0]), (1.0, [0.0, 1.0, 0.5]), (0.5, [0.5, 0.75, 0.25])]
)
def test_mix_weighs_both_after_scaling(weight: float, expected: list[float]) -> None:
    assert mix([0.9, 0.6, 0.3], [-4.0, 4.0, 0.0], weight) == pytest.approx(expected)


@pytest.mark.parametrize(("fused", "reranked"), [([], []), ([0.4], [7.0]), ([0.4, 0.4], [7.0, 7.0])])
def test_mix_of_none_one_or_equal_candidates(fused: list[float], reranked: list[float]) -> None:
    assert mix(fused, reranked, 0.7) == pytest.approx([1.0] * len(fused))
