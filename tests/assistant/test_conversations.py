"""Conversations survive a restart, keep their order, and refuse what does not fit."""

import sqlite3

import pytest

from capibara.assistant.conversations import ConversationStore
from capibara.assistant.errors import AssistantError, UnknownConversation
from capibara.assistant.values import Answer, Citation

CITATION = Citation(1, "notes/a.md", "d1", "A", 3, 10, 14, "ñandú")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "conversations.sqlite3"


@pytest.mark.parametrize("count", [0, 1, 5])
def test_turns_come_back_in_order_after_a_restart(path, count):
    store = ConversationStore(path)
    conversation = store.start("default")
    for number in range(count):
        store.append(conversation, f"q{number}", Answer(f"a{number}", f"whole q{number}", (CITATION,)))
    store.close()
    store = ConversationStore(path)
    turns = store.turns(conversation)
    assert [(turn.question, turn.standalone_question, turn.answer) for turn in turns] == [
        (f"q{number}", f"whole q{number}", f"a{number}") for number in range(count)
    ]
    assert all(turn.citations == (CITATION,) for turn in turns)
    assert store.turns(conversation, last=2) == turns[-2:]
    store.close()


def test_conversations_do_not_see_each_other_and_are_listed_newest_first(path):
    store = ConversationStore(path)
    first, second = store.start("a"), store.start("b")
    store.append(first, "q", Answer("a", "q"))
    assert store.turns(second) == []
    assert store.ids() == [second, first]
    store.remove(first)
    assert store.ids() == [second]
    store.close()


def test_unknown_conversations_are_refused_by_name(path):
    store = ConversationStore(path)
    with pytest.raises(UnknownConversation, match="nowhere"):
        store.turns("nowhere")
    with pytest.raises(UnknownConversation, match="nowhere"):
        store.append("nowhere", "q", Answer("a", "q"))
    store.close()


def test_a_file_of_a_newer_version_is_refused(path):
    ConversationStore(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(AssistantError, match="newer version"):
        ConversationStore(path)


def test_a_file_that_is_no_database_is_refused_by_name(path):
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(AssistantError, match=r"conversations\.sqlite3"):
        ConversationStore(path)


def test_an_answer_cut_short_keeps_what_was_heard_and_is_marked(path):
    store = ConversationStore(path)
    conversation = store.start("default")
    numbers = [store.append(conversation, f"q{n}", Answer(f"a{n} and more", "q", (CITATION,))) for n in range(3)]
    store.cut_short(conversation, numbers[1], "a1", ())
    store.append(conversation, "q3", Answer("a3", "q"), interrupted=True)
    store.close()
    store = ConversationStore(path)
    assert [(turn.answer, len(turn.citations), turn.interrupted) for turn in store.turns(conversation)] == [
        ("a0 and more", 1, False),
        ("a1", 0, True),
        ("a2 and more", 1, False),
        ("a3", 0, True),
    ]
    store.close()


FIRST_VERSION = """
CREATE TABLE conversation (id TEXT PRIMARY KEY, collection TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
CREATE TABLE turn (
    conversation_id TEXT NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
    ordinal INTEGER NOT NULL,
    question TEXT NOT NULL,
    standalone_question TEXT NOT NULL,
    answer TEXT NOT NULL,
    citations TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (conversation_id, ordinal)
) STRICT;
INSERT INTO conversation VALUES ('c', 'default', '2026-01-01');
INSERT INTO turn VALUES ('c', 0, 'q', 'q', 'a', '[]', '2026-01-01');
PRAGMA user_version = 1;
"""


def test_a_file_of_the_first_version_is_taken_over(path):
    db = sqlite3.connect(path)
    db.executescript(FIRST_VERSION)
    db.close()
    store = ConversationStore(path)
    store.append("c", "q1", Answer("a1", "q1"), interrupted=True)
    assert [(turn.answer, turn.interrupted) for turn in store.turns("c")] == [("a", False), ("a1", True)]
    store.close()
    ConversationStore(path).close()


def test_a_closed_store_says_so_and_does_not_call_the_file_damaged(tmp_path):
    store = ConversationStore(tmp_path / "c.sqlite3")
    store.close()
    with pytest.raises(AssistantError, match="are closed"):
        store.start("default")
