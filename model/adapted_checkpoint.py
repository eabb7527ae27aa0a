"""A checkpoint with an adapter worked into its weights."""

from __future__ import annotations

import hashlib

import numpy as np

from .adapter_files import Adapter
from .architecture import DecoderConfig
from .checkpoint import Checkpoint
from .matrices import matrices
from .tokenizer import TextTokenizer


class AdaptedCheckpoint:
    """Implements `Checkpoint`: ``W + (alpha / R) · B · A`` where the adapter changes W, else the base's own weights.

    ``adapter`` fits ``base`` (see `read_fitting`).
    """

    def __init__(self, base: Checkpoint, adapter: Adapter) -> None:
        self._base = base
        self._adapter = adapter

    @property
    def name(self) -> str:
        return self._base.name

    @property
    def config(self) -> DecoderConfig:
        return self._base.config

    @property
    def fingerprint(self) -> str:
        return f"{self._base.fingerprint}-{_digest(self._adapter)}"

    @property
    def changed(self) -> frozenset[str]:
        """The network's matrices that differ, wholly or in part, from those of the base."""
        adapted = self._adapter.factors.keys()
        return frozenset(matrix.name for matrix in matrices(self.config) if matrix.parts.keys() & adapted)

    def tensor(self, name: str) -> np.ndarray:
        values = self._base.tensor(name)
        factors = self._adapter.factors.get(name.removesuffix(".weight"))
        if factors is None:
            return values
        return values + np.float32(self._adapter.scale) * (np.asarray(factors.up) @ np.asarray(factors.down))

    def tokenizer(self) -> TextTokenizer:
        return self._base.tokenizer()


def _digest(adapter: Adapter) -> str:
    """Equal for adapters that change the same weights by the same amounts."""
    seen = hashlib.sha256(repr(adapter.scale).encode())
    for name, factors in sorted(adapter.factors.items()):
        seen.update(name.encode())
        for values in factors:
            seen.update(repr(values.shape).encode())
            seen.update(np.ascontiguousarray(values).tobytes())
    return seen.hexdigest()[:16]
