"""One change of settings, all or nothing: check, compare, prepare every part, and only then swap.

Everything that can fail happens before the swap and leaves the generation in use as it is, with its parts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .checks import cross_checks
from .errors import ConfigError, Problem
from .generation import Change, Generation, Snapshot, applies, difference, relevant
from .load import LoadedSettings, Sources, resolve
from .schema import Settings
from .subscribers import Objection, Subscriber
from .variants import DEFAULT

_LOG = logging.getLogger(__name__)

Trace = Callable[[str], None]
"""Told the name of each step before it is taken; what it raises counts as a fault of that step."""

_REINDEX = "rag.chunk_tokens", "rag.chunk_overlap_sentences"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A generation that is ready to be swapped in."""

    generation: Generation
    changes: tuple[Change, ...]
    made: tuple[tuple[Subscriber, Any], ...]
    """The parts that are new in it."""


class Transaction:
    """Steps from sources to a prepared generation beside the one in use."""

    def __init__(self, subscribers: Sequence[Subscriber], trace: Trace) -> None:
        self._subscribers = subscribers
        self._trace = trace

    def resolve(self, sources: Sources) -> LoadedSettings:
        """The values that the sources lead to.

        Raises:
            ConfigError: one of them is wrong.
        """
        self._trace("resolve")
        return resolve(sources)

    def compare(self, old: LoadedSettings, new: LoadedSettings) -> tuple[Change, ...]:
        """What differs.

        Raises:
            ConfigError: something differs that a running process cannot take up.
        """
        self._trace("compare")
        changes = difference(old, new)
        _raise(
            Problem(new.place(change.key), f"{change.key} can only change with a restart; it stays {_masked(change)}")
            for change in changes
            if applies(change) == "restart"
        )
        return changes

    def check(self, loaded: LoadedSettings) -> None:
        """Whether the settings go together, and this machine can do what they ask for.

        Raises:
            ConfigError: they do not, or it cannot.
        """
        problems = cross_checks(loaded)
        for subscriber in self._subscribers:
            self._trace(f"check {subscriber.name}")
            for settings in (loaded.settings, *loaded.variants.values()):
                problems += [_problem(loaded, objection) for objection in subscriber.check(settings)]
        _raise(problems)

    def prepare(self, number: int, loaded: LoadedSettings, before: Generation | None) -> Prepared:
        """Make every part that the generation before does not have.

        Raises:
            ConfigError: a part cannot be made; those that were are retired again.
        """
        known: list[Snapshot] = [*before.snapshots.values()] if before else []
        made: list[tuple[Subscriber, Any]] = []
        snapshots: dict[str, Snapshot] = {}
        try:
            for variant, settings in {DEFAULT: loaded.settings, **loaded.variants}.items():
                old = _counterpart(before, variant)
                parts = {s.name: self._part(s, settings, loaded, old, known, made) for s in self._subscribers}
                snapshots[variant] = Snapshot(number, variant, settings, parts)
                known.append(snapshots[variant])
        except BaseException:
            discard(made)
            raise
        changes = difference(before.loaded, loaded) if before else ()
        return Prepared(Generation(number, loaded, snapshots), changes, tuple(made))

    def _part(
        self,
        subscriber: Subscriber,
        settings: Settings,
        loaded: LoadedSettings,
        old: Snapshot | None,
        known: Sequence[Snapshot],
        made: list[tuple[Subscriber, Any]],
    ) -> Any:
        wanted = relevant(settings, subscriber.keys)
        for snapshot in known:
            if relevant(snapshot.settings, subscriber.keys) == wanted:
                return snapshot.parts[subscriber.name]
        self._trace(f"prepare {subscriber.name}")
        try:
            part = subscriber.prepare(settings, old.parts[subscriber.name] if old else None)
        except Objection as objection:
            raise ConfigError([_problem(loaded, objection)]) from objection
        made.append((subscriber, part))
        return part


def require_file(before: Sources, now: Sources) -> None:
    """A settings file that has vanished is more likely a mistake than the wish for the defaults.

    Raises:
        ConfigError: it has.
    """
    if before.file is not None and now.file is None and not now.problems:
        raise ConfigError([Problem(str(before.file), "has vanished: the settings stay as they are until it is back")])


def discard(made: Iterable[tuple[Subscriber, Any]]) -> None:
    """Retire parts; one that fails does not keep the others."""
    for subscriber, part in made:
        try:
            subscriber.retire(part)
        except Exception:  # noqa: BLE001 -- see above
            _LOG.exception("%s: a part that is no longer used could not be closed", subscriber.name)


def activate(made: Iterable[tuple[Subscriber, Any]]) -> None:
    """Tell parts that they are in use; one that fails does not keep the others, as there is no way back."""
    for subscriber, part in made:
        try:
            subscriber.activate(part)
        except Exception:  # noqa: BLE001 -- see above
            _LOG.exception("%s: the new settings are in use, but could not be activated here", subscriber.name)


def advice_on(changes: Sequence[Change]) -> tuple[str, ...]:
    """What is left for the user to do after ``changes``."""
    recut = [change.key for change in changes if change.key in _REINDEX]
    if not recut:
        return ()
    named = " and ".join(recut)
    return (f"{named}: documents read from now on; run `capibara ingest --reindex` to cut the others anew",)


def _counterpart(before: Generation | None, variant: str) -> Snapshot | None:
    if before is None:
        return None
    return before.snapshots.get(variant) or before.snapshots[DEFAULT]


def _problem(loaded: LoadedSettings, objection: Objection) -> Problem:
    return Problem(loaded.place(objection.key), str(objection))


def _raise(problems: Iterable[Problem]) -> None:
    if found := tuple(dict.fromkeys(problems)):
        raise ConfigError(found)


def _masked(change: Change) -> str:
    from .values import shown

    return shown(change.old)
