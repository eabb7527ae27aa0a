"""A decoder in one GGUF file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from .architecture import DecoderConfig
from .errors import CheckpointError, UnsupportedCheckpoint
from .families import FAMILIES
from .gguf import GgufFile
from .gguf_config import family_name, read_config
from .stored_names import Stored, in_gguf
from .tokenizer import TextTokenizer

_PERMUTED = ("llama", "smollm3")
"""Families whose query and key rows llama.cpp's converter reorders."""


class GgufCheckpoint:
    """Implements `Checkpoint`.

    Raises:
        CheckpointError: the file is damaged.
        UnsupportedCheckpoint: another architecture or tensor type, by name.
    """

    def __init__(self, path: Path) -> None:
        self._file = GgufFile(path)
        try:
            family = family_name(self._file)
            self._config = read_config(self._file)
            self._fused = FAMILIES[family].fused and "blk.0.attn_qkv.weight" in self._file.tensors
            self._permuted = family in _PERMUTED
            if self._permuted and 2 * len(self._config.rope_frequencies) != self._config.head_width:
                raise UnsupportedCheckpoint("rotary positions that turn a part of each head are not supported here")
        except CheckpointError as error:
            raise type(error)(f"{path}: {error}") from error
        except (TypeError, ValueError, IndexError, ArithmeticError) as error:
            raise CheckpointError(f"{path}: damaged: {error}") from error

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
        stored = in_gguf(name, self._config, fused=self._fused)
        values = self._values(stored)
        if self._permuted and name.endswith((".q_proj.weight", ".k_proj.weight", ".q_proj.bias", ".k_proj.bias")):
            head_width = self._config.head_width
            if not values.ndim or len(values) % head_width:
                raise CheckpointError(
                    f"{self._file.path}: {stored.tensor} is {values.shape}; its rows make no heads of {head_width}"
                )
            return _halves(values, head_width)
        return values

    def _values(self, stored: Stored) -> np.ndarray:
        entry = self._file.tensors.get(stored.tensor)
        if entry is None:
            raise CheckpointError(f"{self._file.path}: tensor {stored.tensor} is missing")
        raw = self._file.raw(stored.tensor)
        if stored.rows is None and stored.expert is None:
            return entry.type.dequantise(raw, entry.shape)
        start, end = stored.rows or (stored.expert or 0, (stored.expert or 0) + 1)
        if not entry.shape or end > entry.shape[0]:
            raise CheckpointError(
                f"{self._file.path}: {stored.tensor} is {entry.shape}; it should have {end} rows or more"
            )
        row_bytes = len(raw) // entry.shape[0]
        shape = entry.shape[1:] if stored.rows is None else (end - start, *entry.shape[1:])
        return entry.type.dequantise(raw[start * row_bytes : end * row_bytes], shape)

    def tokenizer(self) -> TextTokenizer:
        from .gguf_tokenizer import gguf_tokenizer

        try:
            return gguf_tokenizer(self._file.metadata)
        except CheckpointError as error:
            raise type(error)(f"{self._file.path}: {error}") from error


def _halves(weight: np.ndarray, head_width: int) -> np.ndarray:
    """llama.cpp stores query and key rows so that rotary pairs are neighbours; put them half a head apart again."""
    pairs = weight.reshape(-1, head_width // 2, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)
