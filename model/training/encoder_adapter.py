"""What is trained of an encoder: low-rank changes, weights trained outright, and a head over its hidden states.

Axes: D width, S scores of a hidden state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..adapter_files import LoraFactors, read_adapter, write_adapter
from ..checksums import CHECKSUM_FILE
from ..encoder import EncoderWeights
from ..encoder_checkpoint import EncoderCheckpoint, linear_shapes, weight_shapes
from ..errors import AdapterMismatch
from .errors import InvalidOption
from .lora import LoraOptions, LoraTree, init_factors, select, taken_up, to_adapter
from .pair_tokens import PairFormat, record_pair_format

ENCODER_TARGETS = ("query", "key", "value", "dense")
"""Every linear map of the layers, as targets of `LoraOptions`."""
_HEAD_DEVIATION = 0.02


class Head(NamedTuple):
    """From a hidden state to its scores."""

    weight: Float[Array, "S D"]
    bias: Float[Array, " S"]


class AdapterWeights(NamedTuple):
    """What is trained: low-rank changes by module, weights trained outright by name, and the head. All float32."""

    lora: LoraTree
    whole: dict[str, Array]
    head: Head


def adapted(trainable: AdapterWeights, frozen: EncoderWeights, scale: float) -> dict[str, Array]:
    """The encoder's weights with everything trained worked in.

    Low-rank changes are added to their matrices before the forward pass: at the ranks that pay here, this is less work
    than passing every token through both factors.
    """
    weights = {**frozen, **trainable.whole}
    for module, factors in trainable.lora.items():
        change_NK = jnp.matmul(factors.up, factors.down, precision="highest") * scale
        weights[f"{module}.weight"] = weights[f"{module}.weight"] + change_NK
    return weights


def init_adapter(
    base: EncoderCheckpoint, lora: LoraOptions, key: PRNGKeyArray, *, scores: int = 1, whole: Sequence[str] = ()
) -> AdapterWeights:
    """Weights to begin with: the base unchanged, and a small random head.

    ``whole`` are beginnings of names of weights to train outright (``encoder.layer.5``); with no ``lora.targets`` and
    ``whole=("",)``, everything is.

    Raises:
        AdapterError: a target names nothing.
        InvalidOption: a beginning in ``whole`` names nothing.
    """
    head_key, lora_key = jax.random.split(key)
    names = [name for name, _ in weight_shapes(base.config)]
    for beginning in whole:
        if not any(name.startswith(beginning) for name in names):
            raise InvalidOption(f"whole names {beginning!r}, but no weight of {base.name} begins so")
    return AdapterWeights(
        init_factors(select(linear_shapes(base.config), lora.targets), lora.rank, lora_key),
        {name: jnp.asarray(base.weights[name]) for name in names if name.startswith(tuple(whole))},
        Head(_HEAD_DEVIATION * jax.random.normal(head_key, (scores, base.config.width)), jnp.zeros(scores)),
    )


def begun_from(folder: Path, fresh: AdapterWeights, lora: LoraOptions) -> AdapterWeights:
    """``fresh`` with the low-rank changes of the adapter in ``folder``; its head, made for another task, is not taken.

    Raises:
        AdapterError: the adapter cannot be read.
        AdapterMismatch: it changes other matrices, has another rank or alpha, or weights that were trained outright.
    """
    there = read_adapter(folder)
    factors = taken_up(folder, there, fresh.lora, lora, "begun from")
    # A head is a module of its own beside the encoder (``score.weight``); all else lies within the encoder.
    outright = [name for name in sorted(there.whole) if name.count(".") > 1]
    if outright:
        raise AdapterMismatch(
            f"{folder} cannot be begun from: {outright[0]} was trained outright there, and would be lost: "
            "name an adapter of low-rank changes and a head alone"
        )
    return fresh._replace(lora={name: LoraFactors(*map(jnp.asarray, pair)) for name, pair in factors.items()})


def write_encoder_adapter(
    folder: Path, trained: AdapterWeights, lora: LoraOptions, base_name: str, pairs: PairFormat, *, task: str, head: str
) -> None:
    """Write the trained weights in PEFT's layout, float16; the head is ``<head>.weight`` [S, D] and ``.bias`` [S].

    Raises:
        AdapterError: there are no factors, or a value is beyond float16.
        OSError: the folder cannot be written.
    """
    adapter = to_adapter(trained.lora, lora, base_name, task=task)
    parts = {f"{head}.weight": trained.head.weight, f"{head}.bias": trained.head.bias}
    whole = {name: np.asarray(values, np.float32) for name, values in (trained.whole | parts).items()}
    (folder / CHECKSUM_FILE).unlink(missing_ok=True)  # of an older adapter: they would refuse this one
    write_adapter(folder, dataclasses.replace(adapter, whole=whole))
    record_pair_format(folder, pairs)
