"""Takes batches of chunks, across document borders, through embedding and deduplication into the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .analysis import analyze
from .chunking import embedding_text
from .dedup import Deduplicator, Fresh
from .drafts import Draft
from .indexes import Indexes
from .protocols import Embedder
from .rows import Piece, StagedChunk, embedding_hash
from .store import Store
from .values import Chunk
from .versions import Versions


class BatchWriter:
    """Writes drafts in the order given; those that are finished become retrievable together."""

    def __init__(
        self, store: Store, indexes: Indexes, embedder: Embedder, collection: str, dedup_threshold: float | None
    ) -> None:
        """``dedup_threshold`` None keeps every chunk."""
        self._store = store
        self._versions = Versions(store.database)
        self._indexes = indexes
        self._embedder = embedder
        self._generation = store.generation
        self._duplicates = (
            Deduplicator(store, indexes.dense, collection, dedup_threshold) if dedup_threshold is not None else None
        )

    def write(self, drafts: Sequence[Draft]) -> None:
        """Embed, deduplicate, commit, and bring the indexes up to date.

        Raises:
            DiskFull: nothing of this batch is stored, or the store has it and the indexes follow at the next start.
        """
        taken = [(draft, *draft.take()) for draft in drafts]
        chunks = [(draft, chunk) for draft, found, _ in taken for chunk in found]
        staged = self._staged(chunks)
        with self._store.database.transaction():
            # All are staged before any is published: publishing drops an old version's embeddings, and the chunks
            # others are aliases of, unless something staged needs them.
            for draft, _, pieces in taken:
                self._stage(draft, staged.get(id(draft), []), pieces)
            for draft, _, _ in taken:
                if draft.finished and draft.version is not None:
                    self._versions.publish(draft.version, draft.document)
        self._indexes.apply()

    def _staged(self, chunks: Sequence[tuple[Draft, Chunk]]) -> dict[int, list[StagedChunk]]:
        """The rows of each draft, by its identity."""
        if not chunks:
            return {}
        texts = [embedding_text(chunk) for _, chunk in chunks]
        hashes = [embedding_hash(self._embedder.fingerprint, text) for text in texts]
        stored = self._store.embeddings(hashes)
        missing: dict[bytes, int] = {}  # the row that brings an embedding is the first to need it
        for row, key in enumerate(hashes):
            if key not in stored:
                missing.setdefault(key, row)
        made = self._embedder.embed([texts[row] for row in missing.values()])
        vectors = stored | dict(zip(missing, made, strict=True))
        first = self._versions.last_chunk_number() + 1
        owners = self._owners(chunks, [vectors[key] for key in hashes], first)
        rows: dict[int, list[StagedChunk]] = {}
        for i, (draft, chunk) in enumerate(chunks):
            new = missing.get(hashes[i]) == i
            draft.embedded += new
            draft.duplicates += owners[i] is not None
            terms = " ".join(analyze(texts[i], draft.language()))
            vector = vectors[hashes[i]] if new else None
            rows.setdefault(id(draft), []).append(
                StagedChunk(first + i, chunk, terms, hashes[i], vector, owners[i])
            )  # fmt: skip
        return rows

    def _owners(
        self, chunks: Sequence[tuple[Draft, Chunk]], vectors: Sequence[np.ndarray], first: int
    ) -> list[int | None]:
        if self._duplicates is None:
            return [None] * len(chunks)
        fresh = [
            Fresh(first + i, chunk, vectors[i], draft.version) for i, (draft, chunk) in enumerate(chunks)
        ]  # fmt: skip
        return self._duplicates.owners(fresh)

    def _stage(self, draft: Draft, rows: Sequence[StagedChunk], pieces: Sequence[Piece]) -> None:
        if draft.version is None:
            draft.version = self._versions.begin(draft.document, self._generation)
        self._versions.stage(draft.version, rows, pieces)
        draft.document = replace(draft.document, chunks=draft.document.chunks + len(rows))
