"""Takes batches of chunks, across document borders, through embedding and deduplication into the store."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, slots=True)
class Portion:
    """What one draft has in a batch. ``last`` says that the draft was finished with it: a draft may be by now, and
    still have more in the next batch."""

    draft: Draft
    chunks: list[Chunk]
    pieces: list[Piece]
    last: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Portions whose chunks are being embedded; ``keys`` and ``terms`` have one entry per chunk, in order.

    ``stored`` are the vectors that were known when it began: a document published meanwhile may drop them from the
    store. ``made`` brings those of ``missing``.
    """

    portions: list[Portion]
    keys: list[bytes]
    terms: list[str]
    stored: dict[bytes, np.ndarray]
    missing: list[bytes]
    made: Future[np.ndarray]

    def chunks(self) -> list[tuple[Draft, Chunk]]:
        return [(portion.draft, chunk) for portion in self.portions for chunk in portion.chunks]


class BatchWriter:
    """Writes drafts in the order given; those that are finished become retrievable together.

    Embedding goes on in a thread of its own, so that one batch can be cut and another stored meanwhile.
    """

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
        self._embedding = ThreadPoolExecutor(1, thread_name_prefix="ingest")

    def close(self) -> None:
        """Give up what is not yet being embedded, and wait for what is."""
        self._embedding.shutdown(cancel_futures=True)

    def begin(self, drafts: Sequence[Draft]) -> Batch:
        """Take what the drafts hold, and begin to embed it."""
        portions = [Portion(draft, *draft.take(), draft.finished) for draft in drafts]
        texts = [embedding_text(chunk) for portion in portions for chunk in portion.chunks]
        keys = [embedding_hash(self._embedder.fingerprint, text) for text in texts]
        stored = self._store.embeddings(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in stored}
        made: Future[np.ndarray] = Future()
        if missing:
            made = self._embedding.submit(self._embedder.embed, list(missing.values()))
        else:
            made.set_result(np.zeros((0, 0), dtype=np.float32))
        languages = [portion.draft.language() for portion in portions for _ in portion.chunks]
        terms = [" ".join(analyze(text, language)) for text, language in zip(texts, languages, strict=True)]
        return Batch(portions, keys, terms, stored, list(missing), made)

    def write(self, batch: Batch) -> None:
        """Wait for the vectors, deduplicate, commit, and bring the indexes up to date.

        Raises:
            DiskFull: nothing of this batch is stored, or the store has it and the indexes follow at the next start.
        """
        staged = self._staged(batch)
        with self._store.database.transaction():
            # All are staged before any is published: publishing drops an old version's embeddings, and the chunks
            # others are aliases of, unless something staged needs them.
            for portion in batch.portions:
                if not portion.draft.dropped:
                    self._stage(portion, staged.get(id(portion.draft), []))
            for portion in batch.portions:
                draft = portion.draft
                if portion.last and draft.version is not None:
                    self._versions.publish(draft.version, draft.document)
        self._indexes.apply()

    def _staged(self, batch: Batch) -> dict[int, list[StagedChunk]]:
        """The rows of each draft, by its identity."""
        vectors = batch.stored | dict(zip(batch.missing, batch.made.result(), strict=True))
        chunks = [(*both, key, terms) for both, key, terms in zip(batch.chunks(), batch.keys, batch.terms, strict=True)]
        chunks = [chunk for chunk in chunks if not chunk[0].dropped]
        if not chunks:
            return {}
        present = set(self._store.embeddings([key for _, _, key, _ in chunks]))
        first = self._versions.last_chunk_number() + 1
        owners = self._owners([(draft, chunk, vectors[key]) for draft, chunk, key, _ in chunks], first)
        rows: dict[int, list[StagedChunk]] = {}
        for i, (draft, chunk, key, terms) in enumerate(chunks):
            new = key not in present  # the row that brings an embedding is the first to need it
            present.add(key)
            draft.embedded += new
            draft.duplicates += owners[i] is not None
            vector = vectors[key] if new else None
            rows.setdefault(id(draft), []).append(StagedChunk(first + i, chunk, terms, key, vector, owners[i]))
        return rows

    def _owners(self, chunks: Sequence[tuple[Draft, Chunk, np.ndarray]], first: int) -> list[int | None]:
        if self._duplicates is None:
            return [None] * len(chunks)
        fresh = [Fresh(first + i, chunk, vector, draft.version) for i, (draft, chunk, vector) in enumerate(chunks)]
        return self._duplicates.owners(fresh)

    def _stage(self, portion: Portion, rows: Sequence[StagedChunk]) -> None:
        draft = portion.draft
        if draft.version is None:
            draft.version = self._versions.begin(draft.document, self._generation)
        self._versions.stage(draft.version, rows, portion.pieces)
        draft.document = replace(draft.document, chunks=draft.document.chunks + len(rows))
