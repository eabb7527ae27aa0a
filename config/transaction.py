"""One change of settings, all or nothing: check, compare, prepare every part, and only then swap.

Everything that can fail happens before the swap and leaves the generation in use as it is, with its parts.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .checks import cross_checks, place_of
from .errors import ConfigError, Problem
from .fingerprint import EMPTY
from .generation import Change, Generation, Snapshot, applies, difference, relevant
from .load import LoadedSettings, Sources, resolve
from .schema import Settings
from .subscribers import Objection, Subscriber
from .values import shown
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
            Problem(new.place(change.key), f"{change.key} can only change with a restart; it stays {shown(change.old)}")
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
            for variant, settings in {DEFAULT: loaded.settings, **loaded.variants}.items():
                with _named(subscriber):
                    problems += [_problem(loaded, objection, variant) for objection in subscriber.check(settings)]
        _raise(problems)

    def prepare(
        self, number: int, loaded: LoadedSettings, before: Generation | None, changes: tuple[Change, ...] = ()
    ) -> Prepared:
        """Make every part that the generation before does not have.

        Raises:
            ConfigError: a part cannot be made; those that were are retired again.
        """
        known: list[Snapshot] = [*before.snapshots.values()] if before else []
        made: list[tuple[Subscriber, Any]] = []
        snapshots: dict[str, Snapshot] = {}
        try:
            for variant, settings in {DEFAULT: loaded.settings, **loaded.variants}.items():
                wanted = _Wanted(variant, settings, loaded, _counterpart(before, variant))
                parts = {
                    subscriber.name: self._part(subscriber, wanted, known, made) for subscriber in self._subscribers
                }
                snapshots[variant] = Snapshot(number, variant, settings, parts)
                known.append(snapshots[variant])
        except BaseException:
            discard(made)
            raise
        return Prepared(Generation(number, loaded, snapshots), changes, tuple(made))

    def _part(
        self, subscriber: Subscriber, wanted: _Wanted, known: Sequence[Snapshot], made: list[tuple[Subscriber, Any]]
    ) -> Any:
        values = relevant(wanted.settings, subscriber.keys)
        for snapshot in known:
            if relevant(snapshot.settings, subscriber.keys) == values:
                return snapshot.parts[subscriber.name]
        self._trace(f"prepare {subscriber.name}")
        try:
            with _named(subscriber):
                part = subscriber.prepare(wanted.settings, wanted.old.parts[subscriber.name] if wanted.old else None)
        except Objection as objection:
            raise ConfigError([_problem(wanted.loaded, objection, wanted.variant)]) from objection
        if not any(part is snapshot.parts[subscriber.name] for snapshot in known):
            made.append((subscriber, part))
        return part


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a snapshot is made for, and the one it takes the place of."""

    variant: str
    settings: Settings
    loaded: LoadedSettings
    old: Snapshot | None


def require_file(before: Sources, now: Sources) -> None:
    """A settings file that has vanished, or was emptied, is more likely a mistake than the wish for the defaults.

    Raises:
        ConfigError: it has, or was.
    """
    file = before.file
    if file is None or now.problems:
        return
    if now.file is None:
        raise ConfigError([Problem(str(file), "has vanished; they change when it is back")])
    if now.contents.get(file) == EMPTY != before.contents.get(file):
        way_out = "the settings stay as they are; a comment in it, and nothing else, stands for the defaults"
        raise ConfigError([Problem(str(file), f"is empty: {way_out}")])


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


@contextlib.contextmanager
def _named(subscriber: Subscriber) -> Iterator[None]:
    """What goes wrong unexpectedly within a subscriber is told under its name."""
    try:
        yield
    except (Objection, ConfigError):
        raise
    except Exception as error:
        _LOG.exception("%s cannot take up the settings", subscriber.name)
        raise ConfigError([Problem(subscriber.name, f"{type(error).__name__}: {error}")]) from error


def _problem(loaded: LoadedSettings, objection: Objection, variant: str) -> Problem:
    return Problem(place_of(loaded, objection.key, None if variant == DEFAULT else variant), str(objection))


def _raise(problems: Iterable[Problem]) -> None:
    if found := tuple(dict.fromkeys(problems)):
        raise ConfigError(found)
