"""Finds the heads that must see the whole text, by training their gates alone (DuoAttention: Xiao et al., 2410.10819).

Axes: L layers, K key heads, B texts, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from ..checkpoint import Checkpoint
from ..head_gates import HeadGates
from ..head_pattern import HeadPattern
from .decoder_objective import read_weights
from .errors import BadBatches, InvalidOption, TrainingDiverged
from .passkeys import PasskeyTexts
from .stacked_decoder import DecoderWeights, Run, hidden_states, stack_weights


@dataclass(frozen=True, slots=True)
class GateOptions:
    """How gates are trained. ``sinks`` and ``window`` are those of the pattern that is looked for; ``sparsity`` weighs
    the mean gate against the change of hidden states. Defaults are the paper's.

    Raises:
        InvalidOption: a value is out of its range.
    """

    sinks: int = 128
    window: int = 256
    learning_rate: float = 0.02
    sparsity: float = 0.05

    def __post_init__(self) -> None:
        for name, least in (("sinks", 0), ("window", 1)):
            if getattr(self, name) < least:
                raise InvalidOption(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("learning_rate", "sparsity"):
            if not getattr(self, name) > 0:
                raise InvalidOption(f"{name} is {getattr(self, name)}; it must be above 0")


def find_retrieval_heads(
    checkpoint: Checkpoint,
    batches: Iterable[PasskeyTexts],
    options: GateOptions | None = None,
    run: Run | None = None,
    tell: Callable[[int, float], object] | None = None,
) -> HeadPattern:
    """The checkpoint's gates after one update for each of ``batches``, all of one shape; ``tell`` gets its number and
    its loss: mean squared change of the last hidden states where a pass key is recalled + sparsity · mean gate.

    All gates begin at 1 and stay from 0 to 1; those of layers with a window of their own stay at 1.

    Raises:
        BadBatches: there are none, or the texts are no longer than what streaming heads see.
        TrainingDiverged: a gate is not finite: the weights are damaged, or too large for the arithmetic.
        CheckpointError: a weight is missing or has the wrong shape.
        UnsupportedCheckpoint: a mixture of experts.
    """
    options, run, config = options or GateOptions(), run or Run(), checkpoint.config
    weights = stack_weights(config, read_weights(checkpoint), run.compute)
    free_L1 = jnp.array([[kind.window is None] for kind in config.layer_kinds])
    optimiser = optax.adam(options.learning_rate)

    def loss(shares_LK: Float[Array, "L K"], weights: DecoderWeights, tokens_BT: Array, recalled_BT: Array) -> Array:
        gates = HeadGates(shares_LK, options.sinks, options.window)
        full_BTD = jax.lax.stop_gradient(hidden_states(config, weights, {}, tokens_BT, run=run))
        gated_BTD = hidden_states(config, weights, {}, tokens_BT, run=run, gates=gates)
        change_BT = jnp.mean(jnp.square((full_BTD - gated_BTD).astype(jnp.float32)), axis=-1)
        distance = jnp.sum(change_BT * recalled_BT) / jnp.sum(recalled_BT)
        heads = jnp.maximum(jnp.sum(free_L1) * config.kv_heads, 1)
        return distance + options.sparsity * jnp.sum(shares_LK * free_L1) / heads

    @jax.jit
    def update(
        shares_LK: Array,
        state: optax.OptState,
        weights: DecoderWeights,
        tokens_BT: Int[Array, "B T"],
        recalled_BT: Bool[Array, "B T"],
    ) -> tuple[Array, optax.OptState, Array]:
        found, slopes_LK = jax.value_and_grad(loss)(shares_LK, weights, tokens_BT, recalled_BT)
        changes_LK, state = optimiser.update(jnp.where(free_L1, slopes_LK, 0.0), state)
        return jnp.clip(shares_LK + jnp.asarray(changes_LK), 0.0, 1.0), state, found

    shares_LK = jnp.ones((config.layers, config.kv_heads))
    state, step = optimiser.init(shares_LK), 0
    for step, batch in enumerate(batches, 1):
        if batch.tokens.shape[1] <= options.sinks + options.window:
            raise BadBatches(
                f"texts of {batch.tokens.shape[1]} tokens are no longer than the {options.sinks + options.window} that "
                "streaming heads see: make them longer"
            )
        shares_LK, state, found = update(shares_LK, state, weights, batch.tokens, batch.recalled)
        if not np.isfinite(float(found)):
            raise TrainingDiverged(f"the loss of update {step} is {float(found)}", step=step, trainable=None)
        if tell is not None:
            tell(step, float(found))
    if step == 0:
        raise BadBatches("there are no texts to train gates on")
    return HeadPattern(tuple(map(tuple, np.asarray(shares_LK).tolist())), options.sinks, options.window)
