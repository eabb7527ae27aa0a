"""A change counts when it has settled, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from capibara.config.fingerprint import EMPTY, FOLDER
from capibara.config.settling import Settling

MAIN, FOLDER_PATH, ENTRY = Path("a.toml"), Path("d"), Path("d/b.toml")


def holding(main: str | None = "old", **entries: str) -> dict:
    members = {FOLDER_PATH / f"{name}.toml": value for name, value in entries.items()}
    return {MAIN: {MAIN: main}, FOLDER_PATH: {FOLDER_PATH: FOLDER, **members}}


@pytest.fixture
def settling() -> Settling:
    made = Settling(quiet=1, longest=5)
    made.start_from(holding(b="old"))
    made.hint(0)
    return made


@pytest.mark.parametrize(
    "found", [holding("new", b="old"), holding(b="new"), holding(b="old", c="new"), holding("new", b="new")]
)
def test_other_contents_settle_once(settling, found):
    assert settling.settles(found, 1)
    assert settling.due_in(1) is None
    settling.hint(2)
    assert not settling.settles(found, 3)
    assert settling.due_in(3) is None


def test_the_same_contents_settle_nothing(settling):
    assert not settling.settles(holding(b="old"), 1)
    assert settling.due_in(1) is None


@pytest.mark.parametrize(
    "found",
    [
        holding(None, b="old"),
        holding(EMPTY, b="old"),
        holding(),
        holding(b=EMPTY),
        holding(b="old", c=EMPTY),
        {MAIN: {MAIN: "new"}, FOLDER_PATH: {FOLDER_PATH: None}},
    ],
    ids=["gone", "emptied", "entry gone", "entry emptied", "new and empty", "folder gone"],
)
def test_what_looks_half_saved_waits_for_the_maximum(settling, found):
    assert not settling.settles(found, 1)
    assert settling.due_in(1) == 4
    assert settling.settles(found, 5)


def test_what_is_being_written_waits_for_another_hint_or_the_maximum(settling):
    half = holding("half", b="old")
    assert not settling.settles(half, 1, being_written=True)
    settling.hint(2)
    assert settling.due_in(2) == 1
    assert not settling.settles(half, 3, being_written=True)
    assert settling.settles(half, 5, being_written=True)


def test_a_file_that_was_empty_or_missing_before_may_stay_so():
    settling = Settling(quiet=1, longest=5)
    settling.start_from(holding(EMPTY))
    settling.hint(0)
    assert settling.settles(holding(EMPTY, b="new"), 1)
    settling.hint(2)
    assert not settling.settles(holding(None, b="new"), 3)
    assert settling.settles(holding(None, b="new"), 7)
    settling.hint(8)
    assert settling.settles(holding(None, b="newer"), 9)


def test_new_paths_begin_as_found_and_known_ones_keep_what_was_settled():
    settling = Settling(quiet=1, longest=5)
    settling.start_from({MAIN: {MAIN: "old"}})
    settling.start_from(holding("changed meanwhile", b="found"))
    assert settling.settled == holding("old", b="found")
    settling.start_from({FOLDER_PATH: {FOLDER_PATH: FOLDER}})
    assert settling.settled == {FOLDER_PATH: {FOLDER_PATH: FOLDER, ENTRY: "found"}}
