"""A sparse index in memory that is filled from the truth when a collection is first searched."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from .protocols import SparseIndex
from .store import Store


class DeferredSparseIndex:
    """A `SparseIndex` over one that keeps nothing on disk: opening costs nothing, the first search fills it."""

    def __init__(self, store: Store, inner: SparseIndex) -> None:
        self._store = store
        self._inner = inner
        self._filled: set[str] = set()
        self._lock = threading.RLock()

    def upsert(self, collection: str, entries: Iterable[tuple[str, Sequence[str]]]) -> None:
        with self._lock:
            if collection in self._filled:
                self._inner.upsert(collection, entries)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        with self._lock:
            if collection in self._filled:
                self._inner.delete(collection, ids)

    def query(self, collection: str, terms: Sequence[str], k: int) -> list[tuple[str, float]]:
        with self._lock:
            self._fill(collection)
            return self._inner.query(collection, terms, k)

    def ids(self, collection: str) -> set[str]:
        with self._lock:
            self._fill(collection)
            return self._inner.ids(collection)

    def collections(self) -> set[str]:
        with self._lock:
            for collection in self._store.collections():
                self._fill(collection)
            return self._inner.collections()

    def drop(self, collection: str) -> None:
        with self._lock:
            self._inner.drop(collection)
            self._filled.discard(collection)

    def close(self) -> None:
        self._inner.close()

    def _fill(self, collection: str) -> None:
        if collection in self._filled:
            return
        for entries in self._store.all_entries(collection):
            self._inner.upsert(collection, [(entry.id, entry.terms) for entry in entries])
        self._filled.add(collection)
