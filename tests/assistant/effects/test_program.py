"""What concerns the program as a whole: its log, and the key to the hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from capibara.assistant import Assistant
from capibara.assistant.hub import HubError, pull

from ..hub_server import Hub, serving
from .observing import Changes, observes


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What the program logs; its level is afterwards what it was."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("capibara")
    level = logger.level
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


@observes("logging.level")
def test_what_is_logged_is_as_severe_as_is_set(assistant: Assistant, change: Changes, logged: list[str]):
    """That a setting changed is logged as information."""
    change(assistant, {"rag.top_k": 9})
    assert logged == []
    change(assistant, {"logging.level": "info"})
    change(assistant, {"rag.top_k": 8})
    assert "rag.top_k 9 -> 8" in logged[-1]


@observes("keys.hub")
def test_the_hub_is_shown_the_key_that_is_set(
    assistant: Assistant, change: Changes, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    def fetched() -> int:
        key = assistant.settings.keys.hub
        return pull("tiny/model", token=key.get_secret_value() if key else None).files

    with serving(Hub(files={"config.json": b"{}", "model.safetensors": b"weights"}, token="hf_s3cret")) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(HubError, match=r"set keys\.hub"):
            fetched()
        change(assistant, {"keys.hub": "hf_s3cret"})
        assert fetched() == 2
