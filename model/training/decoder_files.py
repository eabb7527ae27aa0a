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
from ..checkpoint import Checkpoint
from ..checksums import CHECKSUM_FILE
from ..families import FAMILIES
from ..tokenizer import TextTokenizer
from .errors import TrainingError
from .lora import LoraOptions, LoraTree, to_adapter
from .written_config import config_json, family_to_write


def write_decoder_adapter(folder: Path, trained: LoraTree, lora: LoraOptions, base: Checkpoint) -> None:
    """Write the factors in float16, with the name and architecture of the base they were trained on.

    Raises:
        AdapterError: a value is beyond float16.
        OSError: the folder cannot be written.
    """
    (folder / CHECKSUM_FILE).unlink(missing_ok=True)  # of an older adapter: they would refuse this one
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
    tensors, around_one = {}, FAMILIES[family_to_write(base.config)].norms_around_one
    for name, values in trained.items():
        stored = np.asarray(values)
        if around_one and name.endswith("norm.weight"):
            stored = stored - np.float32(1)
        # Values beyond the type's range are refused below, by name.
        with np.errstate(over="ignore"):
            tensors[name] = np.ascontiguousarray(stored.astype(dtype))
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


def _tokenizer_files(tokenizer: TextTokenizer) -> dict[str, dict[str, Any]]:
    options: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **tokenizer.template.tokens}
    if tokenizer.template.source is not None:
        options["chat_template"] = tokenizer.template.source
    return {
        "tokenizer_config.json": options,
        "generation_config.json": {"eos_token_id": sorted(tokenizer.end_tokens)},
    }
