"""Commands that run for long leave what is loaded out of collections of garbage."""

from __future__ import annotations

import gc
import io
import sys
import weakref
from collections.abc import Iterator

import pytest

from capibara.assistant.cli.collector import leave_out_what_is_loaded

from .command_line import WITHOUT_MODEL


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


class Cycle:
    def __init__(self) -> None:
        self.me = self


def test_what_is_there_is_left_out_and_garbage_of_later_is_still_found():
    kept = Cycle()
    leave_out_what_is_loaded()
    gone = weakref.ref(Cycle())
    assert not any(found is kept for found in gc.get_objects())
    gc.collect()
    assert gone() is None


def test_a_chat_does_so_after_its_first_answer(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Who bakes the rye bread?\n"))
    assert run("chat", *WITHOUT_MODEL)[0] == 0
    assert gc.get_freeze_count() > 0
