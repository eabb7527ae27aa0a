"""Loads a checkpoint, plain and with adapters, onto the device, in the arithmetic the settings ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..config.schema import ModelSettings
from .adapted_checkpoint import AdaptedCheckpoint
from .adapter_source import AdapterSource, read_fitting
from .checkpoint import Checkpoint
from .decoder import Decoder
from .grouped_weights import GROUP
from .once import Once
from .runner import DecoderRunner
from .skeleton import SplitDecoder, assembled
from .weight_cache import packed_weights
from .weights import Compute, PackedWeights, build, joined_factors

if TYPE_CHECKING:
    from .sharding import Placement


class Networks:
    """The networks that can be made of one checkpoint. What they have in common lies on the device once.

    Light to construct. Thread-safe: one network may be loaded while others run.
    """

    def __init__(self, checkpoint: Checkpoint, settings: ModelSettings, cache: Path) -> None:
        """``cache`` is where quantised weights and compiled steps are kept between runs."""
        self._checkpoint, self._settings, self._cache = checkpoint, settings, cache
        self._placement, self._base_weights = Once(self._find_placement), Once(self._load_base)

    def plain(self) -> DecoderRunner:
        """The network of the checkpoint itself.

        Raises:
            CheckpointError: a weight is missing or has the wrong shape.
            DeviceNotFound: the device asked for is not there.
        """
        return self._runner(assembled(self._checkpoint.config, self._base_weights()))

    def adapted(self, source: AdapterSource) -> DecoderRunner:
        """The network that the adapter makes of it.

        Raises:
            AdapterError: the adapter is missing or damaged.
            AdapterMismatch: it was made for another model.
            CheckpointError, DeviceNotFound: as `plain`.
        """
        adapter = read_fitting(source.folder, self._checkpoint)
        config, weights = self._checkpoint.config, self._base_weights()
        if source.mode == "low-rank":
            return self._runner(build(config, weights, joined_factors(config, adapter)))
        merged = AdaptedCheckpoint(self._checkpoint, adapter)
        changed = packed_weights(merged, compute_for(self._settings), self._cache, merged.changed)
        return self._runner(assembled(config, {**weights, **self._placed(changed)}))

    def _runner(self, network: Decoder | SplitDecoder) -> DecoderRunner:
        return DecoderRunner(network, self._placement(), self._settings.cache)

    def _load_base(self) -> PackedWeights:
        from .device import prepare_device

        prepare_device(self._cache, self._settings.threads)
        compute = compute_for(self._settings)
        return self._placed(packed_weights(self._checkpoint, compute, self._cache))

    def _placed(self, weights: PackedWeights) -> PackedWeights:
        return self._placement().weights(self._checkpoint.config, weights)

    def _find_placement(self) -> Placement:
        from .sharding import placement_for, tell_undivided

        placement = placement_for(self._settings)
        if placement.mesh is not None:
            in_groups = compute_for(self._settings) in ("int8-weights", "int4-weights")
            tell_undivided(self._checkpoint.config, placement.mesh, GROUP if in_groups else 1)
        return placement


def compute_for(settings: ModelSettings) -> Compute:
    """8-bit arithmetic is the faster one on CPUs; accelerators are made for bfloat16."""
    from .device import devices_of

    if settings.compute != "auto":
        return settings.compute
    return "int8" if devices_of(settings.device)[0].platform == "cpu" else "bfloat16"
