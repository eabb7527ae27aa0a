"""A settings file that is saved has the same effects as a change by the program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from capibara.assistant import Assistant
from capibara.assistant.errors import QuestionTooLong

from .observing import Changes, observes
from .test_answers import KEY
from .test_model import loaded


def refused(assistant: Assistant) -> bool:
    try:
        assistant.ask(KEY)
    except QuestionTooLong:
        return True
    return False


SAVED: dict[str, tuple[Any, Callable[[Assistant], object], object]] = {
    "rag.top_k": (2, lambda assistant: len(assistant.search(KEY).passages), 2),
    "rag.reranker": ("none", lambda assistant: assistant.search(KEY).passages[0].scores.reranked, None),
    "assistant.least_support": (1.0, lambda assistant: assistant.ask(KEY).abstained, True),
    "model.context_tokens": (128, lambda assistant: loaded(assistant).context_tokens, 128),
    "limits.question_characters": (20, refused, True),
}


@observes(*SAVED)
@pytest.mark.parametrize("key", SAVED)
def test_what_is_saved_is_taken_up(assistant: Assistant, change: Changes, data_dir: Path, key: str):
    value, seen, expected = SAVED[key]
    assert seen(assistant) != expected
    change.save(assistant, data_dir / "capibara.toml", {key: value})
    assert seen(assistant) == expected
