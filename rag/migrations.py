"""The schema of the truth, as numbered steps; a step that has been released never changes again.

``documents`` has one row per version of a document: a new version is written as *staging* beside the ready one and
takes its place in one transaction. ``chunks.owner`` names the kept chunk that a duplicate is an alias of; a kept
chunk has none. ``generation`` counts re-indexings: only chunks of the current one belong into the indexes.
``outbox`` holds the ids whose entry in the indexes may differ from the truth.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

_FIRST = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE documents (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        collection TEXT NOT NULL,
        source TEXT NOT NULL,
        title TEXT NOT NULL,
        content_hash TEXT NOT NULL,
        pages INTEGER,
        chunks INTEGER NOT NULL DEFAULT 0,
        characters INTEGER NOT NULL DEFAULT 0,
        language TEXT,
        ingested_at TEXT NOT NULL,
        warnings TEXT NOT NULL DEFAULT '[]',
        generation INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('staging', 'ready'))
    )
    """,
    "CREATE UNIQUE INDEX documents_ready ON documents (id) WHERE state = 'ready'",
    "CREATE INDEX documents_content ON documents (content_hash)",
    """
    CREATE TABLE embeddings (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        hash BLOB NOT NULL UNIQUE,
        vector BLOB NOT NULL
    )
    """,
    """
    CREATE TABLE chunks (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        version INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
        ordinal INTEGER NOT NULL,
        start INTEGER NOT NULL,
        "end" INTEGER NOT NULL,
        page INTEGER,
        context TEXT NOT NULL,
        text TEXT NOT NULL,
        text_key INTEGER NOT NULL,
        terms TEXT NOT NULL,
        embedding INTEGER NOT NULL REFERENCES embeddings (number) DEFERRABLE INITIALLY DEFERRED,
        owner INTEGER REFERENCES chunks (number) DEFERRABLE INITIALLY DEFERRED,
        UNIQUE (version, ordinal)
    )
    """,
    "CREATE INDEX chunks_id ON chunks (id)",
    "CREATE INDEX chunks_text ON chunks (text_key)",
    "CREATE INDEX chunks_embedding ON chunks (embedding)",
    "CREATE INDEX chunks_owner ON chunks (owner) WHERE owner IS NOT NULL",
    """
    CREATE TABLE pieces (
        number INTEGER PRIMARY KEY,
        version INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
        start INTEGER NOT NULL,
        "end" INTEGER NOT NULL,
        text TEXT NOT NULL,
        blocks TEXT NOT NULL,
        UNIQUE (version, start)
    )
    """,
    """
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        collection TEXT NOT NULL,
        chunk_id TEXT NOT NULL,
        UNIQUE (collection, chunk_id)
    )
    """,
)


def _first(connection: sqlite3.Connection) -> None:
    for statement in _FIRST:
        connection.execute(statement)


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_first,)
