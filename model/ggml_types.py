"""The tensor types of GGUF files: how many bytes they take and what numbers they stand for.

Layouts: ``ggml-common.h`` of llama.cpp. Quantised types store blocks of 32 neighbours along the last axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .errors import CheckpointError, UnsupportedCheckpoint


@dataclass(frozen=True, slots=True)
class TensorType:
    """``block`` neighbours take ``block_bytes`` bytes; ``expand`` maps [n, block_bytes] to float32 [n, block]."""

    name: str
    block: int
    block_bytes: int
    expand: Callable[[np.ndarray], np.ndarray]

    def byte_count(self, shape: tuple[int, ...]) -> int:
        """Bytes of a tensor.

        Raises:
            CheckpointError: the last axis does not hold whole blocks.
        """
        if shape and shape[-1] % self.block:
            raise CheckpointError(f"damaged: rows of {shape[-1]} values cannot be made of {self.name} blocks")
        return math.prod(shape) // self.block * self.block_bytes

    def dequantise(self, raw: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """float32 of ``shape`` from the tensor's bytes (uint8, one dimension)."""
        return self.expand(raw.reshape(-1, self.block_bytes)).reshape(shape)


def tensor_type(number: int, tensor: str) -> TensorType:
    """The type GGUF calls ``number``.

    Raises:
        UnsupportedCheckpoint: a type that is not read, by name.
    """
    if number in _READ:
        return _READ[number]
    name = _OTHER_NAMES.get(number, f"number {number}")
    readable = ", ".join(known.name for known in _READ.values())
    raise UnsupportedCheckpoint(f"tensor {tensor[:80]} has type {name}, which is not supported ({readable} are)")


def _f32(blocks: np.ndarray) -> np.ndarray:
    return blocks.view("<f4").astype(np.float32, copy=False)


def _f16(blocks: np.ndarray) -> np.ndarray:
    return blocks.view("<f2").astype(np.float32)


def _bf16(blocks: np.ndarray) -> np.ndarray:
    return (blocks.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _q8_0(blocks: np.ndarray) -> np.ndarray:
    return blocks[:, 2:].view(np.int8) * _f16(blocks[:, :2].copy())


def _nibbles(packed: np.ndarray) -> np.ndarray:
    """Low nibbles of a block's 16 bytes are its first half, high nibbles its second."""
    return np.concatenate([packed & 15, packed >> 4], axis=1)


def _q4_0(blocks: np.ndarray) -> np.ndarray:
    return (_nibbles(blocks[:, 2:]).view(np.int8) - np.int8(8)) * _f16(blocks[:, :2].copy())


def _q4_1(blocks: np.ndarray) -> np.ndarray:
    scale_and_least = _f16(blocks[:, :4].copy())
    return _nibbles(blocks[:, 4:]) * scale_and_least[:, :1] + scale_and_least[:, 1:]


_READ = {
    0: TensorType("F32", 1, 4, _f32),
    1: TensorType("F16", 1, 2, _f16),
    30: TensorType("BF16", 1, 2, _bf16),
    8: TensorType("Q8_0", 32, 34, _q8_0),
    2: TensorType("Q4_0", 32, 18, _q4_0),
    3: TensorType("Q4_1", 32, 20, _q4_1),
}
_OTHER_NAMES = {
    6: "Q5_0", 7: "Q5_1", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K",
    16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
    24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip
