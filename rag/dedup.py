"""Semantic deduplication at ingestion: which kept chunk, if any, a new chunk is a duplicate of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from .duplicates import is_self_contained, say_the_same
from .protocols import DenseIndex
from .store import Candidate, Store
from .values import Chunk

EXACT_UP_TO = 16_384
"""Kept vectors of a collection that are compared one by one; beyond, the dense index finds the neighbours."""

_NEIGHBOURS = 16


@dataclass(frozen=True, slots=True)
class Fresh:
    """A new chunk: the row it will be, its vector float32 [D], and the staged version of its document, if begun."""

    number: int
    chunk: Chunk
    vector: np.ndarray
    version: int | None


class Deduplicator:
    """Finds duplicates within one collection during one ingest run, among stored chunks and new ones.

    New chunks must be given in the order in which their documents will be published. Up to `EXACT_UP_TO` vectors all
    are compared; beyond, stored ones are looked up in the dense index and the newest `EXACT_UP_TO` / 2 compared, which
    may miss near-duplicates (never equal texts) within one document of more chunks than that.
    """

    def __init__(self, store: Store, dense: DenseIndex, collection: str, threshold: float) -> None:
        self._store = store
        self._dense = dense
        self._collection = collection
        self._threshold = threshold
        self._in_index = store.indexed_count(collection) > EXACT_UP_TO
        rows, vectors = store.kept_vectors(collection, 0 if self._in_index else EXACT_UP_TO)
        self._numbers = np.array(rows, dtype=np.int64)
        self._vectors = vectors

    def owners(self, items: Sequence[Fresh]) -> list[int | None]:
        """For each new chunk the row of the kept chunk it repeats, or None if it is to be kept itself."""
        same = self._store.same_text(self._collection, [item.chunk.text for item in items])
        alike = self._stored_neighbours(items)
        among = self._vectors_of(items) @ self._vectors_of(items).T
        owners: list[int | None] = []
        kept: list[int] = []
        first: dict[str, list[int]] = {}
        for i, item in enumerate(items):
            owner = self._stored_owner(item, [*same.get(item.chunk.text, ()), *alike[i]])
            if owner is None:
                near = sorted((j for j in kept if among[i, j] >= self._threshold), key=lambda j: -among[i, j])
                owner = next(
                    (items[j].number for j in (*first.get(item.chunk.text, ()), *near[:_NEIGHBOURS])
                     if _repeats(item.chunk, items[j].chunk.text, items[j].chunk.context)),
                    None,
                )  # fmt: skip
            if owner is None:
                kept.append(i)
                first.setdefault(item.chunk.text, []).append(i)
            owners.append(owner)
        self._remember([items[i] for i in kept])
        return owners

    def _stored_owner(self, item: Fresh, candidates: Sequence[Candidate]) -> int | None:
        for candidate in candidates:
            replaced = candidate.document_id == item.chunk.document_id and candidate.version != item.version
            if not replaced and _repeats(item.chunk, candidate.text, candidate.context):
                return candidate.number
        return None

    def _stored_neighbours(self, items: Sequence[Fresh]) -> list[list[Candidate]]:
        """For each new chunk the stored ones at least as similar as the threshold, most similar first."""
        vectors = self._vectors_of(items)
        numbers: list[list[int]] = [[] for _ in items]
        if len(self._numbers):
            similarity = vectors @ self._vectors.T
            for i in np.flatnonzero((similarity >= self._threshold).any(axis=1)):
                close = np.flatnonzero(similarity[i] >= self._threshold)
                best = close[np.argsort(-similarity[i, close], kind="stable")][:_NEIGHBOURS]
                numbers[i] = [int(n) for n in self._numbers[best]]
        ids: list[list[str]] = [[] for _ in items]
        if self._in_index:
            for i, item in enumerate(items):
                found = self._dense.query(self._collection, item.vector, _NEIGHBOURS)
                ids[i] = [chunk_id for chunk_id, score in found if score >= self._threshold]
        by_number = {c.number: c for c in self._load(numbers=[n for found in numbers for n in found])}
        by_id = {c.chunk_id: c for c in self._load(ids=[n for found in ids for n in found])}
        return [
            [by_number[n] for n in numbers[i] if n in by_number] + [by_id[n] for n in ids[i] if n in by_id]
            for i in range(len(items))
        ]

    def _load(self, *, numbers: Collection[int] = (), ids: Collection[str] = ()) -> list[Candidate]:
        return self._store.candidates(self._collection, numbers=sorted(set(numbers)), ids=sorted(set(ids)))

    def _remember(self, kept: Sequence[Fresh]) -> None:
        if not kept:
            return
        if len(self._numbers) + len(kept) > EXACT_UP_TO:
            self._in_index = True
            self._numbers, self._vectors = self._numbers[-EXACT_UP_TO // 2 :], self._vectors[-EXACT_UP_TO // 2 :]
        vectors = self._vectors_of(kept)
        self._numbers = np.concatenate([self._numbers, [item.number for item in kept]])
        self._vectors = np.concatenate([self._vectors, vectors]) if self._vectors.size else vectors

    def _vectors_of(self, items: Sequence[Fresh]) -> np.ndarray:
        return np.stack([item.vector for item in items])


def _repeats(chunk: Chunk, text: str, context: str) -> bool:
    """Whether ``chunk`` says what ``text`` says; a short text says something else under another heading."""
    if chunk.context != context and not is_self_contained(chunk.text):
        return False
    return chunk.text == text or say_the_same(chunk.text, text)
