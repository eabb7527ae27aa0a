"""An encoder with an adapter worked in: merged once on a machine, and then run as any embedding model is."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..config.paths import cache_dir
from ..config.schema import RagSettings
from .cache_folders import made_whole
from .encoder_adapter import EncoderAdapter, PairFormat, adapter_base, read_encoder_adapter
from .engines import FirstEngine, backends_for
from .errors import ModelNotFound
from .models import DEFAULT_PACKAGE, EmbeddingModel, find_embedding_model, fingerprint

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_LOG = logging.getLogger(__name__)
_FORMAT = 1
"""Raised when merging changes, so that older copies in the cache are not used."""
_SAME_WEIGHTS = {DEFAULT_PACKAGE: "all-minilm-l6-v2"}
"""The package carries the weights of sentence-transformers' model of that name."""


@dataclass(frozen=True, slots=True)
class MergedEncoder:
    """The network, the tokens of its pairs, and the adapter, whose head is not part of the network."""

    engine: FirstEngine
    tokens: PairTokens
    adapter: EncoderAdapter

    @classmethod
    def load(cls, folder: Path, base: EmbeddingModel, backend: str, name: str, purpose: str) -> MergedEncoder:
        """Merge the adapter in ``folder`` into ``base``, on the first use on this machine; the engine opens later.

        Raises:
            ModelNotFound: a file is missing or damaged, or the adapter was made for another base.
        """
        adapter = read_encoder_adapter(folder)
        check_made_for(folder, adapter.base_name, base)
        model = _merged_model(adapter, base, name)
        engine = FirstEngine(backends_for(backend, model), purpose)
        return cls(engine, PairTokens.load(model, adapter.pairs), adapter)


def base_of(folder: Path, settings: RagSettings) -> EmbeddingModel:
    """The base of the adapter in ``folder``: the embedding model if it is that, or else found by its name.

    Raises:
        ModelNotFound: the adapter's configuration is damaged, or its base is not on this machine.
    """
    wanted = adapter_base(folder)
    base = find_embedding_model(settings.embedding_model)
    if same_base(wanted, base.name):
        return base
    return find_embedding_model("default" if same_base(wanted, DEFAULT_PACKAGE) else wanted)


def same_base(one: str, other: str) -> bool:
    """Whether two names are of one model: the owner or folder in front does not count, nor do capitals."""
    return _plain(one) == _plain(other)


def check_made_for(folder: Path, wanted: str, base: EmbeddingModel) -> None:
    """Refuse the adapter in ``folder``, made for ``wanted``, if that is not ``base``.

    Raises:
        ModelNotFound: it is another model, or none is named.
    """
    if not same_base(wanted, base.name):
        raise ModelNotFound(
            f"adapter {folder} was made for {wanted or 'a base it does not name'}, not for {base.name}: choose that "
            "base, or, if both are the same model, correct base_model_name_or_path in its adapter_config.json"
        )


@dataclass(frozen=True, slots=True)
class PairTokens:
    """Lays a query and a passage out as ``[CLS] query [SEP] passage [SEP]``, as in training."""

    tokenizer: Tokenizer
    first: int
    last: int
    form: PairFormat

    @classmethod
    def load(cls, model: EmbeddingModel, form: PairFormat) -> PairTokens:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(model.transformer / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        around = tokenizer.encode("").ids
        if len(around) != 2:
            raise ModelNotFound(f"model {model.name!r}: its base puts {len(around)} special tokens around a text")
        return cls(tokenizer, around[0], around[1], form)

    def pairs(self, query: str, passages: Sequence[str]) -> list[list[int]]:
        """Tokens of each pair; the passage is cut at its end, a query only where it is very long."""
        texts = self.encodings([query, *passages])
        head = [self.first, *texts[0].ids[: self.form.question_tokens], self.last]
        room = self.form.max_tokens - len(head) - 1
        return [[*head, *text.ids[:room], self.last] for text in texts[1:]]

    def encodings(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokens of texts with their places in them, whole and without special ones."""
        return self.tokenizer.encode_batch(list(texts), add_special_tokens=False)


def _plain(name: str) -> str:
    plain = name.rstrip("/").rpartition("/")[2].lower()
    return _SAME_WEIGHTS.get(plain, plain)


def _merged_model(adapter: EncoderAdapter, base: EmbeddingModel, name: str) -> EmbeddingModel:
    """The base with the adapter worked in, as a model of its own in the cache; made when missing."""
    folder = cache_dir() / "adapted" / f"{fingerprint(base)}-{adapter.digest[:16]}-merged{_FORMAT}"
    if not folder.is_dir():
        _LOG.info("merging the adapter of %s into %s, once", name, base.name)
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
