"""Owns the generations that are in use: the newest, and older ones that requests still see."""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .generation import Change, Generation, Snapshot
from .subscribers import Subscriber
from .transaction import discard
from .variants import assign

_LOG = logging.getLogger(__name__)

Callback = Callable[[tuple[Change, ...]], None]


class UnknownVariant(LookupError):
    """The settings have no variant of this name."""


class Generations:
    """Swaps generations and retires the parts of those that nobody sees any more. Thread-safe."""

    def __init__(self, first: Generation, subscribers: Mapping[str, Subscriber]) -> None:
        self._subscribers = subscribers
        self._lock = threading.Lock()
        self._current = first
        self._living = [first]

    @property
    def current(self) -> Generation:
        return self._current

    @property
    def living(self) -> int:
        """How many there are, the newest included."""
        return len(self._living)

    @contextlib.contextmanager
    def pin(self, unit: str | None, variant: str | None) -> Iterator[Snapshot]:
        """A snapshot of the newest generation, which lives at least as long as the context. See `LiveSettings.pin`."""
        with self._lock:
            generation = self._current
            snapshot = _chosen(generation, unit, variant)
            generation.pins += 1
        try:
            yield snapshot
        finally:
            with self._lock:
                generation.pins -= 1
            self.retire_unused()

    def swap(self, new: Generation) -> None:
        """``new`` is what requests see from now on."""
        with self._lock:
            self._current = new
            self._living.append(new)

    def close(self) -> None:
        """Retire everything; requests that still run are not waited for."""
        with self._lock:
            living, self._living = self._living, []
        discard(self._parts_of(living))

    def retire_unused(self) -> None:
        """Let go of what nobody sees any more, and of the parts that only it had."""
        with self._lock:
            if len(self._living) <= 1:
                return
            unused = [one for one in self._living if one is not self._current and one.pins == 0]
            self._living = [one for one in self._living if one not in unused]
            kept = {id(part) for _, part in self._parts_of(self._living)}
        discard((subscriber, part) for subscriber, part in self._parts_of(unused) if id(part) not in kept)

    def _parts_of(self, generations: Sequence[Generation]) -> list[tuple[Subscriber, Any]]:
        """Every part once, with whoever made it."""
        parts: dict[int, tuple[Subscriber, Any]] = {}
        for generation in generations:
            for snapshot in generation.snapshots.values():
                for name, part in snapshot.parts.items():
                    parts[id(part)] = (self._subscribers[name], part)
        return list(parts.values())


class Listeners:
    """Who wants to know of changes, and of which."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listening: dict[object, tuple[tuple[str, ...], Callback]] = {}

    def add(self, keys: Sequence[str], callback: Callback) -> Callable[[], None]:
        """Returns what ends it."""
        token = object()
        with self._lock:
            self._listening[token] = (tuple(keys) or ("",), callback)

        def end() -> None:
            with self._lock:
                self._listening.pop(token, None)

        return end

    def tell(self, changes: tuple[Change, ...]) -> None:
        """Call each with what concerns it; one that fails does not keep the others."""
        with self._lock:
            listening = list(self._listening.values())
        for keys, callback in listening:
            if concerned := tuple(change for change in changes if change.concerns(keys)):
                try:
                    callback(concerned)
                except Exception:  # noqa: BLE001 -- the callback is a stranger's
                    _LOG.exception("a listener to changed settings failed")


def _chosen(generation: Generation, unit: str | None, variant: str | None) -> Snapshot:
    settings = generation.loaded.settings
    if variant is None:
        if unit is None or settings.assistant.variants_by == "request":
            unit = uuid.uuid4().hex
        variant = assign(settings.variants, unit)
    if variant not in generation.snapshots:
        known = ", ".join(generation.snapshots)
        raise UnknownVariant(f"the settings have no variant {variant!r}; they have {known}")
    return generation.snapshots[variant]
