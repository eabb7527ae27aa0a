"""BM25 in memory by rank-bm25: the reference for scores, rebuilt after changes when next asked."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rank_bm25 import BM25Okapi

_LEAST_IDF = 1e-6
"""SQLite's floor too: a term in most passages says almost nothing, but never counts against one."""


class RankBm25Index:
    """A `SparseIndex` that lives in memory only. Thread-safe; the query after a change rebuilds its collection."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._terms: dict[str, dict[str, tuple[str, ...]]] = {}
        self._built: dict[str, tuple[BM25Okapi | None, list[str]]] = {}

    def upsert(self, collection: str, entries: Iterable[tuple[str, Sequence[str]]]) -> None:
        with self._lock:
            kept = self._terms.setdefault(collection, {})
            kept.update((identifier, tuple(terms)) for identifier, terms in entries)
            self._built.pop(collection, None)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        with self._lock:
            for identifier in ids:
                self._terms.get(collection, {}).pop(identifier, None)
            self._built.pop(collection, None)

    def query(self, collection: str, terms: Sequence[str], k: int) -> list[tuple[str, float]]:
        with self._lock:
            model, ids = self._model(collection)
        if model is None or not terms or k < 1:
            return []
        scores = model.get_scores(list(terms))
        best = sorted(np.flatnonzero(scores > 0).tolist(), key=lambda row: (-scores[row], ids[row]))[:k]
        return [(ids[row], float(scores[row])) for row in best]

    def ids(self, collection: str) -> set[str]:
        with self._lock:
            return set(self._terms.get(collection, {}))

    def collections(self) -> set[str]:
        with self._lock:
            return set(self._terms)

    def drop(self, collection: str) -> None:
        with self._lock:
            self._terms.pop(collection, None)
            self._built.pop(collection, None)

    def close(self) -> None:
        with self._lock:
            self._terms.clear()
            self._built.clear()

    def _model(self, collection: str) -> tuple[BM25Okapi | None, list[str]]:
        if collection not in self._built:
            entries = self._terms.get(collection, {})
            ids = list(entries)
            corpus = list(entries.values())
            self._built[collection] = (_okapi(corpus) if any(corpus) else None, ids)
        return self._built[collection]


def _okapi(corpus: Sequence[Sequence[str]]) -> BM25Okapi:
    """rank-bm25's Okapi; its floor for frequent terms, below 0 in collections of a few passages, lifted above 0."""
    from rank_bm25 import BM25Okapi

    model = BM25Okapi(corpus)
    for term, weight in model.idf.items():
        if weight < _LEAST_IDF:
            model.idf[term] = _LEAST_IDF
    return model
