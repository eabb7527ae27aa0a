"""The models that a search runs, opened once for all settings that name the same."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from weakref import WeakValueDictionary

from ..config.schema import RagSettings
from .embedding import open_embedder
from .protocols import Embedder, Reranker
from .reranking import open_reranker


@dataclass(frozen=True, slots=True)
class SearchParts:
    """What one snapshot of settings searches with. Whoever holds it keeps the models in memory."""

    embedder: Embedder
    reranker: Reranker | None

    def warm_up(self) -> None:
        """Load them.

        Raises:
            BackendUnavailable: one cannot be loaded.
        """
        self.embedder.warm_up()
        if self.reranker is not None:
            self.reranker.warm_up()


def models_of(settings: RagSettings) -> tuple[object, ...]:
    """What two settings have in common that run the same models."""
    return (*embedding_of(settings), settings.reranker)


def embedding_of(settings: RagSettings) -> tuple[object, ...]:
    """What two settings have in common that embed with the same model, in the same way."""
    return (settings.embedding_model, settings.embedding_backend, settings.embedding_batch)


class OpenModels:
    """Opens embedding models and rerankers, and forgets those that nobody holds any more. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._embedders: WeakValueDictionary[tuple, Embedder] = WeakValueDictionary()
        self._rerankers: WeakValueDictionary[tuple, Reranker] = WeakValueDictionary()

    def embedder(self, settings: RagSettings) -> Embedder:
        """The embedding model of ``settings``, light until it is used.

        Raises:
            ModelNotFound: its folder is missing or incomplete.
        """
        key = embedding_of(settings)
        with self._lock:
            found = self._embedders.get(key)
            if found is None:
                found = self._embedders[key] = open_embedder(settings)
            return found

    def parts(self, settings: RagSettings) -> SearchParts:
        """Embedding model and reranker of ``settings``.

        Raises:
            ModelNotFound: one of their folders is missing or incomplete.
        """
        with self._lock:
            embedder = self.embedder(settings)
            key = (settings.reranker, id(embedder))
            reranker = self._rerankers.get(key)
            if reranker is None and (reranker := open_reranker(settings, embedder)) is not None:
                self._rerankers[key] = reranker
            return SearchParts(embedder, reranker)
