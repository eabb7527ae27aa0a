"""Writes what was trained of a decoder: factors as an adapter in PEFT's layout, or a whole model as a folder."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..adapter_files import write_adapter
from ..adapter_source import record_base
from ..architecture import DecoderConfig
from ..checkpoint import Checkpoint
from ..errors import UnsupportedCheckpoint
from ..rotary import rope_frequencies
from ..tokenizer import TextTokenizer
from .errors import TrainingError
from .lora import LoraOptions, LoraTree, to_adapter


def write_decoder_adapter(folder: Path, trained: LoraTree, lora: LoraOptions, base: Checkpoint) -> None:
    """Write the factors in float16, with the name and architecture of the base they were trained on.

    Raises:
        AdapterError: a value is beyond float16.
        OSError: the folder cannot be written.
    """
    write_adapter(folder, to_adapter(trained, lora, base.name))
    record_base(folder, base.name, base.config)


def write_decoder(
    folder: Path, trained: Mapping[str, Any], base: Checkpoint, dtype: type[np.floating] = np.float16
) -> None:
    """Write a whole model with the configuration, tokenizer and template of ``base``, as Hugging Face lays it out.

    Raises:
        TrainingError: a weight has values that are not finite in ``dtype``.
        UnsupportedCheckpoint: see `config_json`.
        OSError: the folder cannot be written.
    """
    from safetensors.numpy import save_file

    tokenizer = base.tokenizer()
    files = {"config.json": config_json(base.config, dtype), **_tokenizer_files(tokenizer)}
    tensors = {}
    for name, values in trained.items():
        # Values beyond the type's range are refused below, by name.
        with np.errstate(over="ignore"):
            tensors[name] = np.ascontiguousarray(np.asarray(values).astype(dtype))
        if not np.isfinite(tensors[name]).all():
            raise TrainingError(f"{name} has values that are not finite in {np.dtype(dtype).name}: write float32")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".model-", dir=folder) as unfinished:
        save_file(tensors, Path(unfinished, "model.safetensors"), metadata={"format": "pt"})
        tokenizer.backend.save(str(Path(unfinished, "tokenizer.json")))
        for name, content in files.items():
            Path(unfinished, name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
        for file in sorted(Path(unfinished).iterdir()):
            file.replace(folder / file.name)


def config_json(config: DecoderConfig, dtype: type[np.floating] = np.float16) -> dict[str, Any]:
    """``config.json`` of a Llama with this architecture.

    Raises:
        UnsupportedCheckpoint: its rotary positions are scaled in a way that its frequencies do not tell.
    """
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.hidden_width,
        "max_position_embeddings": config.context_tokens,
        "rms_norm_eps": config.norm_epsilon,
        "hidden_act": "silu",
        "rope_parameters": _rope(config),
        "tie_word_embeddings": config.tied_head,
        "dtype": np.dtype(dtype).name,
    }


def _rope(config: DecoderConfig) -> dict[str, Any]:
    """Base and linear factor, out of the frequencies."""
    first, *others = config.rope_frequencies
    base = (others[0] / first) ** (-len(config.rope_frequencies)) if others else 10000.0
    # The root that the frequencies are made with loses some digits; bases are whole numbers.
    base, factor = float(round(base)), float(f"{1.0 / first:.12g}")
    scaling = {"rope_type": "default"} if factor == 1.0 else {"rope_type": "linear", "factor": factor}
    found = rope_frequencies(base, config.head_width, scaling)
    if not np.allclose(found, config.rope_frequencies, rtol=1e-6, atol=0.0):
        raise UnsupportedCheckpoint(
            "the rotary positions of this model are scaled in a way that cannot be written: train an adapter instead"
        )
    return {"rope_theta": base, **scaling}


def _tokenizer_files(tokenizer: TextTokenizer) -> dict[str, dict[str, Any]]:
    options: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **tokenizer.template.tokens}
    if tokenizer.template.source is not None:
        options["chat_template"] = tokenizer.template.source
    return {
        "tokenizer_config.json": options,
        "generation_config.json": {"eos_token_id": sorted(tokenizer.end_tokens)},
    }
