"""Attempts to change settings: what each starts from and what becomes of it. Their caller makes one at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import ConfigError, Problem
from .generation import GenerationRecord, ReloadResult, settings_hash
from .generations import Generations, Listeners
from .load import LoadedSettings, Sources, runtime_entries, with_runtime
from .reload_metrics import ReloadMetrics
from .runtime import without
from .shadowed import shadowed
from .subscribers import Subscriber
from .transaction import Prepared, Trace, Transaction, activate, advice_on, discard, require_file
from .watch import FileWatcher

_LOG = logging.getLogger(__name__)
_KEPT = 100
_LOOKS, _LOOK_SECONDS = 20, 0.02


class Attempts:
    """The state of `LiveSettings`: sources in use, generations, history, metrics.

    ``base`` is what files, variables and arguments said when the generation in use was made (or the one that was rolled
    back to), ``overrides`` what was set at runtime over it.
    """

    def __init__(
        self, loaded: LoadedSettings, read: Callable[[], Sources], subscribers: Sequence[Subscriber], trace: Trace
    ) -> None:
        self._read, self._trace = read, trace
        self._transaction = Transaction(subscribers, trace)
        self.base = self._newest = loaded.sources
        self.overrides: dict[str, Any] = {}
        self._runtime = Sources()
        self._seen = (loaded.sources.digest, self._runtime.contents)
        """Of what was read last, whatever came of it: sources, and the texts that runtime values name."""
        self._closed = False
        self.watcher: FileWatcher | None = None
        self.metrics = ReloadMetrics()
        self.listeners = Listeners()
        self._transaction.check(loaded)
        prepared = self._transaction.prepare(1, loaded, None)
        self.generations = Generations(prepared.generation, {one.name: one for one in subscribers})
        first = _record(prepared, "start", self.base, self.overrides)
        self.history: tuple[GenerationRecord, ...] = (first,)
        self.last = ReloadResult("applied", 1, "start")
        activate(prepared.made)
        self.metrics.started(first)

    @property
    def watched(self) -> tuple[Path, ...]:
        """What settings come from, or would: as read last, as in use, and as set at runtime."""
        return tuple({**self._newest.contents, **self.base.contents, **self._runtime.contents})

    def from_disk(self, trigger: str) -> ReloadResult:
        """Read everything and take up what differs."""
        return self._attempt(trigger, self._read_anew, self.overrides)

    def from_saved_files(self) -> bool:
        """Take up what has been saved since it was last read; a rolled-back state stays while nothing was.

        False: another save is under way, and must be waited for.
        """
        # A file that a change brings in is watched from then on, and may have been saved just before: look again.
        while not self._closed:
            if (read := self._read_settled()) is None:
                return False
            before, self._seen = self._seen, (read.digest, runtime_entries(self.overrides).contents)
            if self._seen == before:
                break
            self._newest = read
            base = read if read.digest != before[0] else self.base
            self._attempt("file", lambda base=base: base, self.overrides)
        return True

    def with_overrides(self, trigger: str, overrides: Mapping[str, Any]) -> ReloadResult:
        """The same sources with other values set at runtime."""
        return self._attempt(trigger, lambda: self.base, overrides)

    def again(self, record: GenerationRecord) -> ReloadResult:
        """The sources of an earlier generation."""
        return self._attempt(f"rollback to {record.number}", lambda: record.base, record.overrides)

    def let_file_speak(self, keys: tuple[str, ...]) -> None:
        """Where a file says now what was set at runtime, the file is where it comes from; else it stays as it is."""
        remaining, base = without(self.overrides, keys), self._read_anew()
        try:
            said = self._transaction.resolve(with_runtime(base, runtime_entries(remaining)))
            same = not self._transaction.compare(self.generations.current.loaded, said)
        except ConfigError as error:
            _LOG.warning("%s was written, but cannot be taken up as it is: %s", base.file, error)
            return
        if same:
            self._attempt("persist", lambda: base, remaining)

    def close(self) -> None:
        """Retire every part; no attempt succeeds any more."""
        self._closed = True
        self.generations.close()

    def _read_anew(self) -> Sources:
        self._trace("read")
        self._newest = self._read()
        self._seen = (self._newest.digest, self._seen[1])
        return self._newest

    def _read_settled(self) -> Sources | None:
        """The sources as the watcher saw them settle; None: they are being saved again."""
        for _ in range(_LOOKS):
            read = self._read()
            if self.watcher is None or not self.watcher.disagrees(read.contents):
                return read
            time.sleep(_LOOK_SECONDS)
        return None

    def _attempt(self, trigger: str, read: Callable[[], Sources], overrides: Mapping[str, Any]) -> ReloadResult:
        began = time.perf_counter()
        current = self.generations.current
        try:
            if self._closed:
                raise ConfigError([Problem("settings", "they are closed, and change no more")])
            base = read()
            if trigger in ("file", "reload"):
                require_file(self.base, base)
            runtime = runtime_entries(overrides)
            loaded = self._transaction.resolve(with_runtime(base, runtime))
            ready = self._prepare(loaded, trigger, base, overrides)
        except ConfigError as error:
            return self._failed(trigger, error.problems, began)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the generation in use stays in use
            _LOG.exception("changing the settings (%s) failed", trigger)
            return self._failed(trigger, (Problem("settings", f"{type(error).__name__}: {error}"),), began)
        if ready is not None:
            self.generations.swap(ready[0].generation)
        else:
            current.loaded = loaded
        hidden = shadowed(self.base, base, loaded)
        self.base, self.overrides, self._runtime = base, dict(overrides), runtime
        self._seen = (self._seen[0], runtime.contents)
        advice = hidden + advice_on(ready[0].changes if ready is not None else ())
        for line in advice:
            _LOG.warning("%s", line)
        if ready is None:
            seconds = time.perf_counter() - began
            return self._ended(ReloadResult("unchanged", current.number, trigger, advice=advice, seconds=seconds))
        return self._swapped(*ready, advice, began)

    def _prepare(
        self, loaded: LoadedSettings, trigger: str, base: Sources, overrides: Mapping[str, Any]
    ) -> tuple[Prepared, GenerationRecord] | None:
        """A generation ready to be swapped in, and its line of the history; None: no value differs."""
        current = self.generations.current
        changes = self._transaction.compare(current.loaded, loaded)
        if not changes:
            return None
        self._transaction.check(loaded)
        prepared = self._transaction.prepare(current.number + 1, loaded, current, changes)
        try:
            self._trace("swap")
            return prepared, _record(prepared, trigger, base, overrides)
        except BaseException:
            discard(prepared.made)
            raise

    def _swapped(
        self, prepared: Prepared, record: GenerationRecord, advice: tuple[str, ...], began: float
    ) -> ReloadResult:
        self.history = (*self.history, record)[-_KEPT:]
        activate(prepared.made)
        self.generations.retire_unused()
        for change in prepared.changes:
            _LOG.info("generation %d (%s): %s", record.number, record.trigger, change)
        self.metrics.applied(record)
        self.listeners.queue(prepared.changes)
        seconds = time.perf_counter() - began
        changes = prepared.changes
        return self._ended(
            ReloadResult("applied", record.number, record.trigger, changes, advice=advice, seconds=seconds)
        )

    def _failed(self, trigger: str, problems: tuple[Problem, ...], began: float) -> ReloadResult:
        for problem in problems:
            _LOG.error("the settings stay as they are: %s", problem)
        number, seconds = self.generations.current.number, time.perf_counter() - began
        return self._ended(ReloadResult("failed", number, trigger, problems=problems, seconds=seconds))

    def _ended(self, result: ReloadResult) -> ReloadResult:
        self.last = result
        self.metrics.ended(result)
        if self.watcher is not None:
            self.watcher.renew()
        return result


def _record(prepared: Prepared, trigger: str, base: Sources, overrides: Mapping[str, Any]) -> GenerationRecord:
    generation = prepared.generation
    digest = settings_hash(generation.loaded.settings)
    return GenerationRecord(generation.number, time.time(), trigger, prepared.changes, digest, base, dict(overrides))
