"""The truth: what is written is read back, all of it or nothing."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from capibara.config.schema import RagSettings
from capibara.rag import DataFolderLocked, Library, NewerSchema, StoreError
from capibara.rag.database import Database
from capibara.rag.lock import FolderLock
from capibara.rag.migrations import MIGRATIONS
from capibara.rag.rows import Piece
from capibara.rag.store import DATABASE_NAME, Store
from capibara.rag.values import Block, Document
from capibara.rag.versions import Versions


def make_document(source: str = "/a.txt", content: str = "hash", identity: str = "0" * 16) -> Document:
    return Document(identity, "default", source, "a", content, ingested_at="2026-01-01T00:00:00+00:00")


def store_text(store: Store, *pieces: tuple[Block, ...]) -> Document:
    versions = Versions(store.database)
    document = make_document()
    number = versions.begin(document, store.generation)
    start = 0
    for blocks in pieces:
        piece = Piece(start, blocks)
        versions.stage(number, [], [piece])
        start = piece.end
    versions.publish(number, document)
    return document


@pytest.mark.parametrize(
    ("start", "end"), [(0, 0), (0, 3), (2, 9), (5, 6), (0, 99), (-5, 4), (12, 13), (90, 99), (9, 2)]
)
def test_a_span_of_a_stored_document_is_the_slice_of_its_text(tmp_path: Path, start: int, end: int) -> None:
    pieces = ((Block("añb"), Block("cde\n", page=2)), (Block("fgh", heading=1),), (Block("日本\x00語"),))
    whole = "".join(block.text for blocks in pieces for block in blocks)
    store = Store.open(tmp_path)
    document = store_text(store, *pieces)
    assert store.text(document.id, start, end) == whole[max(start, 0) : max(end, 0)]
    store.close()


def test_the_blocks_of_a_document_come_back_as_its_loader_read_them(tmp_path: Path) -> None:
    pieces = ((Block("a", 1, None, "rows"), Block("b", 2, 3)), (Block("c", None, None, "code"),))
    store = Store.open(tmp_path)
    document = store_text(store, *pieces)
    assert list(store.blocks(document.id)) == [block for blocks in pieces for block in blocks]
    assert list(store.blocks("unknown")) == []
    store.close()


def test_a_staged_version_is_invisible_until_it_is_published(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    versions = Versions(store.database)
    number = versions.begin(make_document(), store.generation)
    assert store.documents() == []
    versions.publish(number, make_document())
    assert [document.source for document in store.documents()] == ["/a.txt"]
    store.close()


def test_what_was_staged_and_not_published_is_gone_after_a_restart(tmp_path: Path, tiny_settings: RagSettings) -> None:
    store = Store.open(tmp_path)
    Versions(store.database).begin(make_document(), store.generation)
    store.close()
    with Library.open(tmp_path, tiny_settings) as library:
        assert library.store.database.rows("SELECT COUNT(*) FROM documents") == [(0,)]


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(StoreError, match="UNIQUE"), store.database.transaction() as connection:  # noqa: PT012
        store.set_meta("key", "value")
        assert store.meta("key") == "value"
        connection.execute("INSERT INTO meta VALUES ('key', 'again')")
    assert store.meta("key") is None
    store.close()


def test_the_journal_is_never_a_write_ahead_log_even_in_a_file_that_was_switched_to_it(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE_NAME) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    store = Store.open(tmp_path)
    assert store.database.rows("PRAGMA journal_mode") == [("truncate",)]
    assert store.database.rows("PRAGMA synchronous") == [(2,)]
    assert store.database.rows("PRAGMA foreign_keys") == [(1,)]
    store.close()


def test_a_data_folder_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path, tiny_settings: RagSettings) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE_NAME) as connection:
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()
    before = (tmp_path / DATABASE_NAME).read_bytes()
    with pytest.raises(NewerSchema, match=r"newer version.*upgrade") as caught:
        Library.open(tmp_path, tiny_settings)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / DATABASE_NAME).read_bytes() == before


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / DATABASE_NAME).write_bytes(b"this is not a database, it is a text " * 99)
    with pytest.raises(StoreError, match=rf"{DATABASE_NAME} is damaged"):
        Store.open(tmp_path)


def test_a_second_owner_in_this_process_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(DataFolderLocked, match="in use by process"):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


def test_a_second_process_is_refused_with_the_folder_and_the_owner_named(
    tmp_path: Path, tiny_settings: RagSettings
) -> None:
    code = (
        "import sys; from pathlib import Path; from capibara.rag.lock import FolderLock; "
        "lock = FolderLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(DataFolderLocked) as caught:
            Library.open(tmp_path, tiny_settings)
        assert str(tmp_path) in str(caught.value)
        assert str(owner.pid) in str(caught.value)
        owner.kill()
        owner.wait()
    Library.open(tmp_path, tiny_settings).close()


def fail(*_: object) -> None:
    raise RuntimeError("broken")


@pytest.mark.parametrize("step", ["capibara.rag.versions.Versions.discard_staging", "capibara.rag.library.Indexes"])
def test_a_folder_whose_opening_fails_is_let_go_with_its_database(
    tmp_path: Path, tiny_settings: RagSettings, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    databases: list[Database] = []
    close = Database.close
    monkeypatch.setattr(Database, "close", lambda self: (databases.append(self), close(self))[1])
    with monkeypatch.context() as patch:
        patch.setattr(step, fail)
        with pytest.raises(RuntimeError, match="broken"):
            Library.open(tmp_path, tiny_settings)
    assert len(databases) == 1
    Library.open(tmp_path, tiny_settings).close()


@pytest.mark.parametrize("part", ["capibara.rag.indexes.Indexes.close", "capibara.rag.store.Store.close"])
def test_a_folder_of_which_a_part_does_not_close_is_let_go_all_the_same(
    tmp_path: Path, tiny_settings: RagSettings, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(part, fail)
        library = Library.open(tmp_path, tiny_settings)
        with pytest.raises(RuntimeError, match="broken"):
            library.close()
    Library.open(tmp_path, tiny_settings).close()
