"""The truth: documents, chunks, embeddings and what is still to be told to the indexes. Thread-safe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from .database import Database
from .rows import (
    ALIAS_COLUMNS,
    CHUNK_COLUMNS,
    DOCUMENT_COLUMNS,
    IndexEntry,
    alias_of,
    blocks_of,
    chunk_of,
    document_of,
    text_key,
    vector_of,
)
from .values import Alias, Block, Chunk, Document

DATABASE_NAME = "capibara.sqlite3"
PAGE = 500

_READY = "FROM chunks c JOIN documents d ON d.number = c.version WHERE d.state = 'ready'"
_CURRENT = "(SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'generation')"
INDEXED = f"{_READY} AND c.owner IS NULL AND d.generation = {_CURRENT}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kept chunk that another may be a duplicate of."""

    number: int
    chunk_id: str
    text: str
    context: str
    document_id: str
    version: int


class Store:
    """Reads of the truth, and its key-value part. What changes documents stands in `versions` and `outbox`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._rows = database.rows
        with database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('generation', '1')")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open or make the store of a data folder.

        Raises:
            NewerSchema: it was made by a newer version.
            StoreError: it is damaged or cannot be written.
        """
        return cls(Database(folder / DATABASE_NAME))

    def close(self) -> None:
        self.database.close()

    def meta(self, key: str) -> str | None:
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def set_meta(self, key: str, value: str | None) -> None:
        """Remember ``value``; None forgets the key."""
        with self.database.transaction() as connection:
            if value is None:
                connection.execute("DELETE FROM meta WHERE key = ?", (key,))
            else:
                connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @property
    def fingerprint(self) -> str | None:
        """The embedding model whose vectors stand in the indexes; None before the first document."""
        return self.meta("embedding_fingerprint")

    @property
    def generation(self) -> int:
        return int(self.meta("generation") or 1)

    def outdated(self) -> list[Document]:
        """Documents whose vectors come from before the last re-indexing began."""
        return self._documents("d.generation < ?", (self.generation,))

    # documents

    def documents(self, collection: str | None = None) -> list[Document]:
        """All documents, or those of one collection, in the order of their sources."""
        return self._documents("(? IS NULL OR d.collection = ?)", (collection, collection))

    def document(self, document_id: str) -> Document | None:
        found = self._documents("d.id = ?", (document_id,))
        return found[0] if found else None

    def twin(self, collection: str, content_hash: str) -> Document | None:
        """A document of the collection with the same bytes, of the current generation."""
        where = "d.content_hash = ? AND d.collection = ? AND d.generation = ?"
        found = self._documents(where, (content_hash, collection, self.generation))
        return found[0] if found else None

    def is_current(self, document_id: str) -> bool:
        """Whether the document's vectors are of the current generation."""
        sql = "SELECT 1 FROM documents WHERE id = ? AND state = 'ready' AND generation = ?"
        return bool(self._rows(sql, (document_id, self.generation)))

    def collections(self) -> list[str]:
        return [
            row[0] for row in self._rows("SELECT DISTINCT collection FROM documents WHERE state = 'ready' ORDER BY 1")
        ]

    def languages(self, collection: str) -> list[str]:
        """The languages of a collection's documents, most frequent first."""
        sql = """SELECT language FROM documents WHERE state = 'ready' AND collection = ? AND language IS NOT NULL
                 GROUP BY language ORDER BY COUNT(*) DESC, language"""
        return [row[0] for row in self._rows(sql, (collection,))]

    def _documents(self, where: str, parameters: Sequence[object]) -> list[Document]:
        sql = f"SELECT {DOCUMENT_COLUMNS} FROM documents d WHERE d.state = 'ready' AND {where} ORDER BY d.source, d.id"
        return [document_of(row) for row in self._rows(sql, parameters)]

    # text

    def text(self, document_id: str, start: int, end: int) -> str:
        """``document_text[start:end]``; empty for an unknown document."""
        sql = """SELECT p.start, p.text FROM pieces p JOIN documents d ON d.number = p.version
                 WHERE d.id = ? AND d.state = 'ready' AND p.start < ? AND p."end" > ? ORDER BY p.start"""
        start = max(start, 0)
        rows = self._rows(sql, (document_id, end, start))
        return "".join(text[max(start - at, 0) : max(end - at, 0)] for at, text in rows)

    def blocks(self, document_id: str) -> Iterator[Block]:
        """The document's blocks as its loader read them, piece by piece."""
        after = -1
        while True:
            sql = """SELECT p.start, p.text, p.blocks FROM pieces p JOIN documents d ON d.number = p.version
                     WHERE d.id = ? AND d.state = 'ready' AND p.start > ? ORDER BY p.start LIMIT 1"""
            rows = self._rows(sql, (document_id, after))
            if not rows:
                return
            after, text, borders = rows[0]
            yield from blocks_of(text, borders)

    # chunks

    def chunks(self, document_id: str) -> list[Chunk]:
        """All chunks of a document, aliases of others included, in order."""
        return [
            chunk_of(row)
            for row in self._rows(f"SELECT {CHUNK_COLUMNS} {_READY} AND d.id = ? ORDER BY c.ordinal", (document_id,))
        ]

    def passages(self, ids: Sequence[str]) -> dict[str, tuple[Chunk, Document, tuple[Alias, ...]]]:
        """The indexed chunks among ``ids``, each with its document and its aliases."""
        found = {}
        for part in _parts(ids):
            sql = f"SELECT c.number, {CHUNK_COLUMNS}, {DOCUMENT_COLUMNS} {INDEXED} AND c.id IN ({_marks(part)})"
            for row in self._rows(sql, part):
                chunk = chunk_of(row[1:9])
                found[chunk.id] = (chunk, document_of(row[9:]), self._aliases(row[0]))
        return found

    def _aliases(self, number: int) -> tuple[Alias, ...]:
        rows = self._rows(f"SELECT {ALIAS_COLUMNS} {_READY} AND c.owner = ? ORDER BY d.source, c.start", (number,))
        return tuple(alias_of(row) for row in rows)

    def embeddings(self, hashes: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The stored vectors among ``hashes``, each float32 [D]."""
        found = {}
        for part in _parts(list(dict.fromkeys(hashes))):
            rows = self._rows(f"SELECT hash, vector FROM embeddings WHERE hash IN ({_marks(part)})", part)
            found.update((key, vector_of(blob)) for key, blob in rows)
        return found

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """The vectors of the indexed chunks among ``ids``, each float32 [D]."""
        return {entry.id: entry.vector for entry in self.entries(ids)}

    # duplicates

    def same_text(self, collection: str, texts: Sequence[str]) -> dict[str, list[Candidate]]:
        """For each text, the kept chunks of the collection that say exactly it, oldest first."""
        wanted = {text_key(text): text for text in texts}
        found: dict[str, list[Candidate]] = {}
        for part in _parts(list(wanted)):
            for candidate in self._candidates(f"c.text_key IN ({_marks(part)})", part, collection):
                found.setdefault(candidate.text, []).append(candidate)
        return found

    def candidates(self, collection: str, *, numbers: Sequence[int] = (), ids: Sequence[str] = ()) -> list[Candidate]:
        """The kept chunks among these rows and ids, staging ones included by number."""
        found = []
        for part in _parts(numbers):
            found += self._candidates(f"c.number IN ({_marks(part)})", part, collection)
        for part in _parts(ids):
            found += self._candidates(f"c.id IN ({_marks(part)}) AND d.state = 'ready'", part, collection)
        return found

    def kept_vectors(self, collection: str, limit: int) -> tuple[list[int], np.ndarray]:
        """Rows and vectors float32 [N, D] of the newest indexed chunks of a collection, at most ``limit``."""
        sql = """SELECT c.number, e.vector FROM chunks c JOIN documents d ON d.number = c.version
                 JOIN embeddings e ON e.number = c.embedding WHERE d.state = 'ready' AND c.owner IS NULL
                 AND d.collection = ? AND d.generation = ? ORDER BY c.number DESC LIMIT ?"""
        rows = self._rows(sql, (collection, self.generation, limit))
        joined = vector_of(b"".join(row[1] for row in reversed(rows)))
        return [row[0] for row in reversed(rows)], joined.reshape(len(rows), joined.size // max(len(rows), 1))

    def _candidates(self, where: str, parameters: Sequence[object], collection: str) -> list[Candidate]:
        sql = f"""SELECT c.number, c.id, c.text, c.context, d.id, d.number
                  FROM chunks c JOIN documents d ON d.number = c.version
                  WHERE {where} AND c.owner IS NULL AND d.collection = ? AND d.generation = ? ORDER BY c.number"""
        rows = self._rows(sql, (*parameters, collection, self.generation))
        return [Candidate(*row) for row in rows]

    # what the indexes should hold

    def indexed_ids(self, collection: str) -> set[str]:
        return {row[0] for row in self._rows(f"SELECT c.id {INDEXED} AND d.collection = ?", (collection,))}

    def indexed_count(self, collection: str | None = None) -> int:
        where = "AND (? IS NULL OR d.collection = ?)"
        return self._rows(f"SELECT COUNT(*) {INDEXED} {where}", (collection, collection))[0][0]

    def entries(self, ids: Sequence[str]) -> list[IndexEntry]:
        """What the indexes should hold of ``ids``; those that are missing here belong in no index."""
        return [entry for part in _parts(ids) for entry in self._entries(f"c.id IN ({_marks(part)})", part)[0]]

    def all_entries(self, collection: str, page: int = PAGE) -> Iterator[list[IndexEntry]]:
        """What the indexes should hold of a collection, page by page."""
        after = -1
        while True:
            where = "d.collection = ? AND c.number > ? ORDER BY c.number LIMIT ?"
            entries, after = self._entries(where, (collection, after, page))
            if not entries:
                return
            yield entries

    def sample_entries(self, collection: str, size: int) -> list[IndexEntry]:
        """Up to ``size`` entries spread evenly over a collection, the newest among them."""
        sql = f"SELECT c.number {INDEXED} AND d.collection = ? ORDER BY c.number DESC"
        numbers = [row[0] for row in self._rows(sql, (collection,))]
        chosen = numbers[:: max(1, len(numbers) // size)][:size]
        return [e for part in _parts(chosen) for e in self._entries(f"c.number IN ({_marks(part)})", part)[0]]

    def _entries(self, where: str, parameters: Sequence[object]) -> tuple[list[IndexEntry], int]:
        sql = f"""SELECT c.id, d.collection, e.vector, c.terms, c.number
                  FROM chunks c JOIN documents d ON d.number = c.version JOIN embeddings e ON e.number = c.embedding
                  WHERE d.state = 'ready' AND c.owner IS NULL AND d.generation = ? AND {where}"""
        rows = self._rows(sql, (self.generation, *parameters))
        entries = [IndexEntry(row[0], row[1], vector_of(row[2]), row[3].split()) for row in rows]
        return entries, rows[-1][4] if rows else -1

    # counts

    def counts(self) -> dict[str, int]:
        """Numbers of documents, chunks (as indexed), aliases, embeddings and pending index changes."""
        sql = f"""SELECT (SELECT COUNT(*) FROM documents WHERE state = 'ready'), (SELECT COUNT(*) {INDEXED}),
                  (SELECT COUNT(*) {_READY} AND c.owner IS NOT NULL), (SELECT COUNT(*) FROM embeddings),
                  (SELECT COUNT(*) FROM outbox)"""
        return dict(zip(("documents", "chunks", "aliases", "embeddings", "pending"), self._rows(sql)[0], strict=True))


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _parts(values: Sequence) -> Iterator[Sequence]:
    for start in range(0, len(values), PAGE):
        yield values[start : start + PAGE]
