"""Watches settings files and tells when what they hold has changed."""

from __future__ import annotations

import errno
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .fingerprint import Signature, contents, signatures, trail, written_at
from .settling import Contents, Settling

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver

    from .folder_events import EntryEvent, FolderEvents

_LOG = logging.getLogger(__name__)

_STOP_SECONDS = 1.0
_EVENT_DELAY_SECONDS = 2.0
"""How late an event may be; watchdog keeps one back for up to 0.5 s, to pair the two halves of a move."""


@dataclass(frozen=True, slots=True)
class WatchState:
    """How changes are noticed; ``degraded`` is one line that says why it polls where events were wanted, or empty."""

    mode: Literal["events", "polling", "off"]
    degraded: str = ""


@dataclass(frozen=True, slots=True)
class _Renewal:
    found: Contents


class FileWatcher:
    """Calls ``changed`` when the contents of ``paths`` have changed and settled. All times in seconds.

    ``paths`` gives files, there or expected, and folders, of which every ``*.toml`` entry counts; `start` and `renew`
    call it. ``changed`` is called on the watcher's one thread; when it raises, that is logged and watching goes on.
    When it returns False it is called again, once contents have settled again.

    Events of the operating system only say when to look; contents decide. They are compared every ``poll_seconds`` in
    any case, and where there are no events, or with ``polling``, the files' records are read every
    ``polling_seconds``. Events that failed are tried again after ``retry_seconds``.

    A change has settled when nothing happened for ``quiet``, and no file is half-way through a save: open for
    writing, or empty or gone while it was not before. It counts at the latest ``longest`` after it was noticed.
    """

    def __init__(
        self,
        paths: Callable[[], Iterable[Path]],
        changed: Callable[[], bool | None],
        *,
        quiet: float = 0.2,
        longest: float = 2.0,
        poll_seconds: float = 5.0,
        polling: bool = False,
        polling_seconds: float = 0.25,
        retry_seconds: float = 60.0,
        _observer: Callable[[], BaseObserver] | None = None,
    ) -> None:
        self._paths = paths
        self._quiet = quiet
        self._changed = changed
        self._poll_seconds = poll_seconds
        self._polling_seconds = polling_seconds
        self._retry_seconds = retry_seconds
        self._make_observer = _observer
        self._state = WatchState("off")
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._inbox: queue.SimpleQueue[EntryEvent | _Renewal | None] = queue.SimpleQueue()
        # Once started, only the watcher's thread uses what follows, so that nothing needs a lock.
        self._settling = Settling(quiet, longest)
        self._events: FolderEvents | None = None
        self._being_written: set[Path] = set()
        self._glimpsed: dict[Path, Signature | None] | None = None  # None: the hint came from an event
        self._unannounced_at: float | None = None
        self._poll_at = self._glance_at = 0.0
        self._retry_at = math.inf if polling else 0.0

    def disagrees(self, digests: Mapping[Path, str]) -> bool:
        """True where a file holds something else than what had settled: it has been saved again, or is being saved.

        ``digests``: SHA-256 of files as they were just read, empty for those that were missing. To be asked within
        ``changed``, which should read again, or return False.
        """
        settled = {path: value or "" for held in self._settling.settled.values() for path, value in held.items()}
        return any(
            settled[path] != digest
            for path, digest in digests.items()
            if path in settled and _is_digest(digest) and _is_digest(settled[path])
        )

    @property
    def state(self) -> WatchState:
        """How changes are noticed now."""
        return self._state

    def start(self) -> None:
        """Begin; every later change is told, so read the files after this.

        Raises:
            RuntimeError: it has been started before.
        """
        if self._thread is not None:
            raise RuntimeError("a watcher starts only once; make another")
        now = time.monotonic()
        self._settling.start_from(_look(self._paths()))
        if now >= self._retry_at:
            self._begin_events(now)
        else:
            self._begin_polling(now)
        self._poll_at = now + self._poll_seconds
        self._thread = threading.Thread(target=self._run, name="capibara-settings-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End within a second, from any thread; a call of ``changed`` in progress may outlast it, none begins."""
        self._stopping.set()
        self._inbox.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_STOP_SECONDS)

    def renew(self) -> None:
        """Ask ``paths`` again; from any thread. What a new path holds now counts as known: read it after this."""
        self._inbox.put(_Renewal(_look(self._paths())))

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                messages = self._receive(time.monotonic())
                if not self._stopping.is_set():
                    self._step(messages, time.monotonic())
        finally:
            self._state = WatchState("off")
            if self._events is not None:
                self._events.stop()

    def _receive(self, now: float) -> list[EntryEvent | _Renewal | None]:
        """Everything that has arrived; waits until something has, or until something is due."""
        due = self._settling.due_in(now)
        times = [self._poll_at - now, math.inf if due is None else due]
        if self._events is None:
            times.append(self._glance_at - now)
        try:
            first = self._inbox.get(timeout=max(0.0, min(times)))
        except queue.Empty:
            return []
        return [first, *(self._inbox.get() for _ in range(self._inbox.qsize()))]

    def _step(self, messages: list[EntryEvent | _Renewal | None], now: float) -> None:
        for message in messages:
            if isinstance(message, _Renewal):
                self._settling.start_from(message.found)
            elif message is not None:
                self._take(message, now)
        if messages:
            self._follow(now)
        if now >= self._poll_at:
            self._poll(now)
        if self._events is None and now >= self._glance_at:
            self._glance(now)
        if self._settling.due_in(now) == 0.0:
            self._decide(now)

    def _take(self, event: EntryEvent, now: float) -> None:
        self._settling.hint(now)
        if self._events is None:
            return  # a late one, of an observer that has been given up
        self._glimpsed = self._unannounced_at = None
        if event.being_written:
            self._being_written.add(event.path)
        elif event.being_written is not None:
            self._being_written.discard(event.path)

    def _decide(self, now: float) -> None:
        self._follow(now)
        if self._glimpsed is not None:  # no event tells that a file is still changing
            self._glance(now)
        if self._settling.due_in(now) != 0.0:
            return
        before = self._settling.settled
        records = _glimpse(before)
        found = _look(before)
        # A save may have begun just before the look, and its event, or its next piece, be on the way.
        moving = _glimpse(before) != records or not self._inbox.empty() or self._just_written(before)
        if moving and not self._settling.overdue(now):
            self._settling.hint(now)
            return
        if not self._settling.settles(found, now, being_written=bool(self._being_written)):
            return
        self._being_written.clear()
        try:
            taken = self._changed()
        except Exception:  # noqa: BLE001 -- the next save must find someone who looks
            _LOG.exception("taking up changed settings failed; watching goes on")
            return
        if taken is False:
            self._settling.unsettle()
            self._settling.hint(now)

    def _just_written(self, paths: Iterable[Path]) -> bool:
        """Whether a file says so itself; one whose time lies in the future has another clock, and is not asked."""
        ages = (time.time() - written for written in written_at(paths))
        return any(0 <= age < self._quiet for age in ages)

    def _glance(self, now: float) -> None:
        """Compare the files' records with those seen last."""
        self._glance_at = now + self._polling_seconds
        seen = _glimpse(self._settling.settled)
        if seen != self._glimpsed:
            self._glimpsed = seen
            self._settling.hint(now)

    def _poll(self, now: float) -> None:
        """The net below the events: whether they still come, and whether contents changed without any."""
        self._poll_at = now + self._poll_seconds
        if self._events is None and now >= self._retry_at:
            self._begin_events(now)
        elif self._unannounced_at is not None and now >= self._unannounced_at + _EVENT_DELAY_SECONDS:
            self._begin_polling(now, "files change without events, as on a network drive")
        self._follow(now)
        if self._settling.due_in(now) is None and _look(self._settling.settled) != self._settling.settled:
            self._glance(now)
            self._settling.hint(now)
            self._unannounced_at = now if self._events is not None else None

    def _follow(self, now: float) -> None:
        """Watch the folders that matter now; what happened in a new one before that gave no event."""
        if self._events is None:
            return
        if not self._events.alive:
            self._begin_polling(now, "the observer of file events has ended")
            return
        way = trail(self._settling.settled)
        # Nobody will tell that a file was closed where nobody looks any more.
        self._being_written = {path for path in self._being_written if way.leads_over(path)}
        try:
            if self._events.follow(way):
                self._glimpsed = None
                self._settling.hint(now)
        except Exception as error:  # noqa: BLE001 -- watchdog fails with more than OSError, and looking goes on
            self._begin_polling(now, _reason(error))

    def _begin_events(self, now: float) -> None:
        # Here, because loading watchdog takes a while that a program which never watches should not wait for.
        from .folder_events import FolderEvents

        try:
            self._events = FolderEvents(self._inbox.put, self._make_observer)
        except OSError as error:
            self._begin_polling(now, _reason(error))
            return
        self._follow(now)
        if self._events is None:
            return
        if self._state.degraded:
            _LOG.info("settings files are watched through file events again")
        self._state = WatchState("events")

    def _begin_polling(self, now: float, degraded: str = "") -> None:
        if self._events is not None:
            self._events.stop()
            self._events = None
        if degraded:
            self._retry_at = now + self._retry_seconds
        if degraded and degraded != self._state.degraded:
            rhythm = f"every {self._polling_seconds:g} s; trying events again every {self._retry_seconds:g} s"
            _LOG.warning("settings files are looked at %s: %s", rhythm, degraded)
        self._state = WatchState("polling", degraded)
        self._being_written.clear()
        self._unannounced_at = None
        self._glance(now)
        self._settling.hint(now)


def _is_digest(value: str) -> bool:
    """Of a file that was read, or is missing; folders, and files that cannot be read, have other values."""
    return len(value) in (0, 64)


def _look(paths: Iterable[Path]) -> Contents:
    return {path: contents(path) for path in paths}


def _glimpse(paths: Iterable[Path]) -> dict[Path, Signature | None]:
    return {member: signature for path in paths for member, signature in signatures(path).items()}


def _reason(error: Exception) -> str:
    match getattr(error, "errno", None):
        case errno.ENOSPC:
            return "inotify watches are exhausted: raise fs.inotify.max_user_watches"
        case errno.EMFILE:
            return "inotify instances are exhausted: raise fs.inotify.max_user_instances (or the limit of open files)"
    return f"file events are not available: {str(error) or type(error).__name__}"
