"""The tensor types of GGUF files: how many bytes they take and what numbers they stand for.

Layouts: ``ggml-common.h`` of llama.cpp. Quantised types store blocks of 32 neighbours along the last axis, K types
blocks of 256 whose parts of 16 or 32 have scales of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .errors import CheckpointError, UnsupportedCheckpoint

_AT_ONCE = 1 << 18
"""Values that are expanded at once: what lies between stays in a processor's cache."""


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
        row = shape[-1] if shape else 1
        if row % self.block:
            raise CheckpointError(f"damaged: rows of {row} values cannot be made of {self.name} blocks")
        return math.prod(shape) // self.block * self.block_bytes

    def dequantise(self, raw: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """float32 of ``shape`` from the tensor's bytes (uint8, one dimension)."""
        blocks = raw.reshape(-1, self.block_bytes)
        if self.block == 1:
            return self.expand(blocks).reshape(shape)
        values, step = np.empty((len(blocks), self.block), np.float32), _AT_ONCE // self.block
        for start in range(0, len(blocks), step):
            values[start : start + step] = self.expand(blocks[start : start + step])
        return values.reshape(shape)


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


def _fifth_bits(packed: np.ndarray) -> np.ndarray:
    """16 for each value of a block of 32 whose bit is set in the block's 4 bytes."""
    return np.unpackbits(packed, axis=1, bitorder="little") << np.uint8(4)


def _q5_0(blocks: np.ndarray) -> np.ndarray:
    steps = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6])
    return (steps.view(np.int8) - np.int8(16)) * _f16(blocks[:, :2].copy())


def _q5_1(blocks: np.ndarray) -> np.ndarray:
    scale_and_least = _f16(blocks[:, :4].copy())
    steps = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8])
    return steps * scale_and_least[:, :1] + scale_and_least[:, 1:]


def _sixes(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales and least values of a block's eight parts, 6 bits each, out of 12 bytes.

    Four bytes hold the first four scales, four the first four least values; the two bits on top of each, and the
    nibbles of the last four bytes, make up the others.
    """
    scales, least, low = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    others = (low & 15) | ((scales >> 6) << 4), (low >> 4) | ((least >> 6) << 4)
    return np.concatenate([scales & 63, others[0]], axis=1), np.concatenate([least & 63, others[1]], axis=1)


def _nibbles_by_part(packed: np.ndarray) -> np.ndarray:
    """[n, 8, 32] of 128 bytes: of every 32 of them the low nibbles are one part, the high nibbles the next."""
    pairs = packed.reshape(-1, 4, 1, 32)
    return np.concatenate([pairs & 15, pairs >> 4], axis=2).reshape(-1, 8, 32)


def _scaled_parts(steps: np.ndarray, header: np.ndarray) -> np.ndarray:
    """``header`` is two float16, of scales and of least values, and the 12 bytes of `_sixes`."""
    both, (scales, least) = _f16(header[:, :4].copy()), _sixes(header[:, 4:])
    return steps * (both[:, :1] * scales)[..., None] - (both[:, 1:] * least)[..., None]


def _q4_k(blocks: np.ndarray) -> np.ndarray:
    return _scaled_parts(_nibbles_by_part(blocks[:, 16:]), blocks[:, :16]).reshape(-1, 256)


def _q5_k(blocks: np.ndarray) -> np.ndarray:
    """Bit i of the 32 bytes before the nibbles belongs to part i."""
    bits = (blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None]) & 1
    steps = _nibbles_by_part(blocks[:, 48:]) | (bits << 4)
    return _scaled_parts(steps, blocks[:, :16]).reshape(-1, 256)


def _q6_k(blocks: np.ndarray) -> np.ndarray:
    """Each half of a block: 64 bytes of nibbles, and 32 bytes with two more bits for each of its four quarters."""
    nibbles, bits = blocks[:, :128].reshape(-1, 2, 1, 64), blocks[:, 128:192].reshape(-1, 2, 1, 32)
    low = np.concatenate([nibbles & 15, nibbles >> 4], axis=2).reshape(-1, 8, 32)
    high = (bits >> np.array([0, 2, 4, 6], np.uint8)[:, None]) & 3
    steps = (low | (high.reshape(-1, 8, 32) << 4)).view(np.int8) - np.int8(32)
    scales = blocks[:, 192:208].view(np.int8) * _f16(blocks[:, 208:].copy())
    return (steps.reshape(-1, 16, 16) * scales[..., None]).reshape(-1, 256)


_READ = {
    0: TensorType("F32", 1, 4, _f32),
    1: TensorType("F16", 1, 2, _f16),
    30: TensorType("BF16", 1, 2, _bf16),
    8: TensorType("Q8_0", 32, 34, _q8_0),
    2: TensorType("Q4_0", 32, 18, _q4_0),
    3: TensorType("Q4_1", 32, 20, _q4_1),
    6: TensorType("Q5_0", 32, 22, _q5_0),
    7: TensorType("Q5_1", 32, 24, _q5_1),
    12: TensorType("Q4_K", 256, 144, _q4_k),
    13: TensorType("Q5_K", 256, 176, _q5_k),
    14: TensorType("Q6_K", 256, 210, _q6_k),
}
_OTHER_NAMES = {
    9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K",
    16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
    24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip
