"""Scores passages against a query jointly: chooses the reranker, a cross-encoder or late interaction."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from ..config.schema import RagSettings
from .analysis import detect_language
from .encoder_adapter import adapter_base, is_adapter
from .errors import BackendUnavailable, ModelNotFound
from .models import find_embedding_model, find_model_folder
from .protocols import Embedder, Reranker
from .silence import silent_transformers
from .stop_words import STOP_WORDS

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

_BUNDLED = Path(__file__).parent / "adapters" / "reranker"
_CACHE_BYTES = 256 * 2**20
_STOP_WEIGHT = 0.1


def open_reranker(settings: RagSettings, embedder: Embedder, bundled: Path = _BUNDLED) -> Reranker | None:
    """The reranker that ``settings`` name; None for "none".

    "auto" is the adapter in ``bundled`` where it is there and was made for the embedding model; otherwise late
    interaction, which needs no more weights. A name is that of a cross-encoder's folder, or of an adapter's.

    Raises:
        ModelNotFound: the folder is missing or incomplete, or the base of its adapter is not here.
    """
    if settings.reranker == "none":
        return None
    if settings.reranker == "auto" and is_adapter(bundled):
        from .adapter_reranker import open_adapter_reranker
        from .merged_encoder import same_base

        if same_base(adapter_base(bundled), find_embedding_model(settings.embedding_model).name):
            return open_adapter_reranker(bundled, settings)
    if settings.reranker in ("auto", "late-interaction"):
        return LateInteractionReranker(embedder)
    folder = find_model_folder(settings.reranker)
    if is_adapter(folder):
        from .adapter_reranker import open_adapter_reranker

        return open_adapter_reranker(folder, settings, settings.reranker)
    if not (folder / "config.json").is_file():
        raise ModelNotFound(f"reranker {settings.reranker!r} is incomplete: {folder} has no config.json")
    return CrossEncoderReranker(folder, settings.reranker)


class CrossEncoderReranker:
    """A `Reranker` over `sentence_transformers.CrossEncoder`; importing it costs seconds. Thread-safe."""

    def __init__(self, folder: Path, name: str | None = None, batch: int = 16) -> None:
        self.name = name or folder.name
        self._folder = folder
        self._batch = batch
        self._lock = threading.Lock()
        self._model: CrossEncoder | None = None

    def warm_up(self) -> None:
        with self._lock:
            self._loaded()

    def score(self, query: str, passages: Sequence[str]) -> Float[np.ndarray, " N"]:
        if not passages:
            return np.zeros(0, dtype=np.float32)
        with self._lock:
            pairs = [(query, passage) for passage in passages]
            scores = self._loaded().predict(pairs, batch_size=self._batch, show_progress_bar=False)
        return np.asarray(scores, dtype=np.float32).reshape(len(passages))

    def _loaded(self) -> CrossEncoder:
        if self._model is None:
            from sentence_transformers import CrossEncoder

            try:
                with silent_transformers():
                    model = CrossEncoder(str(self._folder), device="cpu", local_files_only=True)
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                reason = str(error).strip().split("\n", 1)[0]
                raise BackendUnavailable(f"reranker {self.name!r} cannot be loaded: {reason}") from error
            if model.num_labels != 1:
                raise BackendUnavailable(f"reranker {self.name!r} gives {model.num_labels} scores per passage, not one")
            self._model = model
        return self._model


class LateInteractionReranker:
    """A `Reranker` by MaxSim: each query token's best match in the passage, averaged (ColBERT).

    Khattab & Zaharia 2020, arXiv:2004.12832. Token vectors come from the embedding model; those of passages are
    kept (float16, least recently used first out, ``cache_bytes`` at most), so that a repeated passage costs nothing.
    Tokens of stop words and punctuation count a tenth: every passage matches them, and an encoder trained on
    sentences, not tokens, does not learn to ignore them by itself.
    """

    def __init__(self, embedder: Embedder, cache_bytes: int = _CACHE_BYTES) -> None:
        self.name = "late-interaction"
        self._embedder = embedder
        self._cache = _VectorCache(cache_bytes)

    def warm_up(self) -> None:
        self._embedder.warm_up()

    def score(self, query: str, passages: Sequence[str]) -> Float[np.ndarray, " N"]:
        scores = np.zeros(len(passages), dtype=np.float32)
        encoded = self._embedder.embed_tokens([query])[0]
        if not len(encoded.vectors):
            return scores
        weights_T = _token_weights(query, encoded.offsets)
        for row, passage_TD in enumerate(self._passage_vectors(passages)):
            if len(passage_TD):
                best_T = (encoded.vectors @ passage_TD.astype(np.float32).T).max(axis=1)
                scores[row] = best_T @ weights_T
        return scores

    def _passage_vectors(self, passages: Sequence[str]) -> list[Float[np.ndarray, "T D"]]:
        found = [self._cache.get(passage) for passage in passages]
        missing = [row for row, vectors in enumerate(found) if vectors is None]
        fresh = self._embedder.embed_tokens([passages[row] for row in missing])
        for row, encoded in zip(missing, fresh, strict=True):
            vectors = encoded.vectors.astype(np.float16)
            self._cache.put(passages[row], vectors)
            found[row] = vectors
        return [vectors for vectors in found if vectors is not None]


def _token_weights(query: str, offsets: Int[np.ndarray, "T 2"]) -> Float[np.ndarray, " T"]:
    """The share of each query token in the score; the shares sum to 1."""
    stops = STOP_WORDS.get(detect_language(query) or "", frozenset())
    meaningful = np.zeros(len(query), dtype=bool)
    for word in re.finditer(r"[^\W_]+", query):
        meaningful[word.start() : word.end()] = word.group().lower() not in stops
    counts = [1.0 if meaningful[start:end].any() else _STOP_WEIGHT for start, end in offsets]
    return np.array(counts, dtype=np.float32) / np.float32(sum(counts))


class _VectorCache:
    """Arrays by text, the least recently used dropped when their bytes exceed a limit. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: str) -> np.ndarray | None:
        key = _key(text)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, text: str, vectors: np.ndarray) -> None:
        key = _key(text)
        with self._lock:
            self._bytes += vectors.nbytes - (self._kept[key].nbytes if key in self._kept else 0)
            self._kept[key] = vectors
            self._kept.move_to_end(key)
            while self._bytes > self._limit:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= dropped.nbytes


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
