"""Owns the generations that are in use: the newest, and older ones that requests still see."""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections import deque
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
        self._in_use = [first]
        self._released: deque[Generation] = deque()
        """One entry for each pin that has ended and is not counted yet."""

    @property
    def current(self) -> Generation:
        return self._current

    @property
    def in_use(self) -> int:
        """How many there are, the newest included."""
        return len(self._in_use)

    def latest(self, unit: str) -> Snapshot:
        """What ``unit`` sees at the moment; the same object until settings change."""
        generation = self._current
        return generation.snapshots[assign(generation.loaded.settings.variants, unit)]

    @contextlib.contextmanager
    def pin(self, unit: str | None, variant: str | None) -> Iterator[Snapshot]:
        """A snapshot of the newest generation, which lives at least as long as the context. See `LiveSettings.pin`."""
        with self._lock:
            generation = self._current
            generation.pins += 1
        try:
            self._count_released()
            yield _chosen(generation, unit, variant)
        finally:
            # An abandoned request may end within any line of any thread, also one that holds the lock, because the
            # garbage collector ends it: nothing may be waited for here.
            self._released.append(generation)
            self._count_released()

    def swap(self, new: Generation) -> None:
        """``new`` is what requests see from now on; call `retire_unused` when its parts are active."""
        with self._lock:
            self._current = new
            self._in_use.append(new)

    def retire_unused(self) -> None:
        """Let go of what nobody sees any more, and of the parts that only it had."""
        with self._lock:
            unused = self._unused()
        discard(unused)
        self._count_released()

    def close(self) -> None:
        """Retire everything; requests that still run are not waited for."""
        with self._lock:
            parts, self._in_use = self._parts_of(self._in_use), []
        discard(parts.values())

    def _count_released(self) -> None:
        while self._released and self._lock.acquire(blocking=False):  # whoever has the lock looks again afterwards
            try:
                unused = self._unused()
            finally:
                self._lock.release()
            discard(unused)

    def _unused(self) -> list[tuple[Subscriber, Any]]:
        """Take out what nobody sees; the parts that went with it. To be called with the lock held."""
        while self._released:
            self._released.popleft().pins -= 1
        kept = [one for one in self._in_use if one is self._current or one.pins > 0]
        gone = [one for one in self._in_use if one not in kept]
        if not gone:
            return []
        self._in_use = kept
        still = self._parts_of(kept)
        return [pair for key, pair in self._parts_of(gone).items() if key not in still]

    def _parts_of(self, generations: Sequence[Generation]) -> dict[tuple[str, int], tuple[Subscriber, Any]]:
        """Every part once, with whoever made it."""
        return {
            (name, id(part)): (self._subscribers[name], part)
            for generation in generations
            for snapshot in generation.snapshots.values()
            for name, part in snapshot.parts.items()
        }


class Listeners:
    """Who wants to know of changes, and of which. They are told in the order of the changes, one after another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listening: dict[object, tuple[tuple[str, ...], Callback]] = {}
        self._untold: deque[tuple[Change, ...]] = deque()
        self._telling = False

    def add(self, keys: Sequence[str], callback: Callback) -> Callable[[], None]:
        """Returns what ends it."""
        token = object()
        with self._lock:
            self._listening[token] = (tuple(keys) or ("",), callback)

        def end() -> None:
            with self._lock:
                self._listening.pop(token, None)

        return end

    def queue(self, changes: tuple[Change, ...]) -> None:
        """To be told with the next `tell`."""
        self._untold.append(changes)

    def tell(self) -> None:
        """Call each with what concerns it. Who comes while somebody tells, a listener too, leaves it to them."""
        with self._lock:
            if self._telling:
                return
            self._telling = True
        while True:
            with self._lock:
                if not self._untold:
                    self._telling = False
                    return
                changes, listening = self._untold.popleft(), list(self._listening.values())
            for keys, callback in listening:
                if concerned := tuple(change for change in changes if change.concerns(keys)):
                    _call(callback, concerned)


def _call(callback: Callback, changes: tuple[Change, ...]) -> None:
    try:
        callback(changes)
    except Exception:  # noqa: BLE001 -- the callback is a stranger's, and the others are to be told
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
