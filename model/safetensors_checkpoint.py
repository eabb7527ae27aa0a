"""A model of the Llama family in a Hugging Face folder: ``config.json``, safetensors in one file or in shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from .architecture import DecoderConfig, rope_frequencies
from .errors import CheckpointError, ModelNotFound, UnsupportedCheckpoint
from .tokenizer import TextTokenizer

_ONE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_FLOATS = {"F32", "F16", "BF16"}
_FAMILIES = ("llama", "mistral")


class SafetensorsCheckpoint:
    """Implements `Checkpoint`.

    Raises:
        ModelNotFound: the folder lacks ``config.json`` or weights.
        CheckpointError: a file is damaged or missing.
        UnsupportedCheckpoint: another family or feature, by name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not (folder / "config.json").is_file():
            raise ModelNotFound(f"{folder} is no model: it has no config.json")
        self._files = self._weight_files()
        try:
            self._config = _read_config(self._json("config.json"), "lm_head.weight" in self._files)
        except KeyError as error:
            raise CheckpointError(f"{folder / 'config.json'}: {error.args[0]} is missing") from error
        except UnsupportedCheckpoint as error:
            raise UnsupportedCheckpoint(f"{folder}: {error}") from error

    @property
    def name(self) -> str:
        parent = self._folder.resolve().parent
        if parent.name == "snapshots":
            return parent.parent.name.removeprefix("models--").replace("--", "/")
        return self._folder.resolve().name

    @property
    def config(self) -> DecoderConfig:
        return self._config

    @property
    def fingerprint(self) -> str:
        seen = hashlib.sha256()
        for file in sorted({self._folder / "config.json", *self._files.values()}):
            status = file.stat()
            seen.update(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
        return seen.hexdigest()[:16]

    def tensor(self, name: str) -> np.ndarray:
        if name not in self._files:
            raise CheckpointError(f"{self._folder}: tensor {name} is missing")
        file = self._files[name]
        try:
            with safe_open(file, framework="numpy") as weights:
                kind = weights.get_slice(name).get_dtype()
                if kind not in _FLOATS:
                    raise UnsupportedCheckpoint(
                        f"{file}: tensor {name} has type {kind}, which is not supported (F32, F16, BF16 are)"
                    )
                return weights.get_tensor(name).astype(np.float32)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: damaged or cut short: {error}") from error

    def tokenizer(self) -> TextTokenizer:
        from .folder_tokenizer import folder_tokenizer

        return folder_tokenizer(self._folder)

    def _weight_files(self) -> dict[str, Path]:
        """The file each tensor stands in."""
        if (self._folder / _INDEX).is_file():
            shards = self._json(_INDEX).get("weight_map")
            if not isinstance(shards, dict):
                raise CheckpointError(f"{self._folder / _INDEX}: damaged: it has no weight_map")
            files = {name: self._folder / Path(file).name for name, file in shards.items()}
            for file in sorted(set(files.values())):
                if not file.is_file():
                    raise CheckpointError(f"{file} is missing: the model is incomplete")
            return files
        file = self._folder / _ONE
        if not file.is_file():
            raise ModelNotFound(f"{self._folder} has no weights: neither {_ONE} nor {_INDEX} is there")
        try:
            with safe_open(file, framework="numpy") as weights:
                return dict.fromkeys(weights.keys(), file)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: damaged or cut short: {error}") from error

    def _json(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self._folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self._folder / name}: not readable as JSON: {error}") from error


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
