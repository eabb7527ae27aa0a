"""Loads a checkpoint onto the device, in the arithmetic the settings ask for."""

from __future__ import annotations

from pathlib import Path

from ..config.schema import ModelSettings
from .checkpoint import Checkpoint
from .runner import DecoderRunner
from .weight_cache import packed_weights
from .weights import Compute, build


def load_runner(checkpoint: Checkpoint, settings: ModelSettings, cache: Path) -> DecoderRunner:
    """Read the weights of ``checkpoint`` and prepare JAX.

    Raises:
        CheckpointError: a weight is missing or has the wrong shape.
    """
    from .device import prepare_device

    prepare_device(cache, settings.threads)
    compute = compute_for(settings)
    return DecoderRunner(build(checkpoint.config, packed_weights(checkpoint, compute, cache)))


def compute_for(settings: ModelSettings) -> Compute:
    """8-bit arithmetic is the faster one on CPUs; elsewhere float32 is."""
    import jax

    if settings.compute != "auto":
        return settings.compute
    return "int8" if jax.default_backend() == "cpu" else "float32"
