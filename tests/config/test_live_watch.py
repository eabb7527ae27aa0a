"""Watched settings files: what editors and broken disks do to them changes everything at once, or nothing."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from .parts import live, write

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from save_styles import STYLES, mount

QUICK = {"quiet": 0.05, "longest": 0.5, "poll_seconds": 0.5, "polling_seconds": 0.02}


def text(number: int) -> str:
    return f"[rag]\nrrf_k = {number}\n"


def until(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture(params=[False, True], ids=["events", "polling"])
def watched(request, tmp_path):
    """Live settings over a file that is watched, and the file."""
    file = tmp_path / "settings" / "capibara.toml"
    write(file, text(1))
    settings = live(file)
    settings.watch(polling=request.param, **QUICK)
    yield settings, file
    settings.close()


@pytest.mark.parametrize("style", [style for style in STYLES if style != "..data swap"])
def test_each_way_of_saving_gives_exactly_one_generation(watched, style):
    settings, file = watched
    for number in range(2, 7):
        STYLES[style](file, text(number))
        assert until(lambda number=number: settings.generation >= number)
        time.sleep(4 * QUICK["quiet"])
        assert (settings.generation, settings.snapshot.settings.rag.rrf_k) == (number, number)


@pytest.mark.parametrize("polling", [False, True], ids=["events", "polling"])
def test_a_swapped_mount_gives_exactly_one_generation(tmp_path, polling):
    file = tmp_path / "capibara.toml"
    mount(file, text(1))
    settings = live(file)
    settings.watch(polling=polling, **QUICK)
    for number in range(2, 7):
        mount(file, text(number))
        assert until(lambda number=number: settings.generation >= number)
        time.sleep(4 * QUICK["quiet"])
        assert (settings.generation, settings.snapshot.settings.rag.rrf_k) == (number, number)
    settings.close()


def test_a_hundred_saves_in_a_second_end_with_the_last(watched):
    settings, file = watched
    for number in range(2, 102):
        STYLES["os.replace"](file, text(number))
        time.sleep(0.01)
    assert until(lambda: settings.snapshot.settings.rag.rrf_k == 101)
    assert settings.generation < 60


def test_a_broken_file_changes_nothing_and_the_next_good_save_recovers(watched):
    settings, file = watched
    for broken in ("[rag\nrrf_k = 2", "[rag]\nrrf_k = 'two'\n", "[rag]\nrrf_k = 2\nrrf_k = 3\n", "\0" * 10):
        seen = settings.last_result
        file.write_text(broken)
        assert until(lambda seen=seen: settings.last_result is not seen)
        assert settings.last_result.result == "failed"
        assert settings.snapshot.settings.rag.rrf_k == 1
    file.write_text(text(5))
    assert until(lambda: settings.snapshot.settings.rag.rrf_k == 5)
    assert settings.last_result.ok


def test_a_broken_file_is_told_once_and_not_again_at_every_look(watched, caplog):
    settings, file = watched
    file.write_text("[rag]\nrrf_k = 'two'\n")
    assert until(lambda: not settings.last_result.ok)
    time.sleep(3 * QUICK["poll_seconds"])
    assert caplog.text.count("rag.rrf_k must be") == 1


def test_a_deleted_file_changes_nothing_and_is_taken_up_when_it_is_back(watched):
    settings, file = watched
    file.unlink()
    assert until(lambda: not settings.last_result.ok)
    assert settings.snapshot.settings.rag.rrf_k == 1
    file.write_text(text(2))
    assert until(lambda: settings.snapshot.settings.rag.rrf_k == 2)


def test_a_deleted_folder_changes_nothing_and_is_taken_up_when_it_is_back(watched):
    settings, file = watched
    shutil.rmtree(file.parent)
    assert until(lambda: not settings.last_result.ok)
    write(file, text(2))
    assert until(lambda: settings.snapshot.settings.rag.rrf_k == 2)
    file.write_text(text(3))
    assert until(lambda: settings.snapshot.settings.rag.rrf_k == 3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_changes_nothing(watched):
    settings, file = watched
    file.chmod(0)
    assert until(lambda: not settings.last_result.ok)
    assert settings.snapshot.settings.rag.rrf_k == 1
    file.chmod(0o600)
    file.write_text(text(2))
    assert until(lambda: settings.snapshot.settings.rag.rrf_k == 2)


def test_a_file_of_ten_megabytes_is_refused_by_name(watched):
    settings, file = watched
    file.write_text("#" * 10_000_000)
    assert until(lambda: not settings.last_result.ok)
    assert "larger than 1 MiB" in str(settings.last_result.problems[0])


@pytest.mark.parametrize("belongs", ["base.toml", "config.d/10-team.toml"])
def test_a_file_that_belongs_to_the_settings_is_watched_as_they_are(watched, belongs):
    settings, file = watched
    write(file.parent / belongs, "[rag]\nalpha = 0.1\n")
    write(file, ('extends = "./base.toml"\n' if belongs == "base.toml" else "") + text(1))
    assert until(lambda: settings.snapshot.settings.rag.alpha == 0.1)
    write(file.parent / belongs, "[rag]\nalpha = 0.2\n")
    assert until(lambda: settings.snapshot.settings.rag.alpha == 0.2)


def test_a_file_removed_from_config_d_counts_no_more(watched):
    settings, file = watched
    write(file.parent / "config.d" / "10-team.toml", "[rag]\nalpha = 0.1\n")
    assert until(lambda: settings.snapshot.settings.rag.alpha == 0.1)
    (file.parent / "config.d" / "10-team.toml").unlink()
    assert until(lambda: settings.snapshot.settings.rag.alpha == 0.5)


def test_a_text_that_the_settings_name_is_watched_as_they_are(watched):
    settings, file = watched
    write(file.parent / "persona.md", "You are brief.\n")
    write(file, text(1) + '[assistant]\npersona = "./persona.md"\n')
    assert until(lambda: settings.snapshot.settings.assistant.persona == "You are brief.")
    write(file.parent / "persona.md", "You are kind.\n")
    assert until(lambda: settings.snapshot.settings.assistant.persona == "You are kind.")


def test_a_file_that_is_made_after_the_start_is_taken_up(tmp_path):
    file = tmp_path / "capibara.toml"
    settings = live(file)
    settings.watch(**QUICK)
    write(file, text(9))
    assert until(lambda: settings.snapshot.settings.rag.rrf_k == 9)
    settings.close()


def test_what_was_saved_between_the_first_reading_and_the_watch_is_not_missed(tmp_path):
    file = tmp_path / "capibara.toml"
    write(file, text(1))
    settings = live(file)
    write(file, text(2))
    settings.watch(**QUICK)
    assert settings.snapshot.settings.rag.rrf_k == 2
    settings.close()


def test_a_persisted_update_is_not_taken_for_a_change_of_the_file(watched):
    settings, file = watched
    settings.update({"rag.alpha": 0.3}, persist=True)
    time.sleep(1.0)
    assert settings.generation == 2
    assert "alpha = 0.3" in file.read_text()


@pytest.mark.parametrize("polling", [False, True], ids=["events", "polling"])
def test_a_save_that_is_under_way_is_not_read_half(tmp_path, polling):
    file = tmp_path / "capibara.toml"
    limits = "[limits]\nconcurrent_requests = 2\n"
    write(file, text(2) + limits)
    settings, seen = live(file), set()
    settings.on_change([], lambda changes: seen.update(change.key for change in changes))
    quiet = 0.4  # much longer than the pause within the save, on a busy machine too
    settings.watch(polling=polling, quiet=quiet, longest=10.0, polling_seconds=0.02)
    for number in (4, 5, 6):
        STYLES["os.replace"](file, text(number) + limits)
        time.sleep(quiet)  # the save before is about to be taken up
        with file.open("w") as stream:
            stream.write("[rag]\n")
            stream.flush()
            time.sleep(0.02)
            stream.write("rrf_k = 3\n" + limits)
        assert until(lambda: settings.snapshot.settings.rag.rrf_k == 3)
    settings.close()
    assert seen == {"rag.rrf_k"}


def test_a_file_that_is_set_back_while_its_change_is_being_refused_is_noticed(watched):
    """The listener to the log stands for a user who is quicker than the watcher."""
    settings, file = watched

    class SetBack(logging.Handler):
        def emit(self, record):
            STYLES["os.replace"](file, text(1))

    handler = SetBack(logging.ERROR)
    logging.getLogger("capibara.config.attempts").addHandler(handler)
    try:
        STYLES["os.replace"](file, text(1) + "topk = 1\n")
        assert until(lambda: settings.last_result.result == "unchanged", 8.0)
    finally:
        logging.getLogger("capibara.config.attempts").removeHandler(handler)
    assert settings.last_result.ok
    assert settings.generation == 1


def test_watching_ends_with_the_settings_and_leaves_no_thread(tmp_path):
    before = set(threading.enumerate())
    settings = live(tmp_path / "capibara.toml")
    settings.watch(**QUICK)
    assert settings.watching.mode == "events"
    settings.close()
    assert until(lambda: set(threading.enumerate()) <= before)
    assert settings.watching.mode == "off"
