"""From a question to ranked passages: embed, look up in both indexes, fuse, rerank."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from ..config.schema import RagSettings
from .analysis import analyze_query
from .chunking import embedding_text
from .errors import IndexDamaged
from .fusion import Ranking, convex, mix, rrf
from .protocols import DenseIndex, Embedder, Reranker, SparseIndex
from .store import Store
from .values import Alias, Chunk, Document, Passage, SearchResult, StageScores

_Found = tuple[Chunk, Document, tuple[Alias, ...]]


class Retriever:
    """Searches one data folder. Holds no state of its own; thread-safe if its parts are."""

    def __init__(
        self,
        store: Store,
        dense: DenseIndex,
        sparse: SparseIndex,
        embedder: Embedder,
        reranker: Reranker | None,
        settings: RagSettings,
    ) -> None:
        self._store = store
        self._dense = dense
        self._sparse = sparse
        self._embedder = embedder
        self._reranker = reranker
        self._settings = settings

    def search(
        self, query: str, collection: str = "default", settings: RagSettings | None = None, top_k: int | None = None
    ) -> SearchResult:
        """The best passages for ``query``, with the scores of every stage and the seconds each took.

        The first ``rerank_top`` fused passages are reordered by ``rerank_mix`` × reranked + (1 − ``rerank_mix``) ×
        fused, both scaled to [0, 1]; passages beyond follow in fused order, with ``final`` = fused − 1. An index that
        cannot be read is left out and named in ``degraded``.
        """
        settings = settings or self._settings
        search = _Search(query, collection, settings, top_k or settings.top_k)
        if not query.strip():
            return SearchResult(query, ())
        with search.timed("embed"):
            vector = self._embedder.embed([query])[0]
        self._look_up(search, vector)
        with search.timed("fuse"):
            fused = self._fuse(search, vector)
        with search.timed("load"):
            wanted = max(search.top_k, settings.rerank_top)
            found = self._load([chunk_id for chunk_id, _ in fused], wanted)
        ranking = [(chunk_id, score) for chunk_id, score in fused if chunk_id in found]
        with search.timed("rerank"):
            passages = self._rerank(search, ranking, found)
        return SearchResult(query, tuple(passages[: search.top_k]), search.timings, tuple(search.degraded))

    def _look_up(self, search: _Search, vector: np.ndarray) -> None:
        candidates = max(search.settings.candidates, search.top_k, search.settings.rerank_top)
        with search.timed("dense"), search.may_lack("dense"):
            search.dense = self._dense.query(search.collection, vector, candidates)
        with search.timed("sparse"), search.may_lack("sparse"):
            terms = analyze_query(search.query, self._store.languages(search.collection))
            search.sparse = self._sparse.query(search.collection, terms, candidates)

    def _fuse(self, search: _Search, vector: np.ndarray) -> list[tuple[str, float]]:
        known = dict(search.dense)
        others = self._store.vectors([chunk_id for chunk_id, _ in search.sparse if chunk_id not in known])
        search.similarities = known | {chunk_id: float(other @ vector) for chunk_id, other in others.items()}
        if search.settings.fusion == "rrf":
            return rrf(search.dense, search.sparse, search.settings.rrf_k)
        return convex(search.dense, search.sparse, search.alpha, search.similarities)

    def _load(self, ids: Sequence[str], wanted: int) -> dict[str, _Found]:
        """The first ``wanted`` of ``ids`` that the store still has; an index may be behind it for a moment."""
        found: dict[str, _Found] = {}
        for start in range(0, len(ids), wanted):
            found |= self._store.passages(ids[start : start + wanted])
            if len(found) >= wanted:
                break
        return found

    def _rerank(self, search: _Search, ranking: Ranking, found: Mapping[str, _Found]) -> list[Passage]:
        head = ranking[: search.settings.rerank_top]
        if self._reranker is None or search.rerank_mix == 0.0 or not head:
            return [_passage(found[i], search.scores(i, score, None, score)) for i, score in ranking]
        reranked = self._reranker.score(search.query, [embedding_text(found[i][0]) for i, _ in head])
        final = mix([score for _, score in head], [float(score) for score in reranked], search.rerank_mix)
        passages = [
            _passage(found[i], search.scores(i, score, float(reranked[row]), final[row]))
            for row, (i, score) in enumerate(head)
        ]
        passages.sort(key=lambda passage: -passage.scores.final)
        rest = ranking[len(head) :]
        return passages + [_passage(found[i], search.scores(i, score, None, score - 1.0)) for i, score in rest]


class _Search:
    """What one search has found so far."""

    def __init__(self, query: str, collection: str, settings: RagSettings, top_k: int) -> None:
        self.query = query
        self.collection = collection
        self.settings = settings
        self.top_k = top_k
        own = settings.collections.get(collection)
        self.alpha = own.alpha if own and own.alpha is not None else settings.alpha
        self.rerank_mix = own.rerank_mix if own and own.rerank_mix is not None else settings.rerank_mix
        self.dense: Ranking = []
        self.sparse: Ranking = []
        self.similarities: Mapping[str, float] = {}
        self.timings: dict[str, float] = {}
        self.degraded: list[str] = []

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.timings[stage] = time.perf_counter() - began

    @contextmanager
    def may_lack(self, part: str) -> Iterator[None]:
        try:
            yield
        except IndexDamaged as error:
            self.degraded.append(f"{part}: {error}")

    def scores(self, chunk_id: str, fused: float, reranked: float | None, final: float) -> StageScores:
        return StageScores(self.similarities.get(chunk_id), dict(self.sparse).get(chunk_id), fused, reranked, final)


def _passage(found: _Found, scores: StageScores) -> Passage:
    chunk, document, aliases = found
    return Passage(chunk, document, scores, aliases)
