"""Low-rank adapters while they are trained: which matrices they change, and how they begin.

LoRA (Hu et al., 2106.09685). Axes: N outputs, K inputs, R rank.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ..adapter_files import Adapter, LoraFactors
from ..errors import AdapterError, AdapterMismatch

LoraTree = dict[str, LoraFactors]
"""Factors by module name (``model.layers.0.self_attn.q_proj``), float32."""

ALL_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class LoraOptions:
    """``targets`` are last parts of module names, or whole names; ``dropout`` is on the factors' input."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = ALL_PROJECTIONS
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise AdapterError(f"rank is {self.rank}; it must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise AdapterError(f"dropout is {self.dropout}; it must be at least 0 and below 1")

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


def select(shapes: Mapping[str, tuple[int, int]], targets: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Those of ``shapes`` ([N, K] by module name) that ``targets`` name.

    Raises:
        AdapterError: a target names nothing.
    """
    found: dict[str, tuple[int, int]] = {}
    for target in targets:
        named = {name: shape for name, shape in shapes.items() if name == target or name.endswith(f".{target}")}
        if not named:
            known = ", ".join(sorted({name.rpartition(".")[2] for name in shapes}))
            raise AdapterError(f"target {target!r} names no matrix of this model; it has {known}")
        found |= named
    return {name: shape for name, shape in shapes.items() if name in found}


def init_factors(shapes: Mapping[str, tuple[int, int]], rank: int, key: PRNGKeyArray) -> LoraTree:
    """Factors for matrices of ``shapes``: ``down`` uniform within ± K^-½ as in PEFT, ``up`` zero.

    A module's factors hang on ``key`` and on its name, not on which other modules are adapted.
    """

    def one(name: str, outputs: int, inputs: int) -> LoraFactors:
        own = jax.random.fold_in(key, zlib.crc32(name.encode()))
        down_RK = jax.random.uniform(own, (rank, inputs), jnp.float32, -1.0, 1.0) * inputs**-0.5
        return LoraFactors(down_RK, jnp.zeros((outputs, rank), jnp.float32))

    return {name: one(name, *shape) for name, shape in shapes.items()}


def parameter_count(tree: LoraTree) -> int:
    return sum(int(np.prod(values.shape)) for factors in tree.values() for values in factors)


def to_adapter(tree: LoraTree, options: LoraOptions, base_name: str, *, task: str = "CAUSAL_LM") -> Adapter:
    """Trained factors brought to the host, ready for `write_adapter`."""
    factors = {name: LoraFactors(*(np.asarray(value, np.float32) for value in pair)) for name, pair in tree.items()}
    return Adapter(
        rank=options.rank,
        alpha=options.alpha,
        base_name=base_name,
        factors=factors,
        task=task,
        dropout=options.dropout,
    )


def taken_up(folder: Path, adapter: Adapter, fresh: LoraTree, options: LoraOptions, what: str) -> LoraTree:
    """The factors of ``adapter``, which lies in ``folder``, in place of ``fresh`` ones of the same shapes.

    Raises:
        AdapterMismatch: it has another rank or alpha, or changes other matrices; ``what`` cannot be done with it.
    """
    if difference := _difference(adapter, fresh, options):
        raise AdapterMismatch(f"{folder} cannot be {what}: {difference}")
    return {name: LoraFactors(*map(np.asarray, adapter.factors[name])) for name in fresh}


def _difference(adapter: Adapter, fresh: LoraTree, options: LoraOptions) -> str | None:
    if (adapter.rank, adapter.alpha) != (options.rank, options.alpha):
        return (
            f"it has rank {adapter.rank} and alpha {adapter.alpha:g}, the plan {options.rank} and {options.alpha:g}: "
            "plan with those, or name another adapter"
        )
    for name in sorted({*adapter.factors, *fresh}):
        if name not in fresh:
            return f"it changes {name}, which the plan does not: name another adapter"
        if name not in adapter.factors:
            return f"it does not change {name}, which the plan does: name another adapter"
        there, here = (tuple(map(np.shape, tree[name])) for tree in (adapter.factors, fresh))
        if there != here:
            return f"its factors of {name} are {there}, the model's {here}: name one made for this model"
    return None
