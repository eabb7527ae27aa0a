"""Files that a watcher looks at, what it told of them, and ways of saving them."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from capibara.config.watch import FileWatcher, WatchState

QUIET = 0.03
FOREVER = 60.0
"""Longer than any test: what would wait for it fails."""

LIMIT = 15.0
EVENTS = {"quiet": QUIET, "longest": FOREVER, "poll_seconds": FOREVER}
POLLING = {**EVENTS, "polling": True, "polling_seconds": QUIET / 2}
either_way = pytest.mark.parametrize("how", [EVENTS, POLLING], ids=["events", "polling"])


class Settings:
    """A settings file and a folder of more, and what a watcher told of them."""

    def __init__(self, root: Path) -> None:
        self.file = root / "etc" / "capibara.toml"
        self.folder = root / "etc" / "config.d"
        self.folder.mkdir(parents=True)
        self.file.write_text("start")
        self.paths = [self.file, self.folder]
        self.seen: list[str | None] = []
        self.told = threading.Condition()
        self.watchers: list[FileWatcher] = []

    def changed(self) -> None:
        with self.told:
            self.seen.append(self.file.read_text() if self.file.exists() else None)
            self.told.notify_all()

    def watch(self, changed: Callable[[], None] | None = None, **how) -> FileWatcher:
        watcher = FileWatcher(lambda: self.paths, changed or self.changed, **how)
        self.watchers.append(watcher)
        watcher.start()
        time.sleep(3 * min(how["quiet"], 0.2))  # it looks once in any case, which would hide that an event is missed
        return watcher

    def await_calls(self, count: int) -> None:
        with self.told:
            assert self.told.wait_for(lambda: len(self.seen) >= count, LIMIT), f"{len(self.seen)} of {count} calls"

    def no_call_after(self, count: int, seconds: float = 3 * QUIET) -> None:
        with self.told:
            assert not self.told.wait_for(lambda: len(self.seen) > count, seconds), self.seen


def await_state(watcher: FileWatcher, mode: str) -> WatchState:
    end = time.monotonic() + LIMIT
    while watcher.state.mode != mode:
        assert time.monotonic() < end, watcher.state
        time.sleep(0.01)
    return watcher.state


def in_place(file: Path, text: str) -> None:
    file.write_text(text)


def by_replacing(file: Path, text: str) -> None:
    new = file.with_suffix(".tmp")
    new.write_text(text)
    new.replace(file)


def as_vim(file: Path, text: str) -> None:
    backup = file.with_name(file.name + "~")
    shutil.copy(file, backup)
    backup.unlink()
    file.rename(backup)
    with file.open("w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    backup.unlink()
