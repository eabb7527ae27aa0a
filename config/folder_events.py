"""The operating system's events for the folders that watched paths lead over, through watchdog."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from watchdog import events
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, EventEmitter, ObservedWatch

from .fingerprint import Trail

_STOP_SECONDS = 0.5

_WANTED: list[type[events.FileSystemEvent]] = [
    # Neither opened nor closed without writing: reading a file is no event, and costs no wake-up.
    events.FileCreatedEvent,
    events.FileModifiedEvent,
    events.FileAttribEvent,
    events.FileClosedEvent,
    events.FileMovedEvent,
    events.FileDeletedEvent,
    events.DirCreatedEvent,
    events.DirAttribEvent,
    events.DirMovedEvent,
    events.DirDeletedEvent,
]


@dataclass(frozen=True, slots=True)
class EntryEvent:
    """Something happened to an entry of a folder. ``being_written`` is None where the event does not tell."""

    path: Path
    being_written: bool | None = None


class FolderEvents:
    """Sends the events of the entries a `Trail` leads over. Not thread-safe, and ``send`` is called on other threads.

    Folders are watched, never single files: a watch of a file ends when the file is replaced.

    Raises:
        OSError: the operating system gives no (more) watches.
    """

    def __init__(self, send: Callable[[EntryEvent], None], observer: Callable[[], BaseObserver] | None = None) -> None:
        self._handler = _Handler(send)
        self._watches: dict[Path, _Watch] = {}
        self._observer = (observer or Observer)()
        self._observer.start()

    @property
    def alive(self) -> bool:
        """Whether watchdog still passes events on; an exception ends its threads for good."""
        return self._observer.is_alive() and self._observer.should_keep_running()

    def follow(self, trail: Trail) -> bool:
        """Watch the folders of ``trail`` and no others; True where one is new, and may have changed before.

        A folder that was deleted and made again, or replaced by another, is new.

        Raises:
            OSError: a folder cannot be watched.
        """
        self._handler.trail = trail
        for folder, watch in list(self._watches.items()):
            if folder not in trail.folders or not watch.follows(folder):
                del self._watches[folder]
                with suppress(KeyError):  # an observer that has been stopped has forgotten its watches
                    self._observer.unschedule(watch.watch)
        new = trail.folders - self._watches.keys()
        for folder in sorted(new):
            # A folder that has vanished meanwhile: the next trail ends before it.
            with suppress(FileNotFoundError, NotADirectoryError):
                self._watches[folder] = self._schedule(folder)
        return bool(new)

    def stop(self) -> None:
        """End watchdog's threads."""
        self._watches.clear()
        self._observer.stop()
        self._observer.join(_STOP_SECONDS)

    def _schedule(self, folder: Path) -> _Watch:
        identity = _identity(folder)
        if not os.access(folder, os.R_OK):  # watchdog passes over this error, and no event would ever come
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        watch = self._observer.schedule(self._handler, str(folder), event_filter=_WANTED)
        emitter = next(emitter for emitter in self._observer.emitters if emitter.watch == watch)
        return _Watch(watch, emitter, identity)


@dataclass(frozen=True, slots=True)
class _Watch:
    watch: ObservedWatch
    emitter: EventEmitter
    identity: tuple[int, int]

    def follows(self, folder: Path) -> bool:
        """Whether events of what is now at ``folder`` still come."""
        try:
            same = _identity(folder) == self.identity
        except OSError:
            return False
        return same and self.emitter.is_alive() and self.emitter.should_keep_running()


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


class _Handler(events.FileSystemEventHandler):
    """Filters and sends, no more: an exception in here would end watchdog's thread."""

    def __init__(self, send: Callable[[EntryEvent], None]) -> None:
        self.trail = Trail()
        self._send = send

    def on_created(self, event: events.FileSystemEvent) -> None:
        self._pass_on(event.src_path)

    def on_modified(self, event: events.FileSystemEvent) -> None:
        # Only Linux tells when the file is closed.
        self._pass_on(event.src_path, being_written=True if sys.platform == "linux" else None)

    def on_attrib(self, event: events.FileSystemEvent) -> None:
        self._pass_on(event.src_path)

    def on_closed(self, event: events.FileSystemEvent) -> None:
        self._pass_on(event.src_path, being_written=False)

    def on_moved(self, event: events.FileSystemEvent) -> None:
        self._pass_on(event.src_path, being_written=False)
        self._pass_on(event.dest_path, being_written=False)

    def on_deleted(self, event: events.FileSystemEvent) -> None:
        self._pass_on(event.src_path, being_written=False)

    def _pass_on(self, name: bytes | str, being_written: bool | None = None) -> None:
        path = Path(os.fsdecode(name))
        trail = self.trail
        if trail.leads_over(path) or path in trail.folders:
            self._send(EntryEvent(path, being_written))
