"""Joins the dense and the sparse ranking into one: convex combination or reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Ranking = Sequence[tuple[str, float]]
"""Pairs (id, score), best first, ids unique."""


def convex(
    dense: Ranking, sparse: Ranking, alpha: float, similarities: Mapping[str, float] | None = None
) -> list[tuple[str, float]]:
    """``alpha`` × dense + (1 − ``alpha``) × sparse over the union of both lists, best first, in [0, 1].

    Dense scores are cosine similarities, scaled by the least and the greatest among the candidates; sparse scores
    are divided by the greatest, because 0 is the least that BM25 can give (Bruch et al. 2022, arXiv:2210.11934).
    A candidate missing from the sparse list counts 0; one missing from the dense list counts its similarity from
    ``similarities`` where given, else the least of the list.
    """
    known = dict(dense)
    for identifier, _ in sparse:
        if identifier not in known and similarities and identifier in similarities:
            known[identifier] = similarities[identifier]
    least, greatest = min(known.values(), default=0.0), max(known.values(), default=0.0)
    span = greatest - least
    lexical = dict(sparse)
    strongest = max(lexical.values(), default=0.0)
    fused = {}
    for identifier in dict.fromkeys([*(i for i, _ in dense), *lexical]):
        semantic = (known.get(identifier, least) - least) / span if span > 0 else float(identifier in known)
        literal = max(lexical.get(identifier, 0.0), 0.0) / strongest if strongest > 0 else 0.0
        fused[identifier] = alpha * semantic + (1 - alpha) * literal
    return _best_first(fused)


def rrf(dense: Ranking, sparse: Ranking, k: int = 60) -> list[tuple[str, float]]:
    """Reciprocal rank fusion: the sum of 1 / (``k`` + rank) over both lists, ranks from 1 (Cormack et al. 2009)."""
    fused: dict[str, float] = {}
    for ranking in (dense, sparse):
        for rank, (identifier, _) in enumerate(ranking, start=1):
            fused[identifier] = fused.get(identifier, 0.0) + 1.0 / (k + rank)
    return _best_first(fused)


def _best_first(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def mix(fused: Sequence[float], reranked: Sequence[float], weight: float) -> list[float]:
    """``weight`` × reranked + (1 − ``weight``) × fused, each scaled to [0, 1] over these candidates, in their order."""
    return [
        weight * second + (1 - weight) * first for first, second in zip(_scaled(fused), _scaled(reranked), strict=True)
    ]


def _scaled(scores: Sequence[float]) -> list[float]:
    least, greatest = min(scores, default=0.0), max(scores, default=0.0)
    span = greatest - least
    return [(score - least) / span if span > 0 else 1.0 for score in scores]
