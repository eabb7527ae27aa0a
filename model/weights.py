"""From a checkpoint's tensors to the network: joined, quantised where asked, and placed in the modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np

from .architecture import DecoderConfig
from .checkpoint import Checkpoint
from .decoder import Attention, Decoder, DecoderLayer, FeedForward, RootMeanSquare
from .errors import CheckpointError
from .linear import Int8Linear, Linear, quantise_rows

Compute = Literal["float32", "int8"]
PackedWeights = Mapping[str, np.ndarray]
"""Weights as the network takes them; a matrix ``x`` is ``x.weight`` and, in 8 bits, also ``x.scale``."""


def pack(checkpoint: Checkpoint, compute: Compute) -> dict[str, np.ndarray]:
    """Read every weight once and bring it into the network's form.

    Raises:
        CheckpointError: a weight is missing or has the wrong shape.
    """
    packed: dict[str, np.ndarray] = {}
    for name, (sources, shape) in _matrices(checkpoint.config):
        joined = np.concatenate([_checked(checkpoint, source, (None, shape[1])) for source in sources])
        if joined.shape != shape:
            raise CheckpointError(f"{checkpoint.name}: {' + '.join(sources)} is {joined.shape}, not {shape}")
        if compute == "int8":
            packed[f"{name}.weight"], packed[f"{name}.scale"] = quantise_rows(joined)
        else:
            packed[f"{name}.weight"] = joined
    for name, source in _norms(checkpoint.config):
        packed[name] = _checked(checkpoint, source, (checkpoint.config.width,))
    return packed


def build(config: DecoderConfig, packed: PackedWeights) -> Decoder:
    """The network around packed weights; the products most sensitive to rounding are made fine ones."""

    def linear(name: str, *, fine: bool = False) -> Linear | Int8Linear:
        weight = packed[f"{name}.weight"]
        return Int8Linear(weight, packed[f"{name}.scale"], fine=fine) if weight.dtype == np.int8 else Linear(weight)

    def norm(name: str) -> RootMeanSquare:
        return RootMeanSquare(packed[name], config.norm_epsilon)

    def layer(at: str) -> DecoderLayer:
        attention = Attention(config, linear(f"{at}.attention.inputs"), linear(f"{at}.attention.output"))
        feed = FeedForward(linear(f"{at}.feed.inputs"), linear(f"{at}.feed.output", fine=True))
        return DecoderLayer(norm(f"{at}.attention_norm"), attention, norm(f"{at}.feed_norm"), feed)

    layers = [layer(f"layers.{index}") for index in range(config.layers)]
    head = None if config.tied_head else linear("head", fine=True)
    return Decoder(config, linear("embedding", fine=True), layers, norm("norm"), head)


def matrix_shapes(config: DecoderConfig) -> Iterator[tuple[int, int]]:
    """Rows and columns of each matrix of the network."""
    for _, (_, shape) in _matrices(config):
        yield shape


def _matrices(config: DecoderConfig) -> Iterator[tuple[str, tuple[list[str], tuple[int, int]]]]:
    """Each matrix of the network with the checkpoint's tensors it is stacked from, and its shape."""
    D, F, vocabulary = config.width, config.hidden_width, config.vocabulary
    queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
    yield "embedding", (["model.embed_tokens.weight"], (vocabulary, D))
    if not config.tied_head:
        yield "head", (["lm_head.weight"], (vocabulary, D))
    for index in range(config.layers):
        at, source = f"layers.{index}", f"model.layers.{index}"
        three = [f"{source}.self_attn.{part}_proj.weight" for part in "qkv"]
        yield f"{at}.attention.inputs", (three, (queries + 2 * keys, D))
        yield f"{at}.attention.output", ([f"{source}.self_attn.o_proj.weight"], (D, queries))
        two = [f"{source}.mlp.{part}_proj.weight" for part in ("gate", "up")]
        yield f"{at}.feed.inputs", (two, (2 * F, D))
        yield f"{at}.feed.output", ([f"{source}.mlp.down_proj.weight"], (D, F))


def _norms(config: DecoderConfig) -> Iterator[tuple[str, str]]:
    yield "norm", "model.norm.weight"
    for index in range(config.layers):
        yield f"layers.{index}.attention_norm", f"model.layers.{index}.input_layernorm.weight"
        yield f"layers.{index}.feed_norm", f"model.layers.{index}.post_attention_layernorm.weight"


def _checked(checkpoint: Checkpoint, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    values = checkpoint.tensor(name)
    fits = len(values.shape) == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, values.shape, strict=True)
    )
    if not fits:
        raise CheckpointError(f"{checkpoint.name}: {name} is {values.shape}; the configuration asks for {shape}")
    return values
