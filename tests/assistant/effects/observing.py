"""Changes settings of a running assistant, notes which ones, and says which of them a test observes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from capibara.assistant import Assistant
from capibara.config.generation import Change
from capibara.config.keys import Setting, all_settings, setting_at
from capibara.config.persist import replace_file, write_settings
from capibara.config.sources import split_key

Test = TypeVar("Test", bound=Callable[..., object])
PATIENCE = 60.0
"""Seconds after which something that has not happened counts as missing."""


def observes(*keys: str) -> Callable[[Test], Test]:
    """Marks a test, or one that is parametrised over ``key``, that sees what a change of each setting does."""

    def marked(test: Test) -> Test:
        test.__dict__["observes"] = frozenset(keys)
        return test

    return marked


def live_settings() -> list[Setting]:
    return [setting for setting in all_settings() if setting.live]


def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.005)


def taken_up(assistant: Assistant, save: Callable[[], object]) -> None:
    """Save a file, and wait until ``assistant`` has read it: what came of that is in its ``last_reload``."""
    last = assistant.last_reload
    save()
    until(lambda: assistant.last_reload is not last)


class Changes:
    """The changes that one test makes; what it changed is as it was when the test is over."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        """Of the settings that were changed, as the schema has them."""
        self._undo: list[Callable[[], object]] = []

    def __call__(self, assistant: Assistant, values: Mapping[str, Any]) -> None:
        """Set ``values`` while ``assistant`` runs; each must be a change."""
        self._undo.append(assistant.revert)
        changes = assistant.update(values).changes
        assert {change.key for change in changes} >= set(values), "a value is what it was before"
        self._note(change for change in changes if change.key in values)

    def save(self, assistant: Assistant, file: Path, values: Mapping[str, Any]) -> None:
        """Write ``values`` into the settings file that ``assistant`` watches, and wait until they were taken up."""
        before = file.read_bytes()
        self._undo.append(lambda: taken_up(assistant, lambda: replace_file(file, before)))
        taken_up(assistant, lambda: write_settings(file, values))
        assert assistant.last_reload.ok
        self._note(assistant.last_reload.changes)

    def undo(self) -> None:
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    def _note(self, changes: Iterable[Change]) -> None:
        for change in changes:
            setting = setting_at(split_key(change.key))
            assert setting is not None
            self.keys.add(setting.key)
