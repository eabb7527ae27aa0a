"""How much an engine takes on, and which of its techniques it uses."""

from __future__ import annotations

from dataclasses import dataclass

from .schedule import BATCHES


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How much an engine takes on.

    Raises:
        ValueError: a number is too small, named.

    Attributes:
        sequences: generations that run at once, each with caches of its own.
        queue: jobs that wait; more are refused.
        prefix_bytes: memory for the beginnings of earlier prompts; 0: none are kept.
        speculate: where one generation decodes alone, draft what comes next, and check several tokens in one step.
    """

    sequences: int = BATCHES[-1]
    queue: int = 256
    prefix_bytes: int = 256 * 2**20
    speculate: bool = True

    def __post_init__(self) -> None:
        for name, least in (("sequences", 1), ("queue", 1), ("prefix_bytes", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {least} or more")
