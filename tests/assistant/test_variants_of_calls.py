"""Calls that are no request of a conversation use the settings outside any variant, whatever the shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from capibara.assistant import Assistant, UnknownVariant

SETTINGS = """\
[model]
path = "{nowhere}/one"
[variants.letters]
share = 1.0
[variants.letters.set.assistant]
collection = "letters"
[variants.letters.set.model]
path = "{nowhere}/other"
"""
QUERY = "Where does the spare key hang?"


@pytest.fixture
def assistant(tmp_path: Path) -> Iterator[Assistant]:
    """Every request that is assigned a variant gets ``letters``."""
    (tmp_path / "note.txt").write_text("The spare key hangs behind the blue kayak.")
    (tmp_path / "capibara.toml").write_text(SETTINGS.format(nowhere=tmp_path.as_posix()), "utf-8")
    with Assistant.open(tmp_path) as assistant:
        assistant.ingest(tmp_path / "note.txt")
        yield assistant


def test_documents_go_where_the_settings_outside_any_variant_say(assistant: Assistant):
    assert [document.collection for document in assistant.documents()] == ["default"]


def test_a_search_is_outside_any_variant_unless_it_names_one(assistant: Assistant):
    assert assistant.search(QUERY).passages
    assert not assistant.search(QUERY, variant="letters").passages
    with pytest.raises(UnknownVariant, match="no variant 'post'"):
        assistant.search(QUERY, variant="post")


def test_a_conversation_is_begun_over_the_collection_outside_any_variant(assistant: Assistant):
    assert assistant.conversations.collection(assistant.start_conversation()) == "default"


def test_the_model_outside_any_variant_is_loaded_ahead(assistant: Assistant):
    assistant.warm_up()
    with assistant._live.pin(variant="default") as default, assistant._live.pin(variant="letters") as letters:
        assert default.parts["language"].asked
        assert not letters.parts["language"].asked
