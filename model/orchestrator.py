"""Several models by name in one process: loaded beside running generations, unloaded when others need their place."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path

from ..config.paths import cache_dir
from ..config.schema import ModelSettings
from .errors import LoadTimeout, OrchestratorClosed, UnknownModel
from .footprints import Footprint, Footprints
from .memory_gauge import MemoryWatch, gauge_for, return_freed
from .model_slot import ModelState, Slot
from .open import open_model
from .protocol import LanguageModel
from .room import make_room

_NICE = 10
_log = logging.getLogger(__name__)


class Orchestrator:
    """Loads models one after the other in a thread of its own, and lends them out. Thread-safe.

    What is to be loaded must fit into what memory is free once the caches of all loaded models have grown to their
    full length. Where it does not, the models that were used least recently are unloaded first, unless they are in use
    or pinned. One lock guards the books; nothing is loaded, generated or waited for under it.
    """

    def __init__(
        self,
        models: Mapping[str, ModelSettings],
        *,
        pinned: Collection[str] = (),
        limit_bytes: int | None = None,
        cache: Path | None = None,
        opener: Callable[[ModelSettings], LanguageModel] | None = None,
    ) -> None:
        """Nothing is loaded yet.

        ``limit_bytes`` is the most that all models together may hold, wherever they lie; None: all the memory there is.
        ``cache`` is where compiled steps, quantised weights and what models were found to take are kept. ``opener`` is
        `open_model` unless another is given.

        Raises:
            UnknownModel: a name in ``pinned`` is not one of the models.
        """
        cache = cache_dir() if cache is None else cache
        self._cache = cache
        self._opener = opener or functools.partial(open_model, cache=cache)
        self._footprints = Footprints(cache / "footprints.json")
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._clock = itertools.count(1)
        self._slots = {name: Slot(name, settings, False) for name, settings in models.items()}
        self._waiting: list[Slot] = []
        self._closed = False
        self._worker = ThreadPoolExecutor(1, "capibara-models")
        for name in pinned:
            self.pin(name)

    def preload(self, name: str) -> Future[None]:
        """Begin to load a model that is not loaded; what is returned is done once it is, or says why it is not.

        Cancelling it changes nothing for others. It is cancelled if the orchestrator is closed before its turn.

        Raises:
            UnknownModel: there is none of that name.
            OrchestratorClosed: the orchestrator has been closed.
        """
        with self._lock:
            ready = self._asked(self._slot(name))
        own: Future[None] = Future()
        ready.add_done_callback(functools.partial(_pass_on, own))
        return own

    @contextlib.contextmanager
    def lease(self, name: str, timeout_seconds: float | None = None) -> Iterator[LanguageModel]:
        """The model, loaded first if need be; it stays until the context is left, however many others are asked for.

        Models that are waited for are loaded before those that are only to be ready.

        Raises:
            UnknownModel: there is none of that name.
            ModelTooLarge: it does not fit beside those that are in use or pinned; has the numbers.
            ModelError: it cannot be opened or loaded, as `open_model` and `LanguageModel.warm_up`.
            LoadTimeout: it was not loaded in time; it goes on being loaded.
            OrchestratorClosed: the orchestrator has been closed, maybe meanwhile.
        """
        with self._lock:
            slot = self._slot(name)
            ready = self._asked(slot)
            slot.leases += 1
            slot.uses += 1
        try:
            _wait(name, ready, timeout_seconds)
            with self._lock:
                model = slot.model
            if model is None:
                raise OrchestratorClosed(name)
            yield model
        finally:
            with self._lock:
                slot.leases -= 1
                slot.used_at = next(self._clock)

    def pin(self, name: str) -> None:
        """The model is not unloaded for others, once it is loaded.

        Raises:
            UnknownModel: there is none of that name.
        """
        with self._lock:
            self._slot(name).pinned = True

    def unpin(self, name: str) -> None:
        """The model may be unloaded for others again.

        Raises:
            UnknownModel: there is none of that name.
        """
        with self._lock:
            self._slot(name).pinned = False

    def unload(self, name: str) -> bool:
        """Unload a model that is not in use; False where it is in use, or not loaded.

        Raises:
            UnknownModel: there is none of that name.
        """
        with self._lock:
            slot = self._slot(name)
            if slot.leases or slot.state != "loaded":
                return False
            going = [slot.unload()]
        _let_go(going)
        return True

    def states(self) -> list[ModelState]:
        """All models as they stand, the most recently used first."""
        with self._lock:
            order = sorted(self._slots.values(), key=lambda slot: -slot.used_at)
            return [ModelState(one.name, one.state, one.leases, one.uses, one.pinned, one.held) for one in order]

    def close(self) -> None:
        """Wait for a load in progress, give up those that wait, and let all models go; those in use live on."""
        with self._lock:
            self._closed = True
            given_up = [slot.ready for slot in self._waiting]
            for slot in self._waiting:
                slot.unload()
            self._waiting.clear()
        for ready in given_up:
            ready.cancel()
        self._worker.shutdown()
        with self._lock:
            going = [slot.unload() for slot in self._slots.values()]
        _let_go(going)

    def _slot(self, name: str) -> Slot:
        if name not in self._slots:
            raise UnknownModel(name, self._slots)
        return self._slots[name]

    def _asked(self, slot: Slot) -> Future[None]:
        """Under the lock: note the access, and see to it that the model gets loaded.

        Raises:
            OrchestratorClosed: there is nobody to load it.
        """
        if self._closed:
            raise OrchestratorClosed(slot.name)
        slot.used_at = next(self._clock)
        if slot.state == "unloaded":
            self._worker.submit(self._load_next)
            self._waiting.append(slot)
            slot.state = "waiting"
        return slot.ready

    def _load_next(self) -> None:
        with self._lock:
            if not self._waiting:
                return
            slot = next((one for one in self._waiting if one.leases), self._waiting[0])
            self._waiting.remove(slot)
            slot.state, ready = "loading", slot.ready
        try:
            model = self._loaded(slot)
        except Exception as error:  # noqa: BLE001 -- whoever waits gets it
            _log.info("model %r is not loaded:\n%s", slot.name, "".join(traceback.format_exception(error)))
            _forget_frames(error)
            return_freed()
            with self._lock:
                slot.unload()
            ready.set_exception(error)
        else:
            with self._lock:
                slot.state, slot.model = "loaded", model
            ready.set_result(None)

    def _loaded(self, slot: Slot) -> LanguageModel:
        """
        Raises:
            ModelTooLarge: there is no room for it.
            ModelError: it cannot be opened, or loaded.
        """
        from .device import prepare_device

        prepare_device(self._cache, slot.settings.threads)
        gauge = gauge_for(slot.settings)
        prediction = self._footprints.predict(slot.settings, gauge)
        with self._lock:
            slot.gauge, slot.prediction = gauge, prediction
            there = [one for one in self._slots.values() if one.state == "loaded"]
            leaving = make_room(slot.name, prediction, gauge, there, self._limit)
            going = [one.unload() for one in leaving]
            alone, beside = self._others_idle(slot), len(there) > len(leaving)
        _let_go(going)
        if beside:
            _give_way()
        with MemoryWatch(gauge) as watch:
            model = self._opener(slot.settings)
            model.warm_up(adapters=model.adapters)
        with self._lock:
            alone = alone and self._others_idle(slot)
        if alone:
            self._footprints.record(prediction, Footprint(watch.growth, watch.peak))
        return model

    def _others_idle(self, slot: Slot) -> bool:
        return not any(one.leases for one in self._slots.values() if one is not slot)


def _wait(name: str, ready: Future[None], timeout_seconds: float | None) -> None:
    """
    Raises:
        Exception: as the model's loading did.
        LoadTimeout, OrchestratorClosed: as `Orchestrator.lease`.
    """
    try:
        error = ready.exception(timeout_seconds)
    except TimeoutError:
        raise LoadTimeout(name, timeout_seconds or 0.0) from None
    except CancelledError:
        raise OrchestratorClosed(name) from None
    if error is not None:
        raise _like(error)


def _like(error: BaseException) -> BaseException:
    """Another error of the kind and text: one that several threads raised would gather the frames of all of them."""
    own = type(error).__new__(type(error), *error.args)
    own.__dict__.update(error.__dict__)
    own.__cause__ = error
    return own


def _forget_frames(error: BaseException) -> None:
    """Frames hold what was loaded by halves, for as long as anybody has the error; their text is in the log."""
    behind: list[BaseException | None] = [error]
    while behind:
        if (one := behind.pop()) is not None and one.__traceback__ is not None:
            one.__traceback__ = None
            behind += [one.__cause__, one.__context__]


def _pass_on(to: Future[None], ready: Future[None]) -> None:
    if ready.cancelled():
        to.cancel()
    elif to.set_running_or_notify_cancel():
        error = ready.exception()
        to.set_result(None) if error is None else to.set_exception(_like(error))


def _let_go(models: list[LanguageModel | None]) -> None:
    """Their memory goes back to the system, if nobody else has them."""
    if models:
        models.clear()
        return_freed()


def _give_way() -> None:
    """Let the rest of the program go before this thread, for good; on Linux alone, where threads differ.

    Not before a model is there: the threads that JAX starts with its first one inherit this.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))
