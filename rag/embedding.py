"""The embedder: tokenises, batches by length, runs an engine, pools and normalises.

Axes: B texts of a batch, T tokens (padded), D dimensions.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Float, Int

from ..config.schema import RagSettings
from .errors import BackendUnavailable
from .models import EmbeddingModel, find_embedding_model, fingerprint
from .values import TokenVectors

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_LOG = logging.getLogger(__name__)
_TOKENS_PER_BATCH = 1024
"""Padded tokens of one forward pass at most: beyond this, activations fall out of the CPU's cache."""
_BATCHES_AHEAD = 16
"""Results that may wait in memory at once: 16 × 1,024 tokens × 384 dimensions × 4 bytes are 25 MB."""


class Engine(Protocol):
    """Runs an embedding model's forward pass. Thread-safe."""

    parallel: int
    """How many batches it runs side by side."""

    def encode(
        self, ids_BT: Int[np.ndarray, "B T"], mask_BT: Int[np.ndarray, "B T"]
    ) -> tuple[Float[np.ndarray, "B D"], Float[np.ndarray, "B T D"]]:
        """Sentence vectors (not yet normalised) and last hidden states, float32; both belong to the caller."""
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """A named way to make an `Engine`; ``open`` raises `BackendUnavailable` where it cannot."""

    name: str
    open: Callable[[], Engine]


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
    return TransformerEmbedder(model, _backends(settings.embedding_backend, model), settings.embedding_batch)


def _backends(choice: str, model: EmbeddingModel) -> tuple[Backend, ...]:
    """The backends to try in order, fastest first."""
    known = {
        "openvino-int8": Backend("openvino-int8", partial(_open_openvino, model, True)),
        "openvino": Backend("openvino", partial(_open_openvino, model, False)),
        "torch": Backend("torch", partial(_open_torch, model)),
    }
    if choice != "auto":
        return (known[choice],)
    return (known["openvino-int8"], known["torch"]) if model.plain else (known["torch"],)


def _open_openvino(model: EmbeddingModel, quantised: bool) -> Engine:
    from .openvino_backend import OpenVinoEngine

    return OpenVinoEngine(model, quantised)


def _open_torch(model: EmbeddingModel) -> Engine:
    from .torch_backend import TorchEngine

    return TorchEngine(model)


class TransformerEmbedder:
    """An `Embedder` over a sentence-transformers folder. Thread-safe; loads once, on first use."""

    def __init__(self, model: EmbeddingModel, backends: Sequence[Backend], batch: int = 32) -> None:
        self._model = model
        self._backends = backends
        self._batch = batch
        self._lock = threading.RLock()
        self._loaded: Engine | None = None
        self._tokenizers: _Tokenizers | None = None
        self._fingerprint: str | None = None
        self.backend: str | None = None
        """Name of the backend that runs, once it is loaded."""

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
        for batch, pooled_BD, _ in self._encoded(texts):
            vectors[batch.rows] = _normalised(pooled_BD)
        return vectors

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        found: dict[int, TokenVectors] = {}
        for batch, _, hidden_BTD in self._encoded(texts):
            for row, encoding, hidden_TD in zip(batch.rows, batch.encodings, hidden_BTD, strict=True):
                kept = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
                offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)[kept]
                found[row] = TokenVectors(_normalised(hidden_TD[kept]), offsets)
        return [found[row] for row in range(len(texts))]

    def _encoded(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[_Batch, Float[np.ndarray, "B D"], Float[np.ndarray, "B T D"]]]:
        """The batches of ``texts`` with what the engine makes of them, as many at once as it runs side by side."""
        batches = self._batches(texts)
        if not batches:
            return
        engine = self._engine()
        if len(batches) == 1 or engine.parallel == 1:
            for batch in batches:
                yield batch, *engine.encode(*self._padded(batch))
            return
        with ThreadPoolExecutor(engine.parallel, thread_name_prefix="embed") as pool:
            for begin in range(0, len(batches), _BATCHES_AHEAD):
                ahead = batches[begin : begin + _BATCHES_AHEAD]
                results = pool.map(lambda batch: engine.encode(*self._padded(batch)), ahead)
                for batch, (pooled_BD, hidden_BTD) in zip(ahead, results, strict=True):
                    yield batch, pooled_BD, hidden_BTD

    def _batches(self, texts: Sequence[str]) -> list[_Batch]:
        """Texts of like length together, so that little is computed on padding; the longest first."""
        encodings = self._tokenizer().cut.encode_batch(list(texts)) if texts else []
        order = sorted(range(len(texts)), key=lambda row: -len(encodings[row].ids))
        batches = []
        begin = 0
        while begin < len(order):
            longest = len(encodings[order[begin]].ids)
            size = max(1, min(self._batch, _TOKENS_PER_BATCH // longest))
            rows = order[begin : begin + size]
            batches.append(_Batch(rows, [encodings[row] for row in rows]))
            begin += size
        return batches

    def _padded(self, batch: _Batch) -> tuple[Int[np.ndarray, "B T"], Int[np.ndarray, "B T"]]:
        return _padded(batch.encodings, self._model.padding)

    def _tokenizer(self) -> _Tokenizers:
        with self._lock:
            if self._tokenizers is None:
                self._tokenizers = _Tokenizers.load(self._model)
            return self._tokenizers

    def _engine(self) -> Engine:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._open_first()
            return self._loaded

    def _open_first(self) -> Engine:
        for backend in self._backends[:-1]:
            try:
                engine = backend.open()
            except BackendUnavailable as error:
                _LOG.warning("embedding backend %s cannot be used, trying the next: %s", backend.name, error)
            else:
                self.backend = backend.name
                return engine
        engine = self._backends[-1].open()
        self.backend = self._backends[-1].name
        return engine


@dataclass(frozen=True, slots=True)
class _Batch:
    """Tokenised texts that go through the engine together; ``rows`` are their places among all texts."""

    rows: list[int]
    encodings: list[Encoding]


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


def _padded(encodings: Sequence[Encoding], padding: int) -> tuple[Int[np.ndarray, "B T"], Int[np.ndarray, "B T"]]:
    longest = max(len(encoding.ids) for encoding in encodings)
    ids_BT = np.full((len(encodings), longest), padding, dtype=np.int64)
    mask_BT = np.zeros_like(ids_BT)
    for row, encoding in enumerate(encodings):
        ids_BT[row, : len(encoding.ids)] = encoding.ids
        mask_BT[row, : len(encoding.ids)] = 1
    return ids_BT, mask_BT


def _normalised(vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(norms, 1e-12)).astype(np.float32, copy=False)
