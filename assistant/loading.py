"""The language model of each snapshot: loaded beside other work, when first asked for or when settings change."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ..config.schema import ModelSettings, Settings
from ..config.subscribers import Objection
from ..model.protocol import LanguageModel

_LOG = logging.getLogger(__name__)
_MIB = 2**20
_NICE = 10
_TURN_SECONDS = 0.0005
_NOT_OF_THE_NETWORK = (
    "context_tokens",
    "concurrent_generations",
    "waiting_generations",
    "prefix_cache_mib",
    "speculate",
)
"""Settings of how a loaded network is used; another value of theirs loads nothing."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready, or the reason (one line) why there is none."""

    model: LanguageModel | None
    reason: str = ""


class LanguagePart:
    """The language model that one state of the settings names. Thread-safe."""

    def __init__(self, settings: ModelSettings, worker: ThreadPoolExecutor) -> None:
        self._settings = settings
        self._worker = worker
        self._lock = threading.Lock()
        self._future: Future[LoadedModel] | None = None

    @property
    def asked(self) -> bool:
        """It is loaded, or loading."""
        return self._future is not None

    def request(self, instead_of: LanguagePart | None = None) -> Future[LoadedModel]:
        """The model, loading or ready; what failed is tried again. ``instead_of``: the part whose place this one takes.

        Where the two differ in how the network is used alone, they share it.
        """
        with self._lock:
            failed = self._future is not None and self._future.done() and self._future.result().model is None
            if self._future is None or failed:
                self._future = self._worker.submit(_load, self._settings, instead_of)
            return self._future

    def shares_network(self, settings: ModelSettings) -> bool:
        """``settings`` name the model that is loaded here, or loading, however it is used."""
        light = {key: getattr(settings, key) for key in _NOT_OF_THE_NETWORK}
        return self.asked and settings == self._settings.model_copy(update=light)

    def in_place(self) -> LanguageModel | None:
        """The model, if it was asked for and there is one; waits while it loads."""
        return self._future.result().model if self._future is not None else None


class LanguageModels:
    """The `Subscriber` for ``[model]``. A model in use is replaced by one that is loaded, or not at all.

    ``available`` tells the bytes of memory that can be had.
    """

    name = "language"
    keys = ("model",)

    def __init__(self, available: Callable[[], int] | None = None) -> None:
        self._available = available
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="capibara-model")

    def check(self, settings: Settings) -> Iterable[Objection]:
        """Devices that are named, or counted, must be there; where none are, that costs nothing to check."""
        if settings.model.device != "auto" or settings.model.mesh not in ("none", "auto"):
            from ..model.device import devices_of
            from ..model.errors import DeviceNotFound
            from ..model.sharding import placement_for

            at = "model.device"
            try:
                devices_of(settings.model.device)
                at = "model.mesh"
                placement_for(settings.model)
            except DeviceNotFound as error:
                yield Objection(at, str(error))

    def prepare(self, settings: Settings, before: LanguagePart | None) -> LanguagePart:
        """At the start nothing is loaded; later, what takes the place of a loaded model must be found and fit."""
        part = LanguagePart(settings.model, self._worker)
        if before is not None:
            with _short_turns():
                if not before.shares_network(settings.model):
                    self.require(settings.model)
                if before.asked and (loaded := part.request(before).result()).model is None:
                    raise Objection("model.path", loaded.reason)
        return part

    def require(self, settings: ModelSettings) -> None:
        """The model is there, can be run, and fits into memory beside what is there.

        Raises:
            Objection: it is not, cannot, or does not; with the numbers.
        """
        from ..model.errors import ModelError
        from ..model.memory import available_bytes, estimate_for
        from ..model.open import draft_settings, open_checkpoint

        try:
            if (draft := draft_settings(settings)) is not None:
                open_checkpoint(draft)
        except ModelError as error:
            raise Objection("model.draft", str(error)) from error
        try:
            needed = estimate_for(settings).peak
        except ModelError as error:
            raise Objection("model.path", str(error)) from error
        available = (self._available or available_bytes)()
        if needed > available:
            raise Objection(
                "model.path",
                f"loading {settings.path} takes about {needed / _MIB:,.0f} MiB, and {available / _MIB:,.0f} MiB are "
                "free: set model.compute to int8 or int4-weights, lower model.context_tokens or "
                "model.concurrent_generations, or choose a smaller model",
            )

    def activate(self, part: LanguagePart) -> None:
        """Nothing to do: requests ask the part."""

    def retire(self, part: LanguagePart) -> None:
        """The model goes with the last reference to its part; what others left goes back to the operating system."""
        if part.asked:
            self._worker.submit(_return_memory)

    def close(self) -> None:
        """Wait for a load in progress."""
        self._worker.shutdown(cancel_futures=True)


def _load(settings: ModelSettings, instead_of: LanguagePart | None) -> LoadedModel:
    from ..model import ModelError, open_model
    from ..model.open import engine_options

    # One worker loads all models, so that the one before is there by now.
    before = instead_of.in_place() if instead_of is not None else None
    if before is not None and instead_of is not None and instead_of.shares_network(settings):
        return LoadedModel(before.limited_to(settings.context_tokens, engine_options(settings)))
    if before is not None:
        _give_way()
    try:
        model = open_model(settings)
        model.warm_up(before, adapters=model.adapters)
    except ModelError as error:
        return LoadedModel(None, str(error))
    except Exception as error:  # noqa: BLE001 -- a checkpoint is a stranger's file, and quotes need no model
        _LOG.debug("loading %s failed", settings.path, exc_info=True)
        return LoadedModel(None, f"{settings.path} cannot be loaded ({type(error).__name__}: {error})")
    return LoadedModel(model)


def _give_way() -> None:
    """Let the rest of the program go before this thread, which loads beside it; for good, and on Linux alone."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))


@contextlib.contextmanager
def _short_turns() -> Iterator[None]:
    """Threads that want to run Python need not wait long for one that builds a model.

    Python makes them wait 5 ms, and a step of a generation wants to several times: that alone doubled its time. The
    wait is one for the whole process; where two of its assistants load at once it may stay short, which does no harm.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, _TURN_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _return_memory() -> None:
    """glibc keeps freed memory, the more the more threads there are; other systems' allocators give it back."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
