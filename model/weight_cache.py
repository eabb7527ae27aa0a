"""Keeps packed weights between runs, so that a second start need not quantise again. Safe to delete at any time."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .checkpoint import Checkpoint
from .weights import Compute, PackedWeights, pack

_FORM = 1
"""Raised whenever the packed form of the weights changes."""

_log = logging.getLogger(__name__)


def packed_weights(checkpoint: Checkpoint, compute: Compute, cache: Path) -> PackedWeights:
    """Packed weights, from ``cache`` where they are kept. float32 weights are not: they are quick to read anew.

    Raises:
        CheckpointError: a weight is missing or has the wrong shape.
    """
    if compute == "float32":
        return pack(checkpoint, compute)
    file = cache / "weights" / f"{Path(checkpoint.name).name}-{compute}-{checkpoint.fingerprint}-{_FORM}.safetensors"
    if file.is_file():
        try:
            return _read(file)
        except (SafetensorError, OSError) as error:
            _log.warning("%s is damaged and will be made again: %s", file, error)
    packed = pack(checkpoint, compute)
    _keep(packed, file)
    return packed


def _read(file: Path) -> dict[str, np.ndarray]:
    """One tensor after the other: reading all at once would keep every other Python thread waiting until the end."""
    with safe_open(file, framework="numpy") as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 -- it is no mapping


def _keep(packed: dict[str, np.ndarray], file: Path) -> None:
    """Write beside the place and move there, so that no reader ever meets half a file."""
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(packed, unfinished)
        unfinished.replace(file)
    except (SafetensorError, OSError) as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        _log.warning("quantised weights cannot be kept in %s, the next start will be slower: %s", file.parent, error)
