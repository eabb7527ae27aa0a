"""Settings that change while the program runs: the generation in use, how it is changed, and who is told.

A change is a transaction (`Transaction`): the new generation is made beside the one in use, and one assignment swaps
them. Requests pin the generation they began with; the parts of an old one are retired after the last of them. This is
Caddy's order of events (https://caddyserver.com/docs/api), with every part prepared before the swap.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .attempts import Attempts
from .errors import ConfigError
from .generation import GenerationRecord, ReloadResult, Snapshot
from .generations import Callback
from .keys import known_prefix
from .load import LoadedSettings, Sources
from .persist import planned
from .reload_metrics import ReloadMetrics
from .runtime import merged, without
from .subscribers import Subscriber
from .transaction import Trace
from .variants import DEFAULT
from .watch import FileWatcher, WatchState


class LiveSettings:
    """Owner of the generations. Thread-safe; changes are made one at a time.

    Args:
        loaded: the first generation.
        read: reads the files, variables and arguments anew; what is wrong with them is in `Sources.problems`.
        subscribers: what is made for each generation, and prepared now for the first one.
        trace: told of each step; see `Transaction`.

    Raises:
        ConfigError: the first generation cannot be used.
    """

    def __init__(
        self,
        loaded: LoadedSettings,
        read: Callable[[], Sources],
        subscribers: Sequence[Subscriber] = (),
        *,
        trace: Trace = lambda _: None,
    ) -> None:
        self._changing = threading.RLock()
        self._attempts = Attempts(loaded, read, subscribers, trace)
        self._watcher: FileWatcher | None = None

    # What requests see

    @property
    def loaded(self) -> LoadedSettings:
        """The settings in use, with the place each value came from."""
        return self._attempts.generations.current.loaded

    @property
    def generation(self) -> int:
        """Number of the generation in use, from 1."""
        return self._attempts.generations.current.number

    @property
    def generations_in_use(self) -> int:
        """Generations that somebody sees: 1 when no request is older than the last change."""
        return self._attempts.generations.in_use

    @property
    def snapshot(self) -> Snapshot:
        """What a request that begins now would see, outside any variant. To keep its parts, `pin` it."""
        return self._attempts.generations.current.snapshots[DEFAULT]

    def latest(self, unit: str) -> Snapshot:
        """What ``unit``, such as a spoken conversation, sees at the moment: the same object until settings change."""
        return self._attempts.generations.latest(unit)

    def pin(
        self, unit: str | None = None, variant: str | None = None
    ) -> contextlib.AbstractContextManager[Snapshot, bool | None]:
        """The snapshot for one request; its parts live at least as long as the context.

        ``unit``, such as a conversation's id, is assigned to a variant as a whole, unless ``assistant.variants_by``
        says otherwise; without one, the request is on its own. ``variant`` chooses one by name.

        Raises:
            UnknownVariant: there is none of that name.
        """
        return self._attempts.generations.pin(unit, variant)

    # How they change

    def watch(self, **options: Any) -> None:
        """Take up changed files as they are saved; ``options`` are those of `FileWatcher`."""
        if self._watcher is None:
            watcher = FileWatcher(lambda: self._attempts.watched, self._files_changed, **options)
            watcher.start()
            self._watcher = self._attempts.watcher = watcher
            self._files_changed()  # what was saved between the first reading and now

    @property
    def watching(self) -> WatchState:
        """Whether and how files are watched."""
        return self._watcher.state if self._watcher is not None else WatchState("off")

    def reload(self, trigger: str = "reload") -> ReloadResult:
        """Read everything again, and take up what differs; also after a `rollback`."""
        with self._change() as attempts:
            return attempts.from_disk(trigger)

    def update(self, values: Mapping[str, Any], *, persist: Path | bool = False) -> ReloadResult:
        """Set values while the program runs, over all other sources (origin "runtime"), until `revert` or the end.

        ``persist`` also writes them to a TOML file, whose comments are kept: the settings file, or the one named.

        Raises:
            ConfigError: a value is wrong or cannot be used, or the file cannot be written; all is as before then.
        """
        given = merged({}, values)
        with self._change() as attempts:
            before = attempts.overrides
            if persist is False:
                return attempts.with_overrides("update", before | given).or_raise()
            plan = planned(persist if isinstance(persist, Path) else attempts.base.file, given)
            try:
                result = attempts.with_overrides("update", before | given).or_raise()
                try:
                    plan.commit()
                except ConfigError:
                    attempts.with_overrides("revert", before)
                    raise
            finally:
                plan.discard()
            attempts.let_file_speak(tuple(given))
            return result

    def revert(self, *keys: str) -> ReloadResult:
        """Undo `update` for these keys or sections, or for all.

        Raises:
            ConfigError: there is no such key, or what the other sources say cannot be used now.
        """
        for key in keys:
            known_prefix(key)
        with self._change() as attempts:
            return attempts.with_overrides("revert", without(attempts.overrides, keys or ("",))).or_raise()

    def rollback(self, number: int) -> ReloadResult:
        """Serve the settings of generation ``number`` again, as a new generation, until a file changes.

        Raises:
            LookupError: the history does not hold it.
            ConfigError: they cannot be used any more.
        """
        with self._change() as attempts:
            record = next((record for record in attempts.history if record.number == number), None)
            if record is None:
                kept = f"{attempts.history[0].number} to {attempts.history[-1].number}"
                raise LookupError(f"there is no generation {number} to go back to: {kept} are kept")
            return attempts.again(record).or_raise()

    def close(self) -> None:
        """Stop watching and retire every part; requests that still run are not waited for. Nothing changes after it."""
        if self._watcher is not None:
            self._watcher.stop()
        with self._changing:
            self._attempts.close()

    # Who is told

    def on_change(self, keys: Sequence[str], callback: Callback) -> Callable[[], None]:
        """Call ``callback`` with the changes under ``keys`` (sections too; none: all) after each swap.

        It runs on the thread that made the change, or, where several change at once, on that of one of them; what it
        raises is logged. Returns what ends it.

        Raises:
            ConfigError: there is no such key or section.
        """
        for key in keys:
            known_prefix(key)
        return self._attempts.listeners.add(keys, callback)

    @property
    def metrics(self) -> ReloadMetrics:
        return self._attempts.metrics

    def history(self) -> tuple[GenerationRecord, ...]:
        """The last generations, oldest first."""
        return self._attempts.history

    @property
    def last_result(self) -> ReloadResult:
        """How the last attempt to change something ended."""
        return self._attempts.last

    @property
    def watched(self) -> tuple[Path, ...]:
        """The files and folders that settings come from, or would if they were there."""
        return self._attempts.watched

    @contextlib.contextmanager
    def _change(self) -> Iterator[Attempts]:
        """One change at a time; listeners are told afterwards, so that they may wait for other threads."""
        try:
            with self._changing:
                yield self._attempts
        finally:
            self._attempts.listeners.tell()

    def _files_changed(self) -> bool:
        with self._change() as attempts:
            return attempts.from_saved_files()
