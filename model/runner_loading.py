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
        DeviceNotFound: the device asked for is not there.
    """
    from .device import find_device, prepare_device

    prepare_device(cache, settings.threads)
    device = find_device(settings.device)
    weights = packed_weights(checkpoint, compute_for(settings), cache)
    return DecoderRunner(build(checkpoint.config, weights), device)


def compute_for(settings: ModelSettings) -> Compute:
    """8-bit arithmetic is the faster one on CPUs; elsewhere float32 is."""
    from .device import find_device, platform_of

    if settings.compute != "auto":
        return settings.compute
    return "int8" if platform_of(find_device(settings.device)) == "cpu" else "float32"
