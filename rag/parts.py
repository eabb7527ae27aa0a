"""The models that a search runs, opened once for all settings that name the same."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from weakref import WeakValueDictionary

from ..config.schema import RagSettings
from .embedding import open_embedder
from .extractive_reader import ExtractiveReader, open_extractor
from .protocols import Embedder, Reranker
from .reranking import open_reranker


@dataclass(frozen=True, slots=True)
class SearchParts:
    """What one snapshot of settings searches with. Whoever holds it keeps the models in memory."""

    embedder: Embedder
    reranker: Reranker | None
    extractor: ExtractiveReader | None = None

    def warm_up(self) -> None:
        """Load them.

        Raises:
            BackendUnavailable: one cannot be loaded.
        """
        self.embedder.warm_up()
        for part in (self.reranker, self.extractor):
            if part is not None:
                part.warm_up()


def models_of(settings: RagSettings) -> tuple[object, ...]:
    """What two settings have in common that run the same models."""
    return (*embedding_of(settings), settings.reranker, settings.extractor)


def embedding_of(settings: RagSettings) -> tuple[object, ...]:
    """What two settings have in common that embed with the same model, in the same way."""
    return (settings.embedding_model, settings.embedding_backend, settings.embedding_batch)


class OpenModels:
    """Opens encoders of all three kinds, and forgets those that nobody holds any more. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._embedders: WeakValueDictionary[tuple, Embedder] = WeakValueDictionary()
        self._rerankers: WeakValueDictionary[tuple, Reranker] = WeakValueDictionary()
        self._extractors: WeakValueDictionary[tuple, ExtractiveReader] = WeakValueDictionary()

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
        """Embedding model, reranker and extractive reader of ``settings``.

        Raises:
            ModelNotFound: one of their folders is missing or incomplete.
        """
        with self._lock:
            embedder = self.embedder(settings)
            key = (settings.reranker, id(embedder))
            reranker = self._rerankers.get(key)
            if reranker is None and (reranker := open_reranker(settings, embedder)) is not None:
                self._rerankers[key] = reranker
            key = (settings.extractor, id(embedder))
            extractor = self._extractors.get(key)
            if extractor is None and (extractor := open_extractor(settings)) is not None:
                self._extractors[key] = extractor
            return SearchParts(embedder, reranker, extractor)
