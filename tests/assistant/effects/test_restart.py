"""What only a restart can change is refused while the assistant runs, and nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from capibara.assistant import Assistant
from capibara.config import ConfigError
from capibara.config.keys import all_settings
from capibara.config.persist import replace_file, write_settings

from .observing import taken_up

RESTART = [setting.key for setting in all_settings() if not setting.live]
OTHER = {
    "data_dir": "/elsewhere",
    "model.threads": 3,
    "rag.embedding_model": "/nowhere/model",
    "rag.embedding_backend": "torch",
    "rag.sparse_index": "fts5",
}


@pytest.mark.parametrize("key", RESTART)
def test_a_setting_that_needs_a_restart_is_refused_by_name_and_nothing_changes(assistant: Assistant, key: str):
    before = (assistant.generation, assistant.settings, assistant.history(), assistant.loaded)
    with pytest.raises(ConfigError, match="can only change with a restart") as caught:
        assistant.update({key: OTHER[key], "rag.top_k": 3})
    [problem] = caught.value.problems
    assert key in problem.message
    assert not assistant.last_reload.ok
    assert (assistant.generation, assistant.settings, assistant.history(), assistant.loaded) == before
    assert len(assistant.search("Who keeps the notebooks?").passages) > 3


@pytest.mark.parametrize("key", RESTART)
def test_a_saved_file_that_asks_for_a_restart_is_refused_as_a_whole(assistant: Assistant, data_dir: Path, key: str):
    file = data_dir / "capibara.toml"
    before, settings = file.read_bytes(), assistant.settings
    try:
        taken_up(assistant, lambda: write_settings(file, {key: OTHER[key], "rag.top_k": 3}))
        assert not assistant.last_reload.ok
        assert [key in problem.message for problem in assistant.last_reload.problems] == [True]
        assert assistant.settings is settings
    finally:
        taken_up(assistant, lambda: replace_file(file, before))
    assert assistant.last_reload.result == "unchanged"
