"""What changes documents in the truth: a new version is staged, then takes its place in one transaction.

The ids of chunks whose entry in the indexes may have changed go into the outbox in the same transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .database import Database
from .rows import DOCUMENT_ID_CHARACTERS, Piece, StagedChunk, blob_of, text_key
from .store import INDEXED
from .values import Document


class Versions:
    """The writing side of the store. Every method is one transaction, or part of the one around it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._rows = database.rows

    def last_chunk_number(self) -> int:
        """The largest chunk row ever used."""
        rows = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'")
        return rows[0][0] if rows else 0

    def begin(self, document: Document, generation: int) -> int:
        """Start a new version of ``document``, invisible until `publish`; its number."""
        with self.database.transaction() as connection:
            cursor = connection.execute(
                """INSERT INTO documents (id, collection, source, title, content_hash, ingested_at, generation, state)
                   VALUES (?, ?, ?, ?, ?, ?, ?, 'staging')""",
                (document.id, document.collection, document.source, document.title, document.content_hash,
                 document.ingested_at, generation),
            )  # fmt: skip
            return int(cursor.lastrowid or 0)

    def stage(self, version: int, chunks: Iterable[StagedChunk], pieces: Iterable[Piece]) -> None:
        """Add chunks and pieces of text to a version that is being staged."""
        with self.database.transaction() as connection:
            connection.executemany(
                'INSERT INTO pieces (version, start, "end", text, blocks) VALUES (?, ?, ?, ?, ?)',
                ((version, piece.start, piece.end, piece.text, piece.borders()) for piece in pieces),
            )
            staged = list(chunks)
            connection.executemany(
                "INSERT OR IGNORE INTO embeddings (hash, vector) VALUES (?, ?)",
                ((item.embedding_hash, blob_of(item.vector)) for item in staged if item.vector is not None),
            )
            connection.executemany(
                """INSERT INTO chunks (number, id, version, ordinal, start, "end", page, context, text, text_key,
                                       terms, embedding, owner)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT number FROM embeddings WHERE hash = ?), ?)""",
                (
                    (item.number, item.chunk.id, version, item.chunk.ordinal, item.chunk.start, item.chunk.end,
                     item.chunk.page, item.chunk.context, item.chunk.text, text_key(item.chunk.text), item.terms,
                     item.embedding_hash, item.owner)
                    for item in staged
                ),
            )  # fmt: skip

    def publish(self, version: int, document: Document) -> None:
        """Make a staged version the ready one, in place of the version before it; a ready one is left alone."""
        with self.database.transaction() as connection:
            old = _ready_version(connection, document.id)
            if old == version:
                return
            if old is not None:
                self._hand_over(connection, old, version)
                self._delete(connection, old)
            connection.execute(
                """UPDATE documents SET state = 'ready', title = ?, pages = ?, chunks = ?, characters = ?, language = ?,
                   warnings = ? WHERE number = ?""",
                (document.title, document.pages, document.chunks, document.characters, document.language,
                 json.dumps(document.warnings), version),
            )  # fmt: skip
            _mark(connection, "c.version = ?", (version,))

    def copy(self, source_id: str, document: Document, generation: int) -> Document:
        """Store ``document`` as another place of the ready document ``source_id``, whose bytes it shares."""
        with self.database.transaction() as connection:
            origin = _ready_version(connection, source_id)
            version = self.begin(document, generation)
            connection.execute(
                f"""INSERT INTO chunks (id, version, ordinal, start, "end", page, context, text, text_key, terms,
                                        embedding, owner)
                    SELECT ? || substr(id, {DOCUMENT_ID_CHARACTERS + 1}), ?, ordinal, start, "end", page, context, text,
                           text_key, terms, embedding, COALESCE(owner, number)
                    FROM chunks WHERE version = ? ORDER BY ordinal""",
                (document.id, version, origin),
            )
            connection.execute(
                """INSERT INTO pieces (version, start, "end", text, blocks)
                   SELECT ?, start, "end", text, blocks FROM pieces WHERE version = ? ORDER BY start""",
                (version, origin),
            )
            row = connection.execute(
                "SELECT pages, chunks, characters, language, warnings FROM documents WHERE number = ?", (origin,)
            ).fetchone()
            made = replace(
                document, pages=row[0], chunks=row[1], characters=row[2], language=row[3],
                warnings=tuple(json.loads(row[4])),
            )  # fmt: skip
            self.publish(version, made)
            return made

    def discard(self, version: int) -> None:
        """Forget a version that was staged and will not be finished."""
        with self.database.transaction() as connection:
            self._delete(connection, version)

    def discard_staging(self) -> int:
        """Forget what a killed process left unfinished; how many versions that were."""
        versions = [row[0] for row in self._rows("SELECT number FROM documents WHERE state = 'staging'")]
        for version in versions:
            self.discard(version)
        return len(versions)

    def remove(self, document_id: str) -> bool:
        """Forget a document; aliases of its chunks live on in the documents they stand in."""
        with self.database.transaction() as connection:
            version = _ready_version(connection, document_id)
            if version is None:
                return False
            self._delete(connection, version)
            return True

    def begin_generation(self, fingerprint: str) -> None:
        """From here on the indexes belong to the model with ``fingerprint``; no stored chunk belongs in them yet."""
        with self.database.transaction() as connection:
            connection.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'")
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('embedding_fingerprint', ?)", (fingerprint,))
            connection.execute("DELETE FROM outbox")

    def _hand_over(self, connection: sqlite3.Connection, old: int, new: int) -> None:
        """Chunks that stand unchanged in the new version keep the aliases they had in the old one."""
        connection.execute(
            """UPDATE chunks SET owner = (SELECT n.number FROM chunks o JOIN chunks n ON n.id = o.id AND n.version = ?2
                                          WHERE o.number = chunks.owner AND n.owner IS NULL)
               WHERE version != ?1 AND owner IN (SELECT o.number FROM chunks o JOIN chunks n ON n.id = o.id
                                     WHERE o.version = ?1 AND n.version = ?2 AND n.owner IS NULL)""",
            (old, new),
        )

    def _delete(self, connection: sqlite3.Connection, version: int) -> None:
        _mark(connection, "c.version = ?", (version,))
        owners = connection.execute(
            """SELECT DISTINCT owner FROM chunks WHERE version != ?1 AND owner IN
               (SELECT number FROM chunks WHERE version = ?1)""",
            (version,),
        ).fetchall()
        for (owner,) in owners:
            _promote(connection, owner, version)
        connection.execute("CREATE TEMP TABLE IF NOT EXISTS unused (number INTEGER PRIMARY KEY)")
        connection.execute("DELETE FROM unused")
        connection.execute("INSERT INTO unused SELECT DISTINCT embedding FROM chunks WHERE version = ?", (version,))
        connection.execute("DELETE FROM documents WHERE number = ?", (version,))
        connection.execute(
            """DELETE FROM embeddings WHERE number IN (SELECT number FROM unused)
               AND NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.embedding = embeddings.number)"""
        )


