"""A reranker that is a small adapter over an encoder: the two are merged once, and run as any embedding model is."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ..config.paths import cache_dir
from ..config.schema import RagSettings
from .batching import encoded
from .cache_folders import made_whole
from .engines import FirstEngine, backends_for
from .errors import ModelNotFound
from .models import DEFAULT_PACKAGE, EmbeddingModel, find_embedding_model, fingerprint
from .ranking_adapter import PairFormat, RankingAdapter, adapter_base, read_ranking_adapter

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LOG = logging.getLogger(__name__)
_FORMAT = 1
"""Raised when merging changes, so that older copies in the cache are not used."""
_SAME_WEIGHTS = {DEFAULT_PACKAGE: "all-minilm-l6-v2"}
"""The package carries the weights of sentence-transformers' model of that name."""
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
        return None if self._parts is None else self._parts.engine.backend

    def warm_up(self) -> None:
        """Merge and convert, on the first use on this machine, and load.

        Raises:
            ModelNotFound: a file is missing or damaged, or the adapter was made for another base.
            BackendUnavailable: no engine can run the model.
        """
        self._loaded().engine.get()

    def score(self, query: str, passages: Sequence[str]) -> Float[np.ndarray, " N"]:
        scores = np.zeros(len(passages), dtype=np.float32)
        if not passages:
            return scores
        parts = self._loaded()
        pairs = parts.tokens.pairs(query, passages)
        for rows, first_BD, _ in encoded(parts.engine.get(), pairs, self._base.padding, _BATCH):
            scores[rows] = first_BD @ parts.weight_D + np.float32(parts.bias)
        return scores

    def _loaded(self) -> _Parts:
        with self._lock:
            if self._parts is None:
                adapter = read_ranking_adapter(self._folder)
                _check_name(self._folder, adapter.base_name, self._base)
                weight_D, bias = adapter.head(self._base.dimension)
                model = _merged_model(adapter, self._base, self.name)
                engine = FirstEngine(backends_for(self._choice, model), "reranker")
                self._parts = _Parts(engine, _PairTokens.load(model, adapter.pairs), weight_D, bias)
            return self._parts


def open_adapter_reranker(folder: Path, settings: RagSettings, name: str | None = None) -> AdapterReranker:
    """The reranker of an adapter's folder; its base is the embedding model if it is that, or else found by its name.

    Raises:
        ModelNotFound: the adapter's configuration is damaged, or its base is not on this machine.
    """
    wanted = adapter_base(folder)
    base = find_embedding_model(settings.embedding_model)
    if not same_base(wanted, base.name):
        base = find_embedding_model("default" if same_base(wanted, DEFAULT_PACKAGE) else wanted)
    return AdapterReranker(folder, base, settings.embedding_backend, name)


def same_base(one: str, other: str) -> bool:
    """Whether two names are of one model: the owner or folder in front does not count, nor do capitals."""
    return _plain(one) == _plain(other)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is loaded."""

    engine: FirstEngine
    tokens: _PairTokens
    weight_D: Float[np.ndarray, " D"]  # noqa: N815
    bias: float


@dataclass(frozen=True, slots=True)
class _PairTokens:
    """Lays a query and a passage out as ``[CLS] query [SEP] passage [SEP]``, as in training."""

    tokenizer: Tokenizer
    first: int
    last: int
    form: PairFormat

    @classmethod
    def load(cls, model: EmbeddingModel, form: PairFormat) -> _PairTokens:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(model.transformer / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        around = tokenizer.encode("").ids
        if len(around) != 2:
            raise ModelNotFound(f"reranker {model.name!r}: its base puts {len(around)} special tokens around a text")
        return cls(tokenizer, around[0], around[1], form)

    def pairs(self, query: str, passages: Sequence[str]) -> list[list[int]]:
        """Tokens of each pair; the passage is cut at its end, a query only where it is very long."""
        texts = self.tokenizer.encode_batch([query, *passages], add_special_tokens=False)
        head = [self.first, *texts[0].ids[: self.form.question_tokens], self.last]
        room = self.form.max_tokens - len(head) - 1
        return [[*head, *text.ids[:room], self.last] for text in texts[1:]]


def _check_name(folder: Path, wanted: str, base: EmbeddingModel) -> None:
    if not same_base(wanted, base.name):
        raise ModelNotFound(
            f"adapter {folder} was made for {wanted or 'a base it does not name'}, not for {base.name}: choose that "
            "base, or, if both are the same model, correct base_model_name_or_path in its adapter_config.json"
        )


def _plain(name: str) -> str:
    plain = name.rstrip("/").rpartition("/")[2].lower()
    return _SAME_WEIGHTS.get(plain, plain)


def _merged_model(adapter: RankingAdapter, base: EmbeddingModel, name: str) -> EmbeddingModel:
    """The base with the adapter worked in, as a model of its own in the cache; made when missing."""
    folder = cache_dir() / "reranking" / f"{fingerprint(base)}-{adapter.digest[:16]}-merged{_FORMAT}"
    if not folder.is_dir():
        _LOG.info("merging the adapter of reranker %s into %s, once", name, base.name)
        weights = adapter.merge_into(_weights(base), base.name)
        try:
            with made_whole(folder) as fresh:
                _write_model(fresh, base, weights)
        except OSError as error:
            raise ModelNotFound(f"the cache folder {folder.parent} cannot be written ({error})") from error
    return replace(base, name=Path(name).name, folder=folder, transformer=folder, pooling="cls", plain=True)


def _weights(base: EmbeddingModel) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    files = sorted(base.transformer.glob("*.safetensors"))
    if not files or not (base.transformer / "tokenizer.json").is_file():
        raise ModelNotFound(
            f"model {base.name!r} cannot take an adapter: {base.transformer} lacks safetensors or tokenizer.json"
        )
    try:
        return {name: values for file in files for name, values in load_file(file).items()}
    except (OSError, SafetensorError) as error:
        raise ModelNotFound(f"model {base.name!r}: {base.transformer} cannot be read ({error})") from error


def _write_model(folder: Path, base: EmbeddingModel, weights: dict[str, np.ndarray]) -> None:
    """A sentence-transformers folder whose vector is the first token's hidden state."""
    from safetensors.numpy import save_file

    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (base.transformer / file).is_file():
            shutil.copyfile(base.transformer / file, folder / file)
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": base.dimension, "pooling_mode_cls_token": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), "utf-8")
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling")])
    ]
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
