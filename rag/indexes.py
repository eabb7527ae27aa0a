"""The two derived indexes of a data folder: opened when first needed, healed, and kept up through the outbox."""

from __future__ import annotations

import threading
from pathlib import Path

from ..config.schema import RagSettings
from .deferred import DeferredSparseIndex
from .derived import BATCH, DerivedDense, DerivedSparse
from .outbox import Change, Outbox
from .protocols import DenseIndex, SparseIndex
from .store import Store

IN_MEMORY_UP_TO = 4_000
"""Chunks of a data folder up to which BM25 is kept in memory, by rank-bm25."""


class Indexes:
    """Owner of the dense and the sparse index of a data folder. Thread-safe."""

    def __init__(self, folder: Path, store: Store, settings: RagSettings) -> None:
        self._store = store
        self._outbox = Outbox(store.database)
        self._choice = settings.sparse_index
        self._lock = threading.RLock()
        self._opened = False
        self._healed: list[str] = []
        self._sparse_path = folder / "sparse.sqlite3"
        self._dense = DerivedDense("dense", folder / "chroma", self._make_dense, store, self._healed.append)
        self._sparse = DerivedSparse("sparse", self._sparse_path, self._make_sparse, store, self._healed.append)
        self._dense_path = folder / "chroma"

    @property
    def healed(self) -> tuple[str, ...]:
        """What was found wrong with the indexes, and set right, since they were opened."""
        return tuple(self._healed)

    @property
    def dense(self) -> DenseIndex:
        self.open()
        return self._dense.index

    @property
    def sparse(self) -> SparseIndex:
        self.open()
        return self._sparse.index

    def open(self) -> None:
        """Open both indexes, apply what the outbox holds, and heal them; does nothing the second time.

        Raises:
            DiskFull: there is no space to heal an index.
            StoreError: an index cannot be rebuilt.
        """
        with self._lock:
            if self._opened:
                return
            try:
                self._dense.open()
                self._sparse.open()
                self._apply_all()
                self._dense.verify()
                self._sparse.verify()
                self._opened = True
            finally:
                if not self._opened:
                    self._dense.abandon()
                    self._sparse.abandon()

    def apply(self) -> int:
        """Bring the indexes up to the truth; the number of ids looked at.

        Raises:
            DiskFull: there is no space for the indexes; the outbox keeps what is left to do.
        """
        with self._lock:
            self.open()
            return self._apply_all()

    def rebuild(self) -> None:
        """Empty both indexes and fill them from the truth, as after a change of the embedding model."""
        with self._lock:
            self.open()
            self._outbox.clear()
            self._dense.rebuild()
            self._sparse.rebuild()
            for name in ("dense", "sparse"):
                self._store.set_meta(f"{name}:generation", str(self._store.generation))

    def close(self) -> None:
        """Let go of both indexes and seal their files."""
        with self._lock:
            self._opened = False
            try:
                self._dense.close()
            finally:
                self._sparse.close()

    def sizes(self) -> dict[str, int]:
        """Bytes on disk of each index."""
        return {"dense": self._dense.size(), "sparse": self._sparse.size()}

    def _apply_all(self) -> int:
        done = 0
        while changes := self._outbox.pending(BATCH):
            self._apply(changes)
            self._outbox.acknowledge(changes)
            done += len(changes)
        return done

    def _apply(self, changes: list[Change]) -> None:
        entries = {entry.id: entry for entry in self._store.entries([change.chunk_id for change in changes])}
        for collection in sorted({change.collection for change in changes}):
            ids = [change.chunk_id for change in changes if change.collection == collection]
            present = [entries[i] for i in ids if i in entries]
            gone = [i for i in ids if i not in entries]
            self._dense.write(collection, present, gone)
            self._sparse.write(collection, present, gone)

    def _make_dense(self) -> DenseIndex:
        from .dense import ChromaIndex

        return ChromaIndex(self._dense_path)

    def _make_sparse(self) -> SparseIndex:
        large = self._store.indexed_count() > IN_MEMORY_UP_TO
        if self._choice == "fts5" or (self._choice == "auto" and large):
            from .fts5 import Fts5Index

            return Fts5Index(self._sparse_path)
        from .sparse import RankBm25Index

        self._sparse_path.unlink(missing_ok=True)
        return DeferredSparseIndex(self._store, RankBm25Index())
