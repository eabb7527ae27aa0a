"""One save, one call: however an editor or an orchestrator saves, with events of the system and without."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.observers import Observer

from capibara.config.watch import FileWatcher, WatchState

QUIET = 0.03
FOREVER = 60.0
"""Longer than any test: what would wait for it fails."""

LIMIT = 15.0
SAVES_IN_A_ROW = 4

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


@pytest.fixture
def settings(tmp_path) -> Iterator[Settings]:
    made = Settings(tmp_path)
    yield made
    for watcher in made.watchers:
        watcher.stop()


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


def in_pieces(file: Path, text: str) -> None:
    with file.open("w") as out:
        for letter in text:
            time.sleep(QUIET / 5)
            out.write(letter)
            out.flush()


def by_another_link(file: Path, text: str) -> None:
    """As Kubernetes changes a mounted ConfigMap; the first time, the plain file becomes such a mount."""
    mount, data = file.parent, file.parent / "..data"
    old = data.resolve()
    new = mount / f"..{time.monotonic_ns()}"
    new.mkdir()
    (new / file.name).write_text(text)
    (mount / "..data_tmp").symlink_to(new.name)
    (mount / "..data_tmp").replace(data)
    if not file.is_symlink():
        (mount / "link").symlink_to(f"..data/{file.name}")
        (mount / "link").replace(file)
    if old != data:
        shutil.rmtree(old)


def by_deleting(file: Path, text: str) -> None:
    file.unlink()
    time.sleep(3 * QUIET)
    file.write_text(text)


def with_a_new_folder(file: Path, text: str) -> None:
    shutil.rmtree(file.parent)
    time.sleep(3 * QUIET)
    (file.parent / "config.d").mkdir(parents=True)
    file.write_text(text)


SAVES = [in_place, by_replacing, as_vim, by_another_link, by_deleting, with_a_new_folder]


@either_way
@pytest.mark.parametrize("save", SAVES)
def test_every_save_gives_one_call_once_it_is_complete(settings, how, save):
    if save is by_another_link:
        save(settings.file, "mounted")
    settings.watch(**how)
    for number in range(1, SAVES_IN_A_ROW + 1):
        save(settings.file, f"save {number}")
        settings.await_calls(number)
        settings.no_call_after(number)
    assert settings.seen == [f"save {number}" for number in range(1, SAVES_IN_A_ROW + 1)]


@pytest.mark.parametrize(
    "how",
    # Without events only the quiet between the pieces tells that there are more to come; a busy machine may stretch it.
    [{**EVENTS, "quiet": QUIET / 10}, {**POLLING, "quiet": 0.5}],
    ids=["events", "polling"],
)
def test_a_slow_write_gives_one_call_with_the_whole(settings, how):
    settings.watch(**how)
    for number in (1, 2):
        in_pieces(settings.file, f"save {number} in pieces")
        settings.await_calls(number)
        settings.no_call_after(number)
    assert settings.seen == [f"save {number} in pieces" for number in (1, 2)]


def test_a_file_that_stays_open_is_read_after_the_longest_wait(settings):
    settings.watch(**{**EVENTS, "longest": 0.3})
    with settings.file.open("w") as out:
        out.write("half")
        out.flush()
        settings.await_calls(1)
    assert settings.seen == ["half"]


@either_way
def test_the_last_of_many_saves_is_always_seen(settings, how):
    settings.watch(**{**how, "longest": 0.3})
    for number in range(100):
        by_replacing(settings.file, f"save {number}")
        time.sleep(0.005)
    with settings.told:
        assert settings.told.wait_for(lambda: settings.seen[-1:] == ["save 99"], LIMIT)
    assert len(settings.seen) <= 10


@either_way
def test_saves_without_end_are_seen_after_the_longest_wait(settings, how):
    settings.watch(**{**how, "quiet": 0.2, "longest": 0.3})
    end = time.monotonic() + LIMIT
    for number in itertools.count():
        by_replacing(settings.file, f"save {number}")
        if settings.seen:
            break
        assert time.monotonic() < end
        time.sleep(0.01)


@either_way
def test_what_leaves_the_contents_as_they_were_gives_no_call(settings, how):
    (settings.folder / "a.toml").write_text("a")
    settings.watch(**how)
    os.utime(settings.file)
    settings.file.chmod(0o600)
    assert settings.file.read_text() == "start"
    in_place(settings.file, "start")
    by_replacing(settings.file, "start")
    as_vim(settings.file, "start")
    in_place(settings.folder / "notes.txt", "not settings")
    (settings.folder / "a.toml").rename(settings.folder / "a.off")
    (settings.folder / "a.off").rename(settings.folder / "a.toml")
    settings.no_call_after(0, seconds=0.5 + 6 * QUIET)
    in_place(settings.file, "end")
    settings.await_calls(1)
    assert settings.seen == ["end"]


def test_there_and_back_before_it_settled_gives_no_call(settings):
    settings.watch(**{**EVENTS, "quiet": 0.3})
    in_place(settings.file, "other")
    in_place(settings.file, "start")
    settings.no_call_after(0, seconds=0.6)


@either_way
def test_entries_of_a_folder_come_change_and_go(settings, how):
    settings.watch(**{**how, "longest": 0.3})
    steps = [
        lambda: (settings.folder / "a.toml").write_text("a"),
        lambda: (settings.folder / "b.toml").write_text("b"),
        lambda: (settings.folder / "a.toml").write_text("c"),
        lambda: (settings.folder / "b.toml").unlink(),
        lambda: shutil.rmtree(settings.folder),
    ]
    for number, step in enumerate(steps, 1):
        step()
        settings.await_calls(number)
        settings.no_call_after(number)


@either_way
def test_entries_of_a_folder_that_is_mounted_by_links_change_together(settings, how):
    def mount(version: str) -> None:
        (settings.folder / version).mkdir()
        for name in ("a.toml", "b.toml"):
            (settings.folder / version / name).write_text(version)
        (settings.folder / "..data_tmp").symlink_to(version)
        (settings.folder / "..data_tmp").replace(settings.folder / "..data")

    mount("..1")
    for name in ("a.toml", "b.toml"):
        (settings.folder / name).symlink_to(f"..data/{name}")
    settings.watch(**how)
    for number in (1, 2):
        mount(f"..{number + 1}")
        shutil.rmtree(settings.folder / f"..{number}")
        settings.await_calls(number)
        settings.no_call_after(number)


@either_way
def test_a_file_in_folders_yet_to_come_is_seen(settings, how):
    settings.paths = [settings.file.parent / "deep" / "er" / "a.toml"]
    settings.watch(**how)
    settings.paths[0].parent.mkdir(parents=True)
    settings.paths[0].write_text("a")
    settings.await_calls(1)


@either_way
def test_renewed_paths_are_watched_and_the_others_no_more(settings, how):
    other = settings.file.parent.parent / "other" / "b.toml"
    other.parent.mkdir()
    other.write_text("b")
    watcher = settings.watch(**how)
    settings.paths = [other]
    watcher.renew()
    settings.no_call_after(0)
    in_place(settings.file, "nobody looks")
    settings.no_call_after(0)
    in_place(other, "changed")
    settings.await_calls(1)


@either_way
def test_paths_can_be_renewed_while_a_change_is_told(settings, how):
    other = settings.file.with_name("other.toml")

    def changed() -> None:
        settings.paths = [settings.file, other]
        settings.watchers[0].renew()
        settings.changed()

    settings.watch(changed, **how)
    in_place(settings.file, "one")
    settings.await_calls(1)
    settings.no_call_after(1)
    in_place(other, "two")
    settings.await_calls(2)


@either_way
def test_a_failing_call_does_not_end_watching(settings, how, caplog):
    def changed() -> None:
        settings.changed()
        raise ValueError("broken settings")

    settings.watch(changed, **how)
    for number in (1, 2):
        in_place(settings.file, f"save {number}")
        settings.await_calls(number)
    settings.no_call_after(2)
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info] == [("broken settings",)] * 2


@either_way
def test_stopping_ends_a_pending_change_and_the_thread_at_once(settings, how):
    before = set(threading.enumerate())
    watcher = settings.watch(**{**how, "quiet": FOREVER, "longest": FOREVER})
    in_place(settings.file, "never told")
    time.sleep(2 * QUIET)
    started = time.monotonic()
    watcher.stop()
    watcher.stop()
    assert time.monotonic() - started < 1.0
    assert watcher.state == WatchState("off")
    assert set(threading.enumerate()) <= before
    assert settings.seen == []


@either_way
def test_it_can_be_stopped_by_the_call_it_makes(settings, how):
    def changed() -> None:
        watcher.stop()
        settings.changed()

    watcher = settings.watch(changed, **how)
    in_place(settings.file, "last")
    settings.await_calls(1)
    await_state(watcher, "off")
    in_place(settings.file, "after")
    settings.no_call_after(1)


def test_a_watcher_starts_only_once(settings):
    with pytest.raises(RuntimeError, match="once"):
        settings.watch(**EVENTS).start()


def test_it_says_how_it_watches(settings):
    assert settings.watch(**EVENTS).state == WatchState("events")
    assert settings.watch(**POLLING).state == WatchState("polling")


@either_way
def test_waiting_costs_no_processor_time(settings, how):
    before = set(threading.enumerate())
    settings.watch(**{**how, "polling_seconds": 0.25})
    clocks = [time.pthread_getcpuclockid(thread.ident) for thread in set(threading.enumerate()) - before]
    started = sum(map(time.clock_gettime, clocks))
    time.sleep(0.5)
    assert clocks
    assert sum(map(time.clock_gettime, clocks)) - started < 0.02


FALLING_BACK = {**EVENTS, "polling_seconds": QUIET / 2, "poll_seconds": QUIET}


def test_when_the_observer_ends_files_are_polled_until_events_are_back(settings, caplog):
    observers = []

    def observer():
        observers.append(Observer())
        return observers[-1]

    watcher = settings.watch(**FALLING_BACK, retry_seconds=0.5, _observer=observer)
    observers[0].stop()
    assert "ended" in await_state(watcher, "polling").degraded
    in_place(settings.file, "while polling")
    settings.await_calls(1)
    assert await_state(watcher, "events") == WatchState("events")
    in_place(settings.file, "with events")
    settings.await_calls(2)
    settings.no_call_after(2)
    assert "the observer of file events has ended" in caplog.text


def test_when_only_the_watches_end_they_are_begun_again(settings):
    observers = []

    def observer():
        observers.append(Observer())
        return observers[-1]

    watcher = settings.watch(**FALLING_BACK, _observer=observer)
    observers[0].unschedule_all()
    in_place(settings.file, "new")
    settings.await_calls(1)
    settings.no_call_after(1)
    assert watcher.state == WatchState("events")


@pytest.mark.parametrize(
    ("number", "way_out"),
    [(errno.ENOSPC, "max_user_watches"), (errno.EMFILE, "max_user_instances"), (errno.EBADF, "not available")],
)
def test_when_the_system_gives_no_watches_files_are_polled(settings, number, way_out):
    class Exhausted(Observer):
        def schedule(self, *args, **kwargs):
            raise OSError(number, os.strerror(number))

    watcher = settings.watch(**{**EVENTS, "polling_seconds": QUIET / 2}, _observer=Exhausted)
    assert watcher.state.mode == "polling"
    assert way_out in watcher.state.degraded
    in_place(settings.file, "new")
    settings.await_calls(1)


def test_when_no_observer_can_be_made_files_are_polled_until_one_can(settings):
    refused = iter([True, True])

    def observer():
        if next(refused, False):
            raise OSError(errno.EMFILE, "inotify instance limit reached")
        return Observer()

    watcher = settings.watch(**FALLING_BACK, retry_seconds=0.1, _observer=observer)
    assert watcher.state.mode == "polling"
    await_state(watcher, "events")
    in_place(settings.file, "new")
    settings.await_calls(1)


def test_changes_without_events_are_found_and_files_are_polled_from_then_on(settings):
    class Deaf(Observer):
        def dispatch_events(self, event_queue):
            event_queue.get()

    watcher = settings.watch(**FALLING_BACK, _observer=Deaf)
    in_place(settings.file, "new")
    settings.await_calls(1)
    settings.no_call_after(1)
    assert "without events" in await_state(watcher, "polling").degraded
    in_place(settings.file, "newer")
    settings.await_calls(2)
