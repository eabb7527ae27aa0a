"""The SQLite file that holds the truth: opening, migrating, and one transaction at a time."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import DiskFull, NewerSchema, StoreError
from .migrations import MIGRATIONS

SQLITE_AT_LEAST = (3, 24, 0)
CACHE_KIB = 32_768


class Database:
    """One connection, shared by all threads of the process, used by one of them at a time.

    WAL mode is never used: its reset bug corrupts files in SQLite 3.7.0 to 3.51.2, and Python brings whichever
    SQLite the machine has. A rollback journal with ``synchronous=FULL`` is safe in all of them.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file and bring it to the newest schema.

        Raises:
            NewerSchema: the file was made by a newer version.
            StoreError: it is not a database, or cannot be written.
        """
        if sqlite3.sqlite_version_info < SQLITE_AT_LEAST:
            needed = ".".join(map(str, SQLITE_AT_LEAST))
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: use a Python with SQLite {needed} or later")
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        with _translated(path):
            self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
            try:
                self._configure()
                self._migrate()
            except BaseException:
                self.connection.close()
                raise

    @property
    def schema_version(self) -> int:
        return int(self.rows("PRAGMA user_version")[0][0])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; a nested call joins the one already begun. Other threads wait."""
        with self._lock, _translated(self.path):
            if self._depth:
                yield self.connection
                return
            self.connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple]:
        """The result of one query, whole."""
        with self._lock, _translated(self.path):
            return self.connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        with self._lock:
            self.connection.close()

    def _configure(self) -> None:
        run = self.connection.execute
        run("PRAGMA journal_mode=TRUNCATE")
        run("PRAGMA synchronous=FULL")
        run("PRAGMA foreign_keys=ON")
        run("PRAGMA trusted_schema=OFF")
        run("PRAGMA temp_store=MEMORY")
        run(f"PRAGMA cache_size=-{CACHE_KIB}")

    def _migrate(self) -> None:
        version = self.schema_version
        if version > len(MIGRATIONS):
            raise NewerSchema(
                f"{self.path.parent} was made by a newer version of Capibara (schema {version}, this one knows "
                f"{len(MIGRATIONS)}): upgrade Capibara, or use another data folder"
            )
        for number in range(version, len(MIGRATIONS)):
            with self.transaction() as connection:
                MIGRATIONS[number](connection)
                connection.execute(f"PRAGMA user_version={number + 1}")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors in the room's words."""
    try:
        yield
    except sqlite3.Error as error:
        raise explained(error, path) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"no space left on the disk of {path.parent}: free some and run it again") from error
        raise


def explained(error: sqlite3.Error, path: Path) -> StoreError:
    """What an error of SQLite means for the user of ``path``."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL") or name == "SQLITE_IOERR_WRITE":
        return DiskFull(f"no space left on the disk of {path.parent}: free some and run it again")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreError(f"{path} is damaged ({error}): restore it from a backup, or ingest into a new data folder")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StoreError(f"{path} cannot be written ({error}): check its permissions, or use another data folder")
    return StoreError(f"{path}: {error}")
