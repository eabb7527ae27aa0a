"""A reranker that is a small adapter over an encoder: the two are merged once, and run as any embedding model is."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ..config.schema import RagSettings
from .batching import encoded
from .encoder_adapter import RANKING_HEAD
from .merged_encoder import MergedEncoder, base_of
from .models import EmbeddingModel

_BATCH = 32


class AdapterReranker:
    """A `Reranker`: the encoder reads query and passage together, a linear head scores its first hidden state.

    Nogueira & Cho 2019, arXiv:1901.04085. Light to construct; loads on `warm_up` or first use. Thread-safe.
    """

    def __init__(self, folder: Path, base: EmbeddingModel, backend: str = "auto", name: str | None = None) -> None:
        """``folder`` holds the adapter, ``base`` is the encoder it was made for, ``backend`` one of `backends_for`."""
        self.name = name or folder.name
        self._folder, self._base, self._choice = folder, base, backend
        self._lock = threading.Lock()
        self._parts: _Parts | None = None

    @property
    def backend(self) -> str | None:
        """Name of the backend that runs, once it is loaded."""
        return None if self._parts is None else self._parts.encoder.engine.backend

    def warm_up(self) -> None:
        """Merge and convert, on the first use on this machine, and load.

        Raises:
            ModelNotFound: a file is missing or damaged, or the adapter was made for another base.
            BackendUnavailable: no engine can run the model.
        """
        self._loaded().encoder.engine.get()

    def score(self, query: str, passages: Sequence[str]) -> Float[np.ndarray, " N"]:
        scores = np.zeros(len(passages), dtype=np.float32)
        if not passages:
            return scores
        parts = self._loaded()
        pairs = parts.encoder.tokens.pairs(query, passages)
        for rows, first_BD, _ in encoded(parts.encoder.engine.get(), pairs, self._base.padding, _BATCH):
            scores[rows] = first_BD @ parts.weight_D + np.float32(parts.bias)
        return scores

    def _loaded(self) -> _Parts:
        with self._lock:
            if self._parts is None:
                encoder = MergedEncoder.load(self._folder, self._base, self._choice, self.name, "reranker")
                weight_1D, bias_1 = encoder.adapter.head(RANKING_HEAD, self._base.dimension)
                self._parts = _Parts(encoder, weight_1D[0], float(bias_1[0]))
            return self._parts


def open_adapter_reranker(folder: Path, settings: RagSettings, name: str | None = None) -> AdapterReranker:
    """The reranker of an adapter's folder; its base is the embedding model if it is that, or else found by its name.

    Raises:
        ModelNotFound: the adapter's configuration is damaged, or its base is not on this machine.
    """
    return AdapterReranker(folder, base_of(folder, settings), settings.embedding_backend, name)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is loaded."""

    encoder: MergedEncoder
    weight_D: Float[np.ndarray, " D"]  # noqa: N815
    bias: float
