"""How much memory a model will take, before it is loaded, and how much there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..config.schema import ModelSettings
from .adapter_files import Adapter
from .adapter_source import AdapterMode, AdapterSource, read_fitting
from .architecture import DecoderConfig
from .chunks import cache_slots
from .control_group import left_by_control_groups
from .engine.schedule import most_fillers
from .grouped_weights import grouped_bytes
from .head_groups import CacheKind, cache_bytes
from .matrices import Matrix, matrices
from .weights import Compute, group_bits

_PROGRAM_BYTES = 96 * 2**20
"""Compiled steps and their temporaries, measured with models of 1 to 135 million parameters."""
_USUAL_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes of a model in use.

    Attributes:
        weights: in the arithmetic they run in.
        cache: of the keys and values of all generations that run at once, each as long as it may get, of what fills up
            their steps, and of the beginnings of earlier prompts.
        adapters: what these add to the weights.
        programs: how many kinds of networks there are, each with compiled steps of its own.
        unrounded: of the largest matrix in float32, where a step may make it of weights in groups.
    """

    weights: int
    cache: int
    adapters: int = 0
    programs: int = 1
    unrounded: int = 0

    @property
    def loaded(self) -> int:
        """All but the caches."""
        return self.weights + self.adapters + self.programs * _PROGRAM_BYTES + self.unrounded

    @property
    def peak(self) -> int:
        """The most there is at once: while it is loaded, when the weights stand in memory twice, or with all caches."""
        return self.loaded + max(self.weights, self.cache)

    def beside(self, other: MemoryEstimate) -> MemoryEstimate:
        """Of two models that are used together."""
        ours, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return MemoryEstimate(*(one + another for one, another in zip(ours, theirs, strict=True)))


def estimate(
    config: DecoderConfig,
    compute: Compute,
    context_tokens: int | None = None,
    adapters: Iterable[tuple[Adapter, AdapterMode]] = (),
    *,
    sequences: int = 1,
    prefix_bytes: int = 0,
    kind: CacheKind = "float",
) -> MemoryEstimate:
    """What a network of this shape takes, with caches of that kind for ``sequences`` of ``context_tokens`` (at most
    4,096 when not given) and ``prefix_bytes`` for the beginnings of earlier prompts."""
    weights = sum(_matrix_bytes(matrix, compute) for matrix in matrices(config))
    slots = cache_slots(min(config.context_tokens, context_tokens or _USUAL_TOKENS))
    value = 2 if compute == "bfloat16" else 4
    cache = cache_bytes(config, slots, value, kind)
    added, kinds = 0, {()}
    for adapter, mode in adapters:
        changed = _changed(config, adapter)
        if mode == "merged":
            added += sum(_matrix_bytes(matrix, compute) for matrix, _ in changed)
        else:
            added += sum(4 * rank * (matrix.rows + matrix.columns) for matrix, rank in changed)
            kinds.add(tuple((matrix.name, rank) for matrix, rank in changed))
    return MemoryEstimate(
        weights, sequences * cache + prefix_bytes, added, len(kinds), _largest_unrounded(config, compute)
    )


def estimate_for(settings: ModelSettings, adapters: Mapping[str, AdapterSource] | None = None) -> MemoryEstimate:
    """As `estimate`, for the checkpoint that ``settings`` name, its adapters as `open_model` has them, and its draft
    model.

    Only headers are read, of adapters also the weights.

    Raises:
        ModelNotFound: nothing stands where the settings point.
        CheckpointError: what stands there is damaged.
        HeadPatternError: the settings name a pattern that is missing, damaged, or made for another model.
        UnsupportedCheckpoint: it is of a kind that cannot be run, by name.
        AdapterError: an adapter is missing, damaged, or made for another model.
    """
    from .open import adapter_sources, draft_settings, open_checkpoint
    from .runner_loading import compute_for

    checkpoint = open_checkpoint(settings)
    read: list[tuple[Adapter, AdapterMode]] = [
        (read_fitting(source.folder, checkpoint), source.mode)
        for source in adapter_sources(checkpoint, settings, adapters).values()
    ]
    at_once = settings.concurrent_generations
    alone = estimate(
        checkpoint.config,
        compute_for(settings),
        settings.context_tokens,
        read,
        sequences=at_once + most_fillers(at_once),
        prefix_bytes=settings.prefix_cache_mib * 2**20,
        kind=settings.cache,
    )
    if (own := draft_settings(settings)) is None:
        return alone
    config = open_checkpoint(own).config
    draft = estimate(config, compute_for(own), own.context_tokens, sequences=at_once, kind=own.cache)
    return alone.beside(draft)


def _changed(config: DecoderConfig, adapter: Adapter) -> list[tuple[Matrix, int]]:
    """The network's matrices that the adapter changes, with the rank of the change of all their parts together."""
    parts = ((matrix, len(matrix.parts.keys() & adapter.factors.keys())) for matrix in matrices(config))
    return [(matrix, adapter.rank * adapted) for matrix, adapted in parts if adapted]


def _largest_unrounded(config: DecoderConfig, compute: Compute) -> int:
    """Experts are left out: of their matrices a step makes one expert's part."""
    whole = [matrix for matrix in matrices(config) if not any(".experts." in part for part in matrix.parts)]
    return max(4 * matrix.rows * matrix.columns if group_bits(matrix, compute) else 0 for matrix in whole)


def _matrix_bytes(matrix: Matrix, compute: Compute) -> int:
    if (bits := group_bits(matrix, compute)) is not None:
        return grouped_bytes(matrix.rows, matrix.columns, bits)
    if compute == "int8" and not matrix.exact:
        return matrix.rows * (matrix.columns + 4)
    return (2 if compute == "bfloat16" and not matrix.exact else 4) * matrix.rows * matrix.columns


def available_bytes() -> int:
    """Memory that can be had without swapping, under the limits of this process's control groups too."""
    import psutil

    return int(min(psutil.virtual_memory().available, left_by_control_groups()))
