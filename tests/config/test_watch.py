"""One save, one call: however an editor or an orchestrator saves, with events of the system and without."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from pathlib import Path

import pytest

from .watching import EVENTS, LIMIT, POLLING, QUIET, as_vim, by_replacing, either_way, in_place

SAVES_IN_A_ROW = 4


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
