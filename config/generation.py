"""Generations of settings: what one change of them made, who still uses it, and what happened to each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import ConfigError, Problem
from .fields import Applies
from .keys import dotted, setting_at
from .load import LoadedSettings, Sources, key_paths, value_at
from .schema import Settings
from .sources import Origin, split_key
from .values import shown

Result = Literal["applied", "unchanged", "failed"]


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs; ``old`` or ``new`` is None where the key did not exist. Printed, secrets are masked."""

    key: str
    old: Any
    new: Any
    origin: Origin

    def __str__(self) -> str:
        return f"{self.key} {shown(self.old)} -> {shown(self.new)} ({self.origin})"

    def concerns(self, keys: tuple[str, ...]) -> bool:
        """True for a change of one of ``keys``, which may be whole sections; an empty one stands for every setting."""
        return is_under(self.key, keys)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one request sees from its first step to its last: settings, and the parts made for them, by subscriber."""

    generation: int
    variant: str
    settings: Settings
    parts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Generation:
    """One state of all settings with its snapshots by variant; ``pins`` counts the requests that see it.

    ``loaded`` may be replaced by one with the same values, when their places have changed.
    """

    number: int
    loaded: LoadedSettings
    snapshots: Mapping[str, Snapshot]
    pins: int = 0


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """A line of the history. ``at``: seconds since the epoch; ``base`` and ``overrides`` are what a rollback needs."""

    number: int
    at: float
    trigger: str
    changes: tuple[Change, ...]
    hash: str
    base: Sources = field(repr=False)
    overrides: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """How one attempt ended. ``generation`` is the one in use after it; ``advice`` is what the change leaves to do."""

    result: Result
    generation: int
    trigger: str
    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()
    advice: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.result != "failed"

    def or_raise(self) -> ReloadResult:
        """Itself.

        Raises:
            ConfigError: it failed.
        """
        if not self.ok:
            raise ConfigError(self.problems)
        return self


def is_under(key: str, keys: tuple[str, ...]) -> bool:
    """True for a key among ``keys`` or in one of their sections; an empty one stands for every setting."""
    return any(not one or key == one or key.startswith(f"{one}.") for one in keys)


def difference(old: LoadedSettings, new: LoadedSettings) -> tuple[Change, ...]:
    """The settings whose values differ, in the schema's order."""
    before = {path: value_at(old.settings, path) for path in key_paths(old.settings)}
    after = {path: value_at(new.settings, path) for path in key_paths(new.settings)}
    changes = []
    for path in dict.fromkeys([*after, *before]):
        one, other = before.get(path), after.get(path)
        if one != other or (path in before) != (path in after):
            changes.append(Change(dotted(path), one, other, new.origins.get(dotted(path), Origin("default"))))
    return tuple(changes)


def settings_hash(settings: Settings) -> str:
    """Twelve hexadecimal digits that differ where settings do; secrets do not enter, as they could be guessed."""
    masked = repr(settings.model_dump())
    return hashlib.sha256(masked.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def relevant(settings: Settings, keys: tuple[str, ...]) -> tuple[Any, ...]:
    """The values under ``keys``: where they are equal, a subscriber's part can be used again."""
    whole = {path: value_at(settings, path) for path in key_paths(settings)}
    chosen = {dotted(path): value for path, value in whole.items()}
    return tuple((key, value) for key, value in chosen.items() if is_under(key, keys))


def applies(change: Change) -> Applies:
    """When the change takes effect."""
    setting = setting_at(split_key(change.key))
    return setting.applies if setting is not None else "next request"
