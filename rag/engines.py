"""The seam behind which a transformer runs, and the choice among those that can run it here."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from .errors import BackendUnavailable
from .models import EmbeddingModel

_LOG = logging.getLogger(__name__)


class Engine(Protocol):
    """Runs a model's forward pass. Thread-safe."""

    parallel: int
    """How many batches it runs side by side."""

    def encode(
        self, ids_BT: Int[np.ndarray, "B T"], mask_BT: Int[np.ndarray, "B T"]
    ) -> tuple[Float[np.ndarray, "B D"], Float[np.ndarray, "B T D"]]:
        """Pooled vectors (not yet normalised) and last hidden states, float32; both belong to the caller."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """A named way to make an `Engine`; ``open`` raises `BackendUnavailable` where it cannot."""

    name: str
    open: Callable[[], Engine]


def backends_for(choice: str, model: EmbeddingModel) -> tuple[Backend, ...]:
    """The backends to try in order, fastest first; ``choice`` is "auto" or one backend's name."""
    known = {
        "openvino-int8": Backend("openvino-int8", partial(_open_openvino, model, True)),
        "openvino": Backend("openvino", partial(_open_openvino, model, False)),
        "torch": Backend("torch", partial(_open_torch, model)),
    }
    if choice != "auto":
        return (known[choice],)
    return (known["openvino-int8"], known["torch"]) if model.plain else (known["torch"],)


class FirstEngine:
    """The engine of the first backend that works, opened once, on first use. Thread-safe."""

    def __init__(self, backends: Sequence[Backend], purpose: str) -> None:
        self._backends = backends
        self._purpose = purpose
        self._lock = threading.RLock()
        self._opened: Engine | None = None
        self.backend: str | None = None
        """Name of the backend that runs, once it is open."""

    def get(self) -> Engine:
        """The engine.

        Raises:
            BackendUnavailable: no backend can run the model; says why the last one cannot.
        """
        with self._lock:
            if self._opened is None:
                self._opened = self._open_first()
            return self._opened

    def _open_first(self) -> Engine:
        for backend in self._backends[:-1]:
            try:
                engine = backend.open()
            except BackendUnavailable as error:
                _LOG.warning("%s backend %s cannot be used, trying the next: %s", self._purpose, backend.name, error)
            else:
                self.backend = backend.name
                return engine
        engine = self._backends[-1].open()
        self.backend = self._backends[-1].name
        return engine


def _open_openvino(model: EmbeddingModel, quantised: bool) -> Engine:
    from .openvino_backend import OpenVinoEngine

    return OpenVinoEngine(model, quantised)


def _open_torch(model: EmbeddingModel) -> Engine:
    from .torch_backend import TorchEngine

    return TorchEngine(model)
