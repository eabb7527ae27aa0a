"""The seam between settings and what is made for them: models, indexes, log levels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from .schema import Settings


class Objection(Exception):
    """Why a setting cannot be used on this machine: ``key``, and one line with the reason and the way out."""

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(f"{key}: {reason}")


class Subscriber(Protocol):
    """Makes a part of the program for each generation of settings.

    A part is carried over from the generation before while no setting under ``keys`` differs; variants share parts in
    the same way. What `prepare` does must have no effect on parts that are in use.
    """

    @property
    def name(self) -> str: ...

    @property
    def keys(self) -> tuple[str, ...]:
        """Settings, or whole sections, that a part depends on."""
        ...

    def check(self, settings: Settings) -> Iterable[Objection]:
        """What stands against ``settings``, found without making anything: missing devices, too little memory."""
        ...

    def prepare(self, settings: Settings, before: Any | None) -> Any:
        """A part for ``settings``; ``before`` is the one it takes the place of, None at the start.

        Raises:
            Objection: there is none; the settings stay as they are.
        """
        ...

    def activate(self, part: Any) -> None:
        """The part is in use from now on."""
        ...

    def retire(self, part: Any) -> None:
        """Nobody uses the part any more, or its generation was cancelled."""
        ...
