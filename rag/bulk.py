"""Searches a whole collection with many queries at once: for training and evaluation, not for serving.

Dense similarities are exact, and BM25 is one sparse matrix product (Robertson & Zaragoza 2009, "The Probabilistic
Relevance Framework"; k1, b and the floor of the inverse document frequency as in SQLite's FTS5), so that tens of
thousands of queries take minutes. Axes: Q queries, N chunks, V terms, D dimensions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..config.schema import RagSettings
from .analysis import analyze_query
from .fusion import convex, rrf
from .protocols import Embedder
from .store import Store

_K1, _B = 1.2, 0.75
_LEAST_IDF = 1e-6
_TOGETHER = 256


class BulkRetriever:
    """The fused ranking of one collection, as `Retriever` makes it before reranking; the collection stays in memory."""

    def __init__(self, store: Store, embedder: Embedder, settings: RagSettings, collection: str = "default") -> None:
        entries = [entry for page in store.all_entries(collection) for entry in page]
        entries.sort(key=lambda entry: entry.id)  # equal scores are ordered by id, as everywhere
        self._ids = [entry.id for entry in entries]
        self._vectors_ND = np.stack([entry.vector for entry in entries]) if entries else np.zeros((0, 1), np.float32)
        self._terms: dict[str, int] = {}
        self._weights_VN = self._weighted([entry.terms for entry in entries])
        self._languages = store.languages(collection)
        self._embedder, self._settings = embedder, settings

    def search(self, queries: Sequence[str], k: int) -> Iterator[list[str]]:
        """For every query, in order, the ids of at most ``k`` chunks, best first."""
        for begin in range(0, len(queries), _TOGETHER):
            together = queries[begin : begin + _TOGETHER]
            dense_QN = (
                self._embedder.embed(together) @ self._vectors_ND.T if self._ids else np.zeros((len(together), 0))
            )
            sparse_QN = self._counted(together).dot(self._weights_VN).toarray()
            for dense_N, sparse_N in zip(dense_QN, sparse_QN, strict=True):
                yield self._fused(dense_N, sparse_N)[:k]

    def _fused(self, dense_N: np.ndarray, sparse_N: np.ndarray) -> list[str]:
        depth = self._settings.candidates
        dense = [(self._ids[row], float(dense_N[row])) for row in _best(dense_N, depth)]
        found = [row for row in _best(sparse_N, depth) if sparse_N[row] > 0]
        sparse = [(self._ids[row], float(sparse_N[row])) for row in found]
        if self._settings.fusion == "rrf":
            fused = rrf(dense, sparse, self._settings.rrf_k)
        else:
            similarities = {self._ids[row]: float(dense_N[row]) for row in found}
            fused = convex(dense, sparse, self._settings.alpha, similarities)
        return [identifier for identifier, _ in fused]

    def _weighted(self, chunks: Sequence[Sequence[str]]) -> Any:
        """What each term adds to each chunk's score."""
        from scipy.sparse import csr_array

        lengths = np.array([len(terms) for terms in chunks], dtype=np.float32)
        mean = float(lengths.mean()) if len(lengths) else 1.0
        rows, columns, counts = [], [], []
        for column, terms in enumerate(chunks):
            for term, count in Counter(terms).items():
                rows.append(self._terms.setdefault(term, len(self._terms)))
                columns.append(column)
                counts.append(count)
        found = np.array(counts, dtype=np.float32)
        holding_V = np.bincount(rows, minlength=len(self._terms)) if rows else np.zeros(0)
        idf_V = np.maximum(np.log((len(chunks) - holding_V + 0.5) / (holding_V + 0.5)), _LEAST_IDF)
        damping = _K1 * (1 - _B + _B * lengths[columns] / max(mean, 1.0))
        scores = (idf_V[rows] * found * (_K1 + 1) / (found + damping)).astype(np.float32)
        return csr_array((scores, (rows, columns)), shape=(len(self._terms), len(chunks)))

    def _counted(self, queries: Sequence[str]) -> Any:
        """1 for every term that stands in a query."""
        from scipy.sparse import csr_array

        rows, columns = [], []
        for row, query in enumerate(queries):
            known = {self._terms[term] for term in analyze_query(query, self._languages) if term in self._terms}
            rows += [row] * len(known)
            columns += sorted(known)
        ones = np.ones(len(rows), dtype=np.float32)
        return csr_array((ones, (rows, columns)), shape=(len(queries), len(self._terms)))


def _best(scores_N: np.ndarray, k: int) -> np.ndarray:
    """The rows of the ``k`` greatest scores, greatest first."""
    rows = np.sort(np.argpartition(-scores_N, k)[:k]) if len(scores_N) > k else np.arange(len(scores_N))
    return rows[np.argsort(-scores_N[rows], kind="stable")]
