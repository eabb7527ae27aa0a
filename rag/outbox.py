"""The outbox: chunk ids whose entry in the indexes may differ from the truth, until the indexes have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .database import Database


@dataclass(frozen=True, slots=True)
class Change:
    """One chunk id to be looked up in the truth and written to, or deleted from, the indexes."""

    seq: int
    collection: str
    chunk_id: str


class Outbox:
    """Changes are put in by `versions`, in the transaction that makes them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def pending(self, limit: int) -> list[Change]:
        """The oldest changes, at most ``limit``."""
        rows = self.database.rows("SELECT seq, collection, chunk_id FROM outbox ORDER BY seq LIMIT ?", (limit,))
        return [Change(*row) for row in rows]

    def acknowledge(self, changes: Sequence[Change]) -> None:
        """Forget changes the indexes have taken in; an id marked anew meanwhile has a new number and stays."""
        with self.database.transaction() as connection:
            connection.executemany("DELETE FROM outbox WHERE seq = ?", ((change.seq,) for change in changes))

    def clear(self) -> None:
        """Forget all changes: the indexes are rebuilt as a whole."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM outbox")
