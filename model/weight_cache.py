"""Keeps packed weights between runs, so that a second start need not quantise again. Safe to delete at any time."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .checkpoint import Checkpoint
from .weights import Compute, PackedWeights, pack
from .whole_file import whole_file

_FORM = 1
"""Raised whenever the packed form of the weights changes."""

_TYPES: dict[str, type[np.generic]] = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "U8": np.uint8}
_ALIGNMENT = 64
_log = logging.getLogger(__name__)


def packed_weights(
    checkpoint: Checkpoint, compute: Compute, cache: Path, only: Collection[str] | None = None
) -> PackedWeights:
    """Packed weights, from ``cache`` where they are kept. Rounded ones are: others are quick to read anew.

    ``only`` names the matrices that are wanted, which hang on the checkpoint alone: the same at every call.

    Raises:
        CheckpointError: a weight is missing or has the wrong shape.
    """
    if compute in ("float32", "bfloat16"):
        return pack(checkpoint, compute, only)
    file = cache / "weights" / f"{Path(checkpoint.name).name}-{compute}-{checkpoint.fingerprint}-{_FORM}.safetensors"
    if file.is_file():
        try:
            return _read(file)
        except (SafetensorError, OSError) as error:
            _log.warning("%s is damaged and will be made again: %s", file, error)
    packed = pack(checkpoint, compute, only)
    if not _keep(packed, file):
        return packed
    del packed  # there need not be room for both
    return _read(file)


def _read(file: Path) -> dict[str, np.ndarray]:
    """Each tensor straight into memory that JAX's CPU device takes over as it is; other threads run meanwhile.

    safetensors' own reading would keep every other thread of Python waiting, and JAX would copy what it gives.
    """
    with safe_open(file, framework="numpy") as header:
        slices = {name: header.get_slice(name) for name in header.offset_keys()}
        kinds = {name: (tuple(one.get_shape()), _TYPES[one.get_dtype()]) for name, one in slices.items()}
    tensors = _side_by_side(kinds)
    with file.open("rb") as stored:
        # The tensors fill the file's end, without gaps (https://github.com/huggingface/safetensors#format).
        stored.seek(-sum(tensor.nbytes for tensor in tensors.values()), os.SEEK_END)
        for tensor in tensors.values():
            if stored.readinto(tensor.data) < tensor.nbytes:
                raise OSError(f"{file} was cut short while it was read")
    return tensors


def _side_by_side(kinds: Mapping[str, tuple[tuple[int, ...], type[np.generic]]]) -> dict[str, np.ndarray]:
    """Uninitialised tensors of these shapes and types, at addresses that JAX's CPU device can use.

    All lie in one allocation, which NumPy asks Linux to make of large pages: a step of decoding reads every weight
    once, and takes a sixth longer where pages of 4 KB have to be looked up for it.
    """
    sizes = {name: math.prod(shape) * np.dtype(kind).itemsize for name, (shape, kind) in kinds.items()}
    room = np.empty(sum(size + _ALIGNMENT for size in sizes.values()), np.uint8)
    tensors, start = {}, 0
    for name, (shape, kind) in kinds.items():
        start += -(room.ctypes.data + start) % _ALIGNMENT
        tensors[name] = room[start : start + sizes[name]].view(kind).reshape(shape)
        start += sizes[name]
    return tensors


def _keep(packed: dict[str, np.ndarray], file: Path) -> bool:
    """False: it cannot be written."""
    try:
        with whole_file(file) as unfinished:
            save_file(packed, unfinished)
    except (SafetensorError, OSError) as error:
        _log.warning("quantised weights cannot be kept in %s, the next start will be slower: %s", file.parent, error)
        return False
    return True
