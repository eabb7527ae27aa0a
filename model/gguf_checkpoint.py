"""A model of the Llama family in one GGUF file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from .architecture import DecoderConfig, rope_frequencies
from .errors import CheckpointError, UnsupportedCheckpoint
from .gguf import GgufFile
from .tokenizer import TextTokenizer

_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTER_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


class GgufCheckpoint:
    """Implements `Checkpoint`.

    Raises:
        CheckpointError: the file is damaged.
        UnsupportedCheckpoint: another architecture or tensor type, by name.
    """

    def __init__(self, path: Path) -> None:
        self._file = GgufFile(path)
        try:
            self._config = _read_config(self._file)
        except CheckpointError as error:
            raise type(error)(f"{path}: {error}") from error

    @property
    def name(self) -> str:
        return self._file.path.stem

    @property
    def config(self) -> DecoderConfig:
        return self._config

    @property
    def fingerprint(self) -> str:
        status = self._file.path.stat()
        seen = f"{self._file.path.resolve()} {status.st_size} {status.st_mtime_ns}"
        return hashlib.sha256(seen.encode()).hexdigest()[:16]

    def tensor(self, name: str) -> np.ndarray:
        stored = _stored_name(name)
        entry = self._file.tensors.get(stored)
        if entry is None:
            raise CheckpointError(f"{self._file.path}: tensor {stored} is missing")
        values = entry.type.dequantise(self._file.raw(stored), entry.shape)
        if stored.endswith(("attn_q.weight", "attn_k.weight")):
            return _halves(values, self._config.head_width)
        return values

    def tokenizer(self) -> TextTokenizer:
        from .gguf_tokenizer import gguf_tokenizer

        try:
            return gguf_tokenizer(self._file.metadata)
        except CheckpointError as error:
            raise type(error)(f"{self._file.path}: {error}") from error


def _stored_name(name: str) -> str:
    if name in _OUTER_NAMES:
        return _OUTER_NAMES[name]
    _, _, layer, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{layer}.{_LAYER_NAMES[part]}.weight"


def _halves(weight: np.ndarray, head_width: int) -> np.ndarray:
    """llama.cpp stores query and key rows so that rotary pairs are neighbours; put them half a head apart again."""
    rows, columns = weight.shape
    pairs = weight.reshape(rows // head_width, head_width // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _read_config(file: GgufFile) -> DecoderConfig:
    metadata = file.metadata
    architecture = metadata.get("general.architecture")
    if architecture != "llama":
        raise UnsupportedCheckpoint(f"architecture {architecture!r} is not supported (llama is)")
    if metadata.get("llama.expert_count"):
        raise UnsupportedCheckpoint("mixtures of experts are not supported")
    if "token_embd.weight" not in file.tensors:
        raise CheckpointError("tensor token_embd.weight is missing")

    def number(key: str, default: Any = None) -> Any:
        value = metadata.get(f"llama.{key}", default)
        if not isinstance(value, (int, float)):
            raise CheckpointError(f"damaged: llama.{key} is {'missing' if value is None else value}")
        return value

    heads, width = number("attention.head_count"), number("embedding_length")
    head_width = number("attention.key_length", width // heads if heads else 0)
    scaling = metadata.get("llama.rope.scaling.type", "none")
    if scaling not in ("none", "linear"):
        raise UnsupportedCheckpoint(f"rotary position scaling {scaling!r} is not supported (linear is)")
    linear = {"rope_type": "linear", "factor": number("rope.scaling.factor", 1.0)} if scaling == "linear" else None
    frequencies = rope_frequencies(
        number("rope.freq_base", 10000.0), number("rope.dimension_count", head_width), linear
    )
    return DecoderConfig(
        vocabulary=file.tensors["token_embd.weight"].shape[0],
        width=width,
        layers=number("block_count"),
        heads=heads,
        kv_heads=number("attention.head_count_kv", heads),
        head_width=head_width,
        hidden_width=number("feed_forward_length"),
        context_tokens=number("context_length"),
        norm_epsilon=number("attention.layer_norm_rms_epsilon"),
        rope_frequencies=_with_factors(file, frequencies),
        tied_head="output.weight" not in file.tensors,
    )


def _with_factors(file: GgufFile, frequencies: tuple[float, ...]) -> tuple[float, ...]:
    """Converters of Llama 3.1 and later store what each frequency is divided by."""
    entry = file.tensors.get("rope_freqs.weight")
    if entry is None:
        return frequencies
    factors = entry.type.dequantise(file.raw(entry.name), entry.shape)
    return tuple(frequency / float(factor) for frequency, factor in zip(frequencies, factors, strict=True))
