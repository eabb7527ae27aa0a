"""How much memory a model will take, before it is loaded, and how much there is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ..config.schema import ModelSettings
from .architecture import DecoderConfig
from .weights import Compute, matrix_shapes

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_CGROUP_USES = (Path("/sys/fs/cgroup/memory.current"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"))
_PROGRAM_BYTES = 96 * 2**20
"""Compiled steps and their temporaries, measured with models of 1 to 135 million parameters."""
_USUAL_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes: of the weights in the arithmetic they run in, of the caches of one long sequence, and at the peak of
    loading, when the weights stand in memory twice."""

    weights: int
    cache: int

    @property
    def peak(self) -> int:
        return 2 * self.weights + self.cache + _PROGRAM_BYTES


def estimate(config: DecoderConfig, compute: Compute, context_tokens: int | None = None) -> MemoryEstimate:
    """What a network of this shape takes, with caches for ``context_tokens`` (at most 4,096 when not given)."""
    shapes = list(matrix_shapes(config))
    elements = sum(rows * columns for rows, columns in shapes)
    scales = 4 * sum(rows for rows, _ in shapes)
    weights = elements + scales if compute == "int8" else 4 * elements
    slots = min(config.context_tokens, context_tokens or _USUAL_TOKENS)
    cache = 2 * 4 * config.layers * config.kv_heads * slots * config.head_width
    return MemoryEstimate(weights, cache)


def estimate_for(settings: ModelSettings) -> MemoryEstimate:
    """As `estimate`, for the checkpoint that ``settings`` name; only its header is read.

    Raises:
        ModelNotFound: nothing stands where the settings point.
        CheckpointError: what stands there is damaged.
        UnsupportedCheckpoint: it is of a kind that cannot be run, by name.
    """
    from .open import open_checkpoint
    from .runner_loading import compute_for

    return estimate(open_checkpoint(settings).config, compute_for(settings), settings.context_tokens)


def available_bytes() -> int:
    """Memory that can be had without swapping, under the limit of this process's control group too."""
    import psutil

    free = psutil.virtual_memory().available
    limit = min((_number(file) for file in _CGROUP_LIMITS), default=math.inf)
    used = min((_number(file) for file in _CGROUP_USES), default=0)
    return int(min(free, limit - used)) if math.isfinite(limit) else free


def _number(file: Path) -> float:
    """What a file of the control group says; infinite where it says nothing or "max"."""
    try:
        return float(file.read_text().strip().replace("max", "inf"))
    except (OSError, ValueError):
        return math.inf
