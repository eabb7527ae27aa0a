"""A watcher's life: it goes on after failures, falls back to polling and comes back, and ends at once."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest
from watchdog.observers import Observer

from capibara.config.watch import WatchState

from .watching import EVENTS, FOREVER, POLLING, QUIET, await_state, either_way, in_place


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
