"""Keeps conversations: which questions were asked, and what was answered with which citations."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .errors import AssistantError, UnknownConversation
from .values import Answer, Citation

_MIGRATIONS = (
    """
CREATE TABLE conversation (
    id TEXT PRIMARY KEY,
    collection TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE turn (
    conversation_id TEXT NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
    ordinal INTEGER NOT NULL,
    question TEXT NOT NULL,
    standalone_question TEXT NOT NULL,
    answer TEXT NOT NULL,
    citations TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (conversation_id, ordinal)
) STRICT;
""",
    """
ALTER TABLE turn ADD COLUMN interrupted INTEGER NOT NULL DEFAULT 0;
""",
)
"""Each takes the file from the version that is its index to the next one."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer. ``standalone_question`` is what was searched for.

    ``interrupted``: the answer was longer; this is what was heard of it.
    """

    question: str
    standalone_question: str
    answer: str
    citations: tuple[Citation, ...] = ()
    created_at: str = ""
    interrupted: bool = False


class ConversationStore:
    """Conversations in one SQLite file, each turn committed as a whole. Thread-safe.

    Raises:
        AssistantError: the file is no database, or was made by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._path = path
        with contextlib.ExitStack() as opened:
            with self._explained():
                self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            opened.callback(self._db.close)
            with self._explained():
                # A rollback journal: releases before 3.51.3 can corrupt a database when a write-ahead log restarts.
                self._db.execute("PRAGMA journal_mode = DELETE")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("PRAGMA foreign_keys = ON")
                self._migrate(path)
            opened.pop_all()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite's errors into one line that tells a full or locked disk from a damaged file."""
        try:
            yield
        except sqlite3.ProgrammingError as error:
            message = f"{self._path}: the conversations are closed ({error}): open the assistant again"
            raise AssistantError(message) from error
        except sqlite3.OperationalError as error:
            message = f"{self._path}: the conversations cannot be read or written ({error}); look at the disk"
            raise AssistantError(message) from error
        except sqlite3.DatabaseError as error:
            raise AssistantError(
                f"{self._path}: the conversations are damaged ({error}); move the file away"
            ) from error

    def _migrate(self, path: Path) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(_MIGRATIONS):
            raise AssistantError(f"{path} was made by a newer version of capibara; update capibara to open it")
        for number in range(version, len(_MIGRATIONS)):
            self._db.executescript(f"BEGIN; {_MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;")

    def start(self, collection: str) -> str:
        """Begin a conversation over ``collection`` and return its id."""
        conversation = uuid.uuid4().hex
        with self._lock, self._explained():
            self._db.execute(
                "INSERT INTO conversation VALUES (?, ?, ?)",
                (conversation, collection, datetime.now(UTC).isoformat(timespec="seconds")),
            )
        return conversation

    def append(self, conversation: str, question: str, answer: Answer, *, interrupted: bool = False) -> int:
        """Add a turn and return its number within the conversation.

        Raises:
            UnknownConversation: no conversation has this id.
            AssistantError: it cannot be written.
        """
        citations = _as_json(answer.citations)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._lock, self._explained():
            try:
                [[number]] = self._db.execute(
                    "INSERT INTO turn SELECT ?, COALESCE(MAX(ordinal) + 1, 0), ?, ?, ?, ?, ?, ?"
                    " FROM turn WHERE conversation_id = ? RETURNING ordinal",
                    (conversation, question, answer.question, answer.text, citations, now, interrupted, conversation),
                ).fetchall()
            except sqlite3.IntegrityError as error:
                raise UnknownConversation(f"there is no conversation {conversation}") from error
        return number

    def cut_short(self, conversation: str, number: int, heard: str, citations: tuple[Citation, ...]) -> None:
        """Keep of a turn's answer only ``heard``, with ``citations``, and mark it as interrupted.

        Raises:
            AssistantError: it cannot be written.
        """
        with self._lock, self._explained():
            self._db.execute(
                "UPDATE turn SET answer = ?, citations = ?, interrupted = 1 WHERE conversation_id = ? AND ordinal = ?",
                (heard, _as_json(citations), conversation, number),
            )

    def collection(self, conversation: str) -> str:
        """The collection that a conversation was begun over.

        Raises:
            UnknownConversation: no conversation has this id.
        """
        with self._lock, self._explained():
            row = self._db.execute("SELECT collection FROM conversation WHERE id = ?", (conversation,)).fetchone()
        if row is None:
            raise UnknownConversation(f"there is no conversation {conversation}")
        return row[0]

    def turns(self, conversation: str, last: int | None = None) -> list[Turn]:
        """The turns of a conversation, oldest first; only the ``last`` ones if given.

        Raises:
            UnknownConversation: no conversation has this id.
        """
        with self._lock, self._explained():
            known = self._db.execute("SELECT 1 FROM conversation WHERE id = ?", (conversation,)).fetchone()
            rows = self._db.execute(
                "SELECT question, standalone_question, answer, citations, created_at, interrupted FROM turn"
                " WHERE conversation_id = ? ORDER BY ordinal DESC LIMIT ?",
                (conversation, -1 if last is None else last),
            ).fetchall()
        if known is None:
            raise UnknownConversation(f"there is no conversation {conversation}")
        return [
            Turn(question, standalone, answer, _from_json(citations), created, bool(interrupted))
            for question, standalone, answer, citations, created, interrupted in reversed(rows)
        ]

    def ids(self) -> list[str]:
        """The ids of all conversations, newest first."""
        with self._lock, self._explained():
            rows = self._db.execute("SELECT id FROM conversation ORDER BY created_at DESC, rowid DESC").fetchall()
        return [row[0] for row in rows]

    def remove(self, conversation: str) -> None:
        """Forget a conversation with all its turns; unknown ids are ignored."""
        with self._lock, self._explained():
            self._db.execute("DELETE FROM conversation WHERE id = ?", (conversation,))

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._db.close()


def _as_json(citations: tuple[Citation, ...]) -> str:
    return json.dumps([dataclasses.asdict(citation) for citation in citations], ensure_ascii=False)


def _from_json(citations: str) -> tuple[Citation, ...]:
    return tuple(Citation(**row) for row in json.loads(citations))
