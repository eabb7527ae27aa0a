"""Subscribers for tests: their parts are values that can be counted, and they fail where they are told to."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capibara.config.live import LiveSettings
from capibara.config.load import read_sources, resolve
from capibara.config.schema import Settings
from capibara.config.subscribers import Objection

FIRST, SECOND = "[rag]\ntop_k = 3\n", "[rag]\ntop_k = 4\n"


@dataclass(eq=False)
class Part:
    """One part: what it was made for, and what became of it."""

    name: str
    top_k: int
    number: int
    active: bool = False
    retired: int = 0


@dataclass
class Recorder:
    """A subscriber that keeps every part it made. ``objects_to``: values of ``rag.top_k`` that it cannot make."""

    name: str = "first"
    keys: tuple[str, ...] = ("rag.top_k",)
    objects_to: set[int] = field(default_factory=set)
    checks: set[int] = field(default_factory=set)
    parts: list[Part] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)

    def check(self, settings: Settings) -> Iterable[Objection]:
        if settings.rag.top_k in self.checks:
            yield Objection("rag.top_k", "too many for this machine: lower it")

    def prepare(self, settings: Settings, before: Part | None) -> Part:
        if settings.rag.top_k in self.objects_to:
            raise Objection("rag.top_k", "cannot be made")
        self.parts.append(Part(self.name, settings.rag.top_k, next(self._numbers)))
        return self.parts[-1]

    def activate(self, part: Part) -> None:
        part.active = True

    def retire(self, part: Part) -> None:
        part.retired += 1

    @property
    def open(self) -> list[Part]:
        return [part for part in self.parts if not part.retired]


class Faults:
    """A trace that raises at one step, and remembers all of them."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.at: str | None = None

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if step == self.at:
            raise OSError(f"fault at {step}")


def live(file: Path, *subscribers: Any, trace: Any = lambda _: None, **sources: Any) -> LiveSettings:
    """Live settings over ``file`` alone, unless ``sources`` say more."""

    def read():
        return read_sources(file, required=False, **{"environ": {}, **sources})

    return LiveSettings(resolve(read()), read, subscribers, trace=trace)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
