"""The embedder: texts become tokens, an engine's vectors, and vectors of length one.

Axes: N texts, B texts of a batch, T tokens (padded), D dimensions.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from ..config.schema import RagSettings
from .batching import encoded
from .engines import Backend, Engine, FirstEngine, backends_for
from .errors import BackendUnavailable
from .models import EmbeddingModel, find_embedding_model, fingerprint
from .values import TokenVectors

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


def open_embedder(settings: RagSettings) -> TransformerEmbedder:
    """The embedder that ``settings`` name; light: nothing is loaded before `warm_up` or first use.

    Raises:
        ModelNotFound: the model's folder is missing, wrong or incomplete.
        BackendUnavailable: the backend asked for cannot run this model.
    """
    model = find_embedding_model(settings.embedding_model)
    if settings.embedding_backend not in ("auto", "torch") and not model.plain:
        raise BackendUnavailable(
            f"embedding model {model.name!r} needs rag.embedding_backend = 'torch': "
            "it has modules, a prompt or a tokenizer that other backends do not run"
        )
    return TransformerEmbedder(model, backends_for(settings.embedding_backend, model), settings.embedding_batch)


class TransformerEmbedder:
    """An `Embedder` over a sentence-transformers folder. Thread-safe; loads once, on first use."""

    def __init__(self, model: EmbeddingModel, backends: Sequence[Backend], batch: int = 32) -> None:
        self._model = model
        self._first = FirstEngine(backends, "embedding")
        self._batch = batch
        self._lock = threading.RLock()
        self._tokenizers: _Tokenizers | None = None
        self._fingerprint: str | None = None

    @property
    def backend(self) -> str | None:
        """Name of the backend that runs, once it is loaded."""
        return self._first.backend

    @property
    def fingerprint(self) -> str:
        with self._lock:
            if self._fingerprint is None:
                self._fingerprint = fingerprint(self._model)
            return self._fingerprint

    @property
    def dimension(self) -> int:
        return self._model.dimension

    @property
    def max_tokens(self) -> int:
        return self._model.max_tokens - self._tokenizer().special

    def warm_up(self) -> None:
        """Load the tokenizer and the engine, converting the model on its first use on this machine."""
        self._tokenizer()
        self._engine()

    def token_offsets(self, text: str) -> Int[np.ndarray, "T 2"]:
        encoding = self._tokenizer().whole.encode(text, add_special_tokens=False)
        return np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)

    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for rows, pooled_BD, _ in self._encoded(self._cut(texts)):
            vectors[rows] = _normalised(pooled_BD)
        return vectors

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        encodings = self._cut(texts)
        found: dict[int, TokenVectors] = {}
        for rows, _, hidden_BTD in self._encoded(encodings):
            for row, hidden_TD in zip(rows, hidden_BTD, strict=True):
                kept = np.flatnonzero(np.array(encodings[row].special_tokens_mask) == 0)
                offsets = np.array(encodings[row].offsets, dtype=np.int64).reshape(-1, 2)[kept]
                found[row] = TokenVectors(_normalised(hidden_TD[kept]), offsets)
        return [found[row] for row in range(len(texts))]

    def _cut(self, texts: Sequence[str]) -> list[Encoding]:
        """The texts' tokens, up to the model's limit."""
        return self._tokenizer().cut.encode_batch(list(texts)) if texts else []

    def _encoded(
        self, encodings: Sequence[Encoding]
    ) -> Iterator[tuple[list[int], Float[np.ndarray, "B D"], Float[np.ndarray, "B T D"]]]:
        if not encodings:
            return iter(())
        tokens = [encoding.ids for encoding in encodings]
        return encoded(self._engine(), tokens, self._model.padding, self._batch)

    def _tokenizer(self) -> _Tokenizers:
        with self._lock:
            if self._tokenizers is None:
                self._tokenizers = _Tokenizers.load(self._model)
            return self._tokenizers

    def _engine(self) -> Engine:
        return self._first.get()


@dataclass(frozen=True, slots=True)
class _Tokenizers:
    """The model's tokenizer twice, because truncation is state of the object: ``cut`` to the limit, and ``whole``."""

    cut: Tokenizer
    whole: Tokenizer
    special: int

    @classmethod
    def load(cls, model: EmbeddingModel) -> _Tokenizers:
        from tokenizers import Tokenizer

        path = model.transformer / "tokenizer.json"
        text = path.read_text("utf-8") if path.is_file() else _converted_tokenizer(model)
        cut, whole = Tokenizer.from_str(text), Tokenizer.from_str(text)
        for tokenizer in (cut, whole):
            tokenizer.no_padding()
            tokenizer.no_truncation()
        cut.enable_truncation(model.max_tokens)
        return cls(cut, whole, whole.num_special_tokens_to_add(is_pair=False))


def _converted_tokenizer(model: EmbeddingModel) -> str:
    """A tokenizer in the format of the tokenizers library, converted from an older one (imports transformers)."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(model.transformer), local_files_only=True).backend_tokenizer.to_str()


def _normalised(vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(norms, 1e-12)).astype(np.float32, copy=False)
