"""The least severity of what is logged, as the settings say it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..config.schema import Settings
from ..config.subscribers import Objection


class LogLevel:
    """The `Subscriber` that sets the level of the logger ``capibara``. An untouched setting leaves the level alone, so
    that a program which embeds the assistant keeps its own."""

    name = "logging"
    keys = ("logging.level",)

    def check(self, settings: Settings) -> Iterable[Objection]:  # noqa: ARG002 -- every level can be set
        return ()

    def prepare(self, settings: Settings, before: str | None) -> str:
        """Another level than before, or than the default, is to be set."""
        level = settings.logging.level
        return level.upper() if before is not None or level != _default() else ""

    def activate(self, part: str) -> None:
        if part:
            logging.getLogger("capibara").setLevel(part)

    def retire(self, part: str) -> None:
        """Nothing is kept."""


def _default() -> str:
    return Settings().logging.level
