"""BM25 on disk by SQLite FTS5, over terms analysed beforehand: persistent, incremental, transactional."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import IndexDamaged

_FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS collections (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS entries (
    row INTEGER PRIMARY KEY, collection INTEGER NOT NULL REFERENCES collections(number), id TEXT NOT NULL,
    UNIQUE (collection, id)
);
"""


class Fts5Index:
    """A `SparseIndex` in one SQLite file, with one full-text table per collection, as BM25's statistics need.

    Uses a rollback journal (write-ahead logging is unsafe in SQLite before 3.51.3). Every method is one
    transaction. Thread-safe.

    Raises:
        IndexDamaged: from any method, when SQLite cannot open or read the file; close, delete and refill it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection: sqlite3.Connection | None = None
        with self._damage_named():
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = DELETE")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _FORMAT):
                raise IndexDamaged(f"the sparse index {path} has the format {version}, not {_FORMAT}")
            self._connection.executescript(_SCHEMA)
            self._connection.execute(f"PRAGMA user_version = {_FORMAT}")

    def upsert(self, collection: str, entries: Iterable[tuple[str, Sequence[str]]]) -> None:
        with self._transaction() as connection:
            number = self._number(collection, create=True)
            for identifier, terms in entries:
                self._forget(connection, number, identifier)
                cursor = connection.execute("INSERT INTO entries (collection, id) VALUES (?, ?)", (number, identifier))
                connection.execute(
                    f"INSERT INTO terms_{number} (rowid, terms) VALUES (?, ?)", (cursor.lastrowid, " ".join(terms))
                )

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        with self._transaction() as connection:
            number = self._number(collection)
            for identifier in ids if number is not None else ():
                self._forget(connection, number, identifier)

    def query(self, collection: str, terms: Sequence[str], k: int) -> list[tuple[str, float]]:
        with self._damage_named():
            number = self._number(collection)
            if number is None or not terms or k < 1:
                return []
            # bm25() counts a phrase once however often it is asked for; a repeated term is no better than one
            match = " OR ".join('"' + term.replace('"', '""') + '"' for term in dict.fromkeys(terms))
            table = f"terms_{number}"
            rows = self._database().execute(
                f"SELECT entries.id, -bm25({table}) AS score FROM {table} JOIN entries ON entries.row = {table}.rowid "
                f"WHERE {table} MATCH ? ORDER BY score DESC, entries.id LIMIT ?",
                (match, k),
            )
            return [(identifier, score) for identifier, score in rows if score > 0]

    def entries(self, collection: str) -> list[tuple[str, list[str]]]:
        """Every pair (id, terms) of ``collection``, as `upsert` took them."""
        with self._damage_named():
            number = self._number(collection)
            if number is None:
                return []
            rows = self._database().execute(
                f"SELECT entries.id, terms FROM terms_{number} JOIN entries ON entries.row = terms_{number}.rowid"
            )
            return [(identifier, terms.split()) for identifier, terms in rows]

    def count(self, collection: str) -> int:
        """Number of entries of ``collection``."""
        with self._damage_named():
            number = self._number(collection)
            query = "SELECT count(*) FROM entries WHERE collection = ?"
            return int(self._database().execute(query, (number,)).fetchone()[0])

    def ids(self, collection: str) -> set[str]:
        with self._damage_named():
            rows = self._database().execute(
                "SELECT id FROM entries JOIN collections ON number = collection WHERE name = ?", (collection,)
            )
            return {identifier for (identifier,) in rows}

    def collections(self) -> set[str]:
        with self._damage_named():
            return {name for (name,) in self._database().execute("SELECT name FROM collections")}

    def drop(self, collection: str) -> None:
        with self._transaction() as connection:
            number = self._number(collection)
            if number is not None:
                connection.execute(f"DROP TABLE terms_{number}")
                connection.execute("DELETE FROM entries WHERE collection = ?", (number,))
                connection.execute("DELETE FROM collections WHERE number = ?", (number,))

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _number(self, collection: str, create: bool = False) -> int | None:
        connection = self._database()
        row = connection.execute("SELECT number FROM collections WHERE name = ?", (collection,)).fetchone()
        if row or not create:
            return row[0] if row else None
        number = connection.execute("INSERT INTO collections (name) VALUES (?)", (collection,)).lastrowid
        # The ascii tokenizer leaves every other character alone, so each analysed term stays one token.
        connection.execute(f"CREATE VIRTUAL TABLE terms_{number} USING fts5(terms, tokenize = 'ascii')")
        return number

    @staticmethod
    def _forget(connection: sqlite3.Connection, number: int | None, identifier: str) -> None:
        found = connection.execute(
            "SELECT row FROM entries WHERE collection = ? AND id = ?", (number, identifier)
        ).fetchone()
        if found:
            connection.execute(f"DELETE FROM terms_{number} WHERE rowid = ?", found)
            connection.execute("DELETE FROM entries WHERE row = ?", found)

    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError(f"the sparse index {self._path} is closed")
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._damage_named():
            connection = self._database()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                raise IndexDamaged(f"the sparse index {self._path} cannot be used ({error})") from error
