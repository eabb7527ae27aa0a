"""A model of the Llama family in a Hugging Face folder: ``config.json``, safetensors in one file or in shards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .architecture import DecoderConfig, rope_frequencies
from .errors import CheckpointError, UnsupportedCheckpoint
from .tokenizer import TextTokenizer
from .weight_folder import WeightFolder

_FAMILIES = ("llama", "mistral")


class SafetensorsCheckpoint:
    """Implements `Checkpoint`.

    Raises:
        ModelNotFound: the folder lacks ``config.json`` or weights.
        CheckpointError: a file is damaged or missing.
        UnsupportedCheckpoint: another family or feature, by name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = WeightFolder(folder)
        try:
            self._config = _read_config(self._folder.json("config.json"), "lm_head.weight" in self._folder.names)
        except KeyError as error:
            raise CheckpointError(f"{folder / 'config.json'}: {error.args[0]} is missing") from error
        except UnsupportedCheckpoint as error:
            raise UnsupportedCheckpoint(f"{folder}: {error}") from error

    @property
    def name(self) -> str:
        return self._folder.name

    @property
    def config(self) -> DecoderConfig:
        return self._config

    @property
    def fingerprint(self) -> str:
        return self._folder.fingerprint

    def tensor(self, name: str) -> np.ndarray:
        return self._folder.tensor(name)

    def tokenizer(self) -> TextTokenizer:
        from .folder_tokenizer import folder_tokenizer

        return folder_tokenizer(self._folder.path)


def _read_config(given: Mapping[str, Any], has_head: bool) -> DecoderConfig:
    family = given.get("model_type")
    if family not in _FAMILIES:
        raise UnsupportedCheckpoint(f"model type {family!r} is not supported ({' and '.join(_FAMILIES)} are)")
    for feature in ("attention_bias", "mlp_bias"):
        if given.get(feature):
            raise UnsupportedCheckpoint(f"{feature} is not supported")
    if given.get("hidden_act", "silu") != "silu":
        raise UnsupportedCheckpoint(f"activation {given['hidden_act']!r} is not supported (silu is)")
    heads, width, context = given["num_attention_heads"], given["hidden_size"], given["max_position_embeddings"]
    if (given.get("sliding_window") or context) < context:
        raise UnsupportedCheckpoint("a sliding attention window is not supported")
    head_width = given.get("head_dim") or width // heads
    # Files written before transformers 5 keep the two parts of rope_parameters apart.
    rope = given.get("rope_parameters") or {"rope_theta": given.get("rope_theta"), **(given.get("rope_scaling") or {})}
    return DecoderConfig(
        vocabulary=given["vocab_size"],
        width=width,
        layers=given["num_hidden_layers"],
        heads=heads,
        kv_heads=given.get("num_key_value_heads") or heads,
        head_width=head_width,
        hidden_width=given["intermediate_size"],
        context_tokens=context,
        norm_epsilon=given.get("rms_norm_eps", 1e-6),
        rope_frequencies=rope_frequencies(rope.get("rope_theta") or 10000.0, head_width, rope),
        tied_head=bool(given.get("tie_word_embeddings")) or not has_head,
    )
