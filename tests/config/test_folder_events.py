"""Which events of folders are passed on, and that folders are followed when they are replaced."""

from __future__ import annotations

import queue
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from capibara.config.fingerprint import trail
from capibara.config.folder_events import EntryEvent, FolderEvents

LIMIT = 10.0


class Followed:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.inbox: queue.Queue[EntryEvent] = queue.Queue()
        self.events = FolderEvents(self.inbox.put)

    def follow(self) -> bool:
        return self.events.follow(trail([self.file]))

    def until_closed(self) -> list[EntryEvent]:
        """Every event up to the one that the file was closed after writing."""
        seen = [self.inbox.get(timeout=LIMIT)]
        while seen[-1] != EntryEvent(self.file, being_written=False):
            seen.append(self.inbox.get(timeout=LIMIT))
        return seen


@pytest.fixture
def followed(tmp_path) -> Iterator[Followed]:
    (tmp_path / "etc").mkdir()
    made = Followed(tmp_path / "etc" / "a.toml")
    assert made.follow()
    yield made
    made.events.stop()
    assert not made.events.alive


def test_a_folder_is_new_only_once(followed):
    assert not followed.follow()


def test_writing_is_told_until_the_file_is_closed(followed):
    followed.file.write_text("a")
    assert EntryEvent(followed.file, being_written=True) in followed.until_closed()


def test_neither_reading_nor_other_files_are_told(followed):
    followed.file.write_text("a")
    followed.until_closed()
    followed.file.with_name("capibara.sqlite3").write_text("busy")
    assert followed.file.read_text() == "a"
    followed.file.write_text("b")
    assert set(followed.until_closed()) == {EntryEvent(followed.file, True), EntryEvent(followed.file, False)}


def test_a_move_over_the_file_is_told(followed):
    new = followed.file.with_name("new")
    new.write_text("a")
    new.replace(followed.file)
    assert followed.until_closed() == [EntryEvent(followed.file, being_written=False)]


def test_a_folder_that_was_replaced_is_followed_again(followed):
    folder = followed.file.parent
    folder.rename(folder.with_name("old"))
    folder.mkdir()
    assert followed.follow()
    followed.file.write_text("a")
    followed.until_closed()


def test_a_folder_that_was_deleted_and_made_again_is_followed_again(followed):
    for _ in range(3):
        shutil.rmtree(followed.file.parent)
        while followed.inbox.get(timeout=LIMIT).path != followed.file.parent:
            continue
        followed.follow()
        followed.file.parent.mkdir()
        assert followed.follow()
        followed.file.write_text("a")
        followed.until_closed()


def test_folders_that_lead_nowhere_any_more_are_left(followed, tmp_path):
    assert followed.events.follow(trail([tmp_path / "b.toml"]))
    followed.file.write_text("a")
    (tmp_path / "b.toml").write_text("b")
    assert followed.inbox.get(timeout=LIMIT).path == tmp_path / "b.toml"
