"""A BERT encoder at rest in a Hugging Face folder: its sizes, and its weights by their names there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import CheckpointError, UnsupportedCheckpoint
from .weight_folder import WeightFolder

_PREFIX = "bert."
"""Stands before every name where the folder was saved with a task's head around the encoder."""


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """An encoder of the BERT family: post-normed, learned absolute positions, full attention, exact GELU."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    hidden_width: int
    positions: int
    token_types: int
    norm_epsilon: float

    def __post_init__(self) -> None:
        for name in ("vocabulary", "width", "layers", "heads", "hidden_width", "positions", "token_types"):
            size = getattr(self, name)
            if not isinstance(size, int) or size < 1:
                raise UnsupportedCheckpoint(f"{name} is {size!r}; it must be a positive whole number")
        if self.width % self.heads:
            raise UnsupportedCheckpoint(f"{self.heads} heads cannot share a width of {self.width} evenly")


@dataclass(frozen=True, slots=True)
class EncoderCheckpoint:
    """``weights`` are float32, matrices [outputs, inputs], by the names of Hugging Face's ``BertModel``."""

    name: str
    config: EncoderConfig
    weights: Mapping[str, np.ndarray]


def load_encoder(folder: Path) -> EncoderCheckpoint:
    """Read a folder's ``config.json`` and weights (safetensors); a pooler and heads are left out.

    Raises:
        ModelNotFound: the folder lacks ``config.json`` or weights.
        CheckpointError: a file is damaged, a weight is missing or has the wrong shape.
        UnsupportedCheckpoint: another family or feature, by name.
    """
    files = WeightFolder(folder)
    try:
        config = _read_config(files.json("config.json"))
    except KeyError as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error.args[0]} is missing") from error
    except UnsupportedCheckpoint as error:
        raise UnsupportedCheckpoint(f"{folder}: {error}") from error
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in files.names) else ""
    weights = {}
    for name, shape in weight_shapes(config):
        weights[name] = files.tensor(prefix + name)
        if weights[name].shape != shape:
            raise CheckpointError(f"{folder}: {name} is {weights[name].shape}; the configuration asks for {shape}")
    return EncoderCheckpoint(files.name, config, weights)


def linear_shapes(config: EncoderConfig) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of each linear map of the layers, by module name (``encoder.layer.0.output.dense``)."""
    D, F = config.width, config.hidden_width
    shapes = {}
    for index in range(config.layers):
        at = f"encoder.layer.{index}"
        shapes |= {f"{at}.attention.self.{part}": (D, D) for part in ("query", "key", "value")}
        shapes[f"{at}.attention.output.dense"] = (D, D)
        shapes[f"{at}.intermediate.dense"] = (F, D)
        shapes[f"{at}.output.dense"] = (D, F)
    return shapes


def weight_shapes(config: EncoderConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every weight of the network with its shape."""
    D = config.width
    yield "embeddings.word_embeddings.weight", (config.vocabulary, D)
    yield "embeddings.position_embeddings.weight", (config.positions, D)
    yield "embeddings.token_type_embeddings.weight", (config.token_types, D)
    for module, (outputs, inputs) in linear_shapes(config).items():
        yield f"{module}.weight", (outputs, inputs)
        yield f"{module}.bias", (outputs,)
    norms = ["embeddings.LayerNorm"]
    for index in range(config.layers):
        norms += [f"encoder.layer.{index}.{part}.LayerNorm" for part in ("attention.output", "output")]
    for norm in norms:
        yield f"{norm}.weight", (D,)
        yield f"{norm}.bias", (D,)


def _read_config(given: Mapping[str, Any]) -> EncoderConfig:
    if given.get("model_type") != "bert":
        raise UnsupportedCheckpoint(f"model type {given.get('model_type')!r} is not supported (bert is)")
    supported = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
    for feature, wanted in supported.items():
        if given.get(feature, wanted) != wanted:
            raise UnsupportedCheckpoint(f"{feature} {given[feature]!r} is not supported ({wanted!r} is)")
    return EncoderConfig(
        vocabulary=given["vocab_size"],
        width=given["hidden_size"],
        layers=given["num_hidden_layers"],
        heads=given["num_attention_heads"],
        hidden_width=given["intermediate_size"],
        positions=given["max_position_embeddings"],
        token_types=given.get("type_vocab_size", 2),
        norm_epsilon=given.get("layer_norm_eps", 1e-12),
    )
