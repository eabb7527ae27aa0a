"""Settings that change while the program runs: the generation in use, how it is changed, and who is told.

A change is a transaction (`Transaction`): the new generation is made beside the one in use, and one assignment swaps
them. Requests pin the generation they began with; the parts of an old one are retired after the last of them. This is
Caddy's order of events (https://caddyserver.com/docs/api), with every part prepared before the swap.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import ConfigError, Problem
from .generation import GenerationRecord, ReloadResult, Snapshot, settings_hash
from .generations import Callback, Generations, Listeners
from .load import LoadedSettings, Sources, runtime_entries, with_runtime
from .persist import write_settings
from .reload_metrics import ReloadMetrics
from .runtime import merged, without
from .subscribers import Subscriber
from .transaction import Prepared, Trace, Transaction, activate, advice_on, discard, require_file
from .variants import DEFAULT
from .watch import FileWatcher, WatchState

_LOG = logging.getLogger(__name__)
_KEPT = 100
_LOOKS, _LOOK_SECONDS = 20, 0.02


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
        self._read, self._trace = read, trace
        self._transaction = Transaction(subscribers, trace)
        self._changing = threading.RLock()
        self._listeners = Listeners()
        self._watcher: FileWatcher | None = None
        self._base, self._overrides = loaded.sources, {}
        self._seen = loaded.sources.digest
        self._watched = tuple(loaded.sources.contents)
        self.metrics = ReloadMetrics()
        self._transaction.check(loaded)
        prepared = self._transaction.prepare(1, loaded, None)
        self._loaded = loaded
        self._generations = Generations(prepared.generation, {one.name: one for one in subscribers})
        self._history: deque[GenerationRecord] = deque([self._record(prepared, "start")], maxlen=_KEPT)
        self._last = ReloadResult("applied", 1, "start")
        activate(prepared.made)
        self.metrics.started(self._history[-1])

    # What requests see

    @property
    def loaded(self) -> LoadedSettings:
        """The settings in use, with the place each value came from."""
        return self._loaded

    @property
    def generation(self) -> int:
        """Number of the generation in use, from 1."""
        return self._generations.current.number

    @property
    def living(self) -> int:
        """Generations that somebody sees: 1 when no request is older than the last change."""
        return self._generations.living

    @property
    def snapshot(self) -> Snapshot:
        """What a request that begins now would see, outside any variant. To keep its parts, `pin` it."""
        return self._generations.current.snapshots[DEFAULT]

    def latest(self, unit: str) -> Snapshot:
        """What a request of ``unit`` that begins now would see; the same object until settings change."""
        with self._generations.pin(unit, None) as snapshot:
            return snapshot

    def pin(
        self, unit: str | None = None, variant: str | None = None
    ) -> contextlib.AbstractContextManager[Snapshot, bool | None]:
        """The snapshot for one request; its parts live at least as long as the context.

        ``unit``, such as a conversation's id, is assigned to a variant as a whole; without one, the request is on its
        own. ``variant`` chooses one by name.

        Raises:
            UnknownVariant: there is none of that name.
        """
        return self._generations.pin(unit, variant)

    # How they change

    def watch(self, **options: Any) -> None:
        """Take up changed files as they are saved; ``options`` are those of `FileWatcher`."""
        if self._watcher is None:
            self._watcher = FileWatcher(lambda: self._watched, self._files_changed, **options)
            self._watcher.start()
            self._files_changed()  # what was saved between the first reading and now

    @property
    def watched(self) -> tuple[Path, ...]:
        """The files and folders that settings come from, or would if they were there."""
        return self._watched

    @property
    def watching(self) -> WatchState:
        """Whether and how files are watched."""
        return self._watcher.state if self._watcher is not None else WatchState("off")

    def reload(self, trigger: str = "reload") -> ReloadResult:
        """Read everything again, and take up what differs; also after a `rollback`."""
        with self._changing:
            return self._attempt(trigger, self._read_all, self._overrides)

    def update(self, values: Mapping[str, Any], *, persist: Path | bool = False) -> ReloadResult:
        """Set values while the program runs, over all other sources (origin "runtime"), until `revert` or the end.

        ``persist`` also writes them to a TOML file, whose comments are kept: the settings file, or the one named.

        Raises:
            ConfigError: a value is wrong or cannot be used, or the file cannot be written; all is as before then.
        """
        with self._changing:
            before, given = self._overrides, merged({}, values)
            result = self._attempt("update", lambda: self._base, before | given).or_raise()
            if persist is not False:
                try:
                    write_settings(persist if isinstance(persist, Path) else self._base.file, given)
                except ConfigError:
                    self._attempt("revert", lambda: self._base, before)
                    raise
                self._let_file_speak(tuple(given))
            return result

    def revert(self, *keys: str) -> ReloadResult:
        """Undo `update` for these keys or sections, or for all.

        Raises:
            ConfigError: what the other sources say cannot be used now.
        """
        with self._changing:
            return self._attempt("revert", lambda: self._base, without(self._overrides, keys or ("",))).or_raise()

    def rollback(self, number: int) -> ReloadResult:
        """Serve the settings of generation ``number`` again, as a new generation, until a file changes.

        Raises:
            LookupError: the history does not hold it.
            ConfigError: they cannot be used any more.
        """
        with self._changing:
            record = next((record for record in self._history if record.number == number), None)
            if record is None:
                kept = f"{self._history[0].number} to {self._history[-1].number}"
                raise LookupError(f"there is no generation {number} to go back to: {kept} are kept")
            return self._attempt(f"rollback to {number}", lambda: record.base, record.overrides).or_raise()

    def close(self) -> None:
        """Stop watching and retire every part; requests that still run are not waited for."""
        if self._watcher is not None:
            self._watcher.stop()
        with self._changing:
            self._generations.close()

    # Who is told

    def on_change(self, keys: Sequence[str], callback: Callback) -> Callable[[], None]:
        """Call ``callback`` with the changes under ``keys`` (sections too; none: all) after each swap.

        It runs on the thread that made the change; what it raises is logged. Returns what ends it.
        """
        return self._listeners.add(keys, callback)

    def history(self) -> tuple[GenerationRecord, ...]:
        """The last generations, oldest first."""
        with self._changing:
            return tuple(self._history)

    @property
    def last_result(self) -> ReloadResult:
        """How the last attempt to change something ended."""
        return self._last

    # One attempt

    def _files_changed(self) -> None:
        """As `reload`, unless files, variables and arguments are as they were when last read."""
        with self._changing:
            # A file that a change brings in is watched from then on, and may have been saved just before.
            while (read := self._read_settled()) is not None and read.digest != self._seen:
                self._attempt("file", lambda read=read: read, self._overrides)

    def _read_settled(self) -> Sources | None:
        """The sources as the watcher saw them settle; None: a newer save is under way, of which it will tell."""
        for _ in range(_LOOKS):
            read = self._read_all()
            if self._watcher is None or not self._watcher.disagrees(read.contents):
                return read
            time.sleep(_LOOK_SECONDS)
        return None

    def _read_all(self) -> Sources:
        self._trace("read")
        read = self._read()
        self._watched = tuple(dict.fromkeys([*read.contents, *self._base.contents]))
        return read

    def _attempt(self, trigger: str, read: Callable[[], Sources], overrides: Mapping[str, Any]) -> ReloadResult:
        began = time.perf_counter()
        current = self._generations.current
        try:
            base = read()
            if trigger in ("file", "reload", "signal"):
                self._seen = base.digest
            require_file(self._base, base)
            loaded = self._transaction.resolve(with_runtime(base, runtime_entries(overrides)))
            prepared = None
            if self._transaction.compare(current.loaded, loaded):
                self._transaction.check(loaded)
                prepared = self._prepare(loaded)
        except ConfigError as error:
            return self._failed(trigger, error.problems, began)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the generation in use stays in use
            _LOG.exception("changing the settings (%s) failed", trigger)
            return self._failed(trigger, (Problem("settings", f"{type(error).__name__}: {error}"),), began)
        self._base, self._overrides = base, dict(overrides)
        self._loaded, self._watched = loaded, tuple(loaded.sources.contents)
        if prepared is None:
            return self._ended(ReloadResult("unchanged", current.number, trigger, seconds=time.perf_counter() - began))
        return self._swap(prepared, trigger, began)

    def _prepare(self, loaded: LoadedSettings) -> Prepared:
        prepared = self._transaction.prepare(self.generation + 1, loaded, self._generations.current)
        try:
            self._trace("swap")
        except BaseException:
            discard(prepared.made)
            raise
        return prepared

    def _swap(self, prepared: Prepared, trigger: str, began: float) -> ReloadResult:
        record, changes = self._record(prepared, trigger), prepared.changes
        self._generations.swap(prepared.generation)
        self._history.append(record)
        activate(prepared.made)
        self._generations.retire_unused()
        advice = advice_on(changes)
        for change in changes:
            _LOG.info("generation %d (%s): %s", record.number, trigger, change)
        for line in advice:
            _LOG.warning("%s", line)
        self.metrics.applied(record)
        seconds = time.perf_counter() - began
        result = self._ended(ReloadResult("applied", record.number, trigger, changes, advice=advice, seconds=seconds))
        self._listeners.tell(changes)
        return result

    def _failed(self, trigger: str, problems: tuple[Problem, ...], began: float) -> ReloadResult:
        for problem in problems:
            _LOG.error("the settings stay as they are: %s", problem)
        seconds = time.perf_counter() - began
        return self._ended(ReloadResult("failed", self.generation, trigger, problems=problems, seconds=seconds))

    def _ended(self, result: ReloadResult) -> ReloadResult:
        self._last = result
        self.metrics.ended(result)
        if self._watcher is not None:
            self._watcher.renew()
        return result

    def _record(self, prepared: Prepared, trigger: str) -> GenerationRecord:
        generation = prepared.generation
        digest = settings_hash(generation.loaded.settings)
        return GenerationRecord(
            generation.number, time.time(), trigger, prepared.changes, digest, self._base, self._overrides
        )

    def _let_file_speak(self, keys: tuple[str, ...]) -> None:
        """Where a file says now what was set at runtime, the file is where it comes from; else it stays as it is."""
        remaining, base = without(self._overrides, keys), self._read_all()
        said = self._transaction.resolve(with_runtime(base, runtime_entries(remaining)))
        if not self._transaction.compare(self._generations.current.loaded, said):
            self._attempt("reload", lambda: base, remaining)
