"""What one request may take: a question of bounded length, a place among those at work, and bounded time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from ..config.schema import LimitSettings
from .errors import EmptyQuestion, QuestionTooLong

_LOOK_SECONDS = 0.05
"""How often a request that waits looks whether it was cancelled, or the limit was raised."""


def words_of(question: str, limits: LimitSettings) -> str:
    """``question`` on one line.

    Raises:
        EmptyQuestion: it holds no words.
        QuestionTooLong: it is longer than the limit.
    """
    words = " ".join(question.split())
    if not words:
        raise EmptyQuestion("the question is empty: ask something")
    if len(words) > limits.question_characters:
        raise QuestionTooLong(
            f"the question has {len(words):,} characters, limits.question_characters allows "
            f"{limits.question_characters:,}: ask less, or put the text into a document"
        )
    return words


class StopSignal(threading.Event):
    """Set when the caller's ``cancel`` is, when ``seconds`` have passed (None: never), or when it is set itself."""

    def __init__(self, cancel: threading.Event | None, seconds: float | None) -> None:
        super().__init__()
        self.seconds = seconds
        self._cancel = cancel
        self._deadline = None if seconds is None else time.monotonic() + seconds

    @property
    def out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def is_set(self) -> bool:
        return super().is_set() or (self._cancel is not None and self._cancel.is_set()) or self.out_of_time


class ConcurrencyLimit:
    """Lets so many requests work at the same time; the others wait in the order they came. Thread-safe.

    ``limit`` is asked whenever it matters, so that it may change while requests wait.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._at_work: set[object] = set()
        self._line: dict[object, None] = {}

    @contextlib.contextmanager
    def entered(self, cancel: threading.Event) -> Iterator[bool]:
        """Wait for a place; False where ``cancel`` was set before there was one."""
        ticket = object()
        # Ctrl-C may come at any moment of this: a ticket that stayed behind would stop all that come after it.
        try:
            with self._changed:
                self._line[ticket] = None
                while not (stopped := cancel.is_set()) and not self._may_enter(ticket):
                    self._changed.wait(_LOOK_SECONDS)
                if not stopped:
                    self._at_work.add(ticket)
                self._leave_line(ticket)
            yield not stopped
        finally:
            with self._changed:
                self._at_work.discard(ticket)
                self._leave_line(ticket)

    def _may_enter(self, ticket: object) -> bool:
        return next(iter(self._line)) is ticket and len(self._at_work) < self._limit()

    def _leave_line(self, ticket: object) -> None:
        self._line.pop(ticket, None)
        self._changed.notify_all()