def _promote(connection: sqlite3.Connection, owner: int, version: int) -> None:
    """Keep the aliases of a chunk that goes: of those that say exactly the same, the oldest ready one is kept.

    Aliases that are only similar to one another are kept apart: nothing says they are similar enough.
    """
    rows: Sequence[tuple[int, int]] = connection.execute(
        """SELECT c.number, c.text_key FROM chunks c JOIN documents d ON d.number = c.version
           WHERE c.owner = ? AND c.version != ? ORDER BY d.state = 'staging', c.number""",
        (owner, version),
    ).fetchall()
    kept: dict[int, int] = {}
    for number, key in rows:
        connection.execute("UPDATE chunks SET owner = ? WHERE number = ?", (kept.get(key), number))
        if kept.setdefault(key, number) == number:
            _mark(connection, "c.number = ?", (number,))


def _mark(connection: sqlite3.Connection, where: str, parameters: Sequence[object]) -> None:
    """Put the indexed chunks among these into the outbox, under a new sequence number."""
    connection.execute(
        f"INSERT OR REPLACE INTO outbox (collection, chunk_id) SELECT d.collection, c.id {INDEXED} AND {where}",
        parameters,
    )


def _ready_version(connection: sqlite3.Connection, document_id: str) -> int | None:
    row = connection.execute("SELECT number FROM documents WHERE id = ? AND state = 'ready'", (document_id,)).fetchone()
    return row[0] if row else None
