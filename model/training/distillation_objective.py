"""Trains a decoder on what its teachers say together: their answer's tokens, and how they would have gone on.

The loss of a target is (1 - share) · weight · cross-entropy + share · T² · KL(teachers ‖ student at temperature T),
after Hinton et al. (1503.02531): T² keeps the two gradients in proportion whatever T is. See `consensus` for where
answer, weight and teachers' distribution come from, and for what speaks against it.

Axes: B rows of a batch, A targets of a row, V vocabulary, K tokens of the teachers' distribution that are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .consensus import TEMPERATURE, SoftTargets
from .decoder_objective import DecoderObjective, WeightTree
from .errors import BadBatches, InvalidOption
from .lora import LoraTree
from .objective import Batch
from .stacked_decoder import DecoderWeights

# Stands for no logit at all, but can be computed with.
_NEVER = -1e30


class DistillationObjective:
    """Implements `Objective` with the weights and batches of a `DecoderObjective`, and three more arrays in a batch.

    ``soft_tokens_BAK`` (int32; the tokens at a place differ) and ``soft_probs_BAK`` (float32) are the likeliest tokens
    of the teachers' mixture at ``temperature``, as `soft_targets` makes them: what is missing to 1 stands for all
    other tokens together. A target whose probabilities are all 0 has no teachers' distribution; its cross-entropy
    counts whole. ``consensus_BA`` (float32, in [0, 1]; 1 where it is left out) weighs the cross-entropy.

    The logits of all of a batch's targets are in memory at once, [B, A, V] in float32.
    """

    def __init__(self, decoder: DecoderObjective, share: float = 0.5, temperature: float = TEMPERATURE) -> None:
        """``share`` is that of the teachers' distribution; 0 learns from the answers alone.

        Raises:
            InvalidOption: a value out of range.
        """
        if not 0.0 <= share <= 1.0:
            raise InvalidOption(f"share is {share}, but must be between 0 and 1")
        if not temperature > 0.0:
            raise InvalidOption(f"temperature is {temperature}, but must be > 0")
        self.decoder, self.share, self.temperature = decoder, share, temperature

    def loss(
        self, trainable: LoraTree | WeightTree, frozen: DecoderWeights | None, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Sum of the targets' losses, and the number of targets (the sum of ``weights_BA``)."""
        weights_BA = jnp.asarray(batch["weights_BA"])
        logits_BAV = self.decoder.target_logits(trainable, frozen, batch, key)
        targets_BA1 = jnp.asarray(batch["targets_BA"])[..., None]
        hard_BA = -jnp.take_along_axis(jax.nn.log_softmax(logits_BAV), targets_BA1, axis=-1)[..., 0]
        if "consensus_BA" in batch:
            hard_BA *= jnp.asarray(batch["consensus_BA"])
        if self.share > 0:
            probs_BAK = jnp.asarray(batch["soft_probs_BAK"])
            soft_BA = divergence(logits_BAV / self.temperature, jnp.asarray(batch["soft_tokens_BAK"]), probs_BAK)
            mixed_BA = (1 - self.share) * hard_BA + self.share * self.temperature**2 * soft_BA
            hard_BA = jnp.where(probs_BAK.any(axis=-1), mixed_BA, hard_BA)
        return jnp.sum(hard_BA * weights_BA), jnp.sum(weights_BA)


def divergence(
    logits_BAV: Float[Array, "B A V"], tokens_BAK: Int[Array, "B A K"], probs_BAK: Float[Array, "B A K"]
) -> Float[Array, "B A"]:
    """KL(teachers ‖ student) over the kept tokens and one outcome more: any other token.

    With the whole vocabulary kept it is the divergence itself, otherwise a lower bound of it: what is not known of the
    teachers is not learnt, and no probability is taken from the tokens that were left out.
    """
    logs_BAK = jnp.take_along_axis(jax.nn.log_softmax(logits_BAV), tokens_BAK, axis=-1)
    found_BA = jnp.sum(jax.scipy.special.xlogy(probs_BAK, probs_BAK) - probs_BAK * logs_BAK, axis=-1)
    if tokens_BAK.shape[-1] == logits_BAV.shape[-1]:
        return found_BA
    others_BAV = jnp.put_along_axis(logits_BAV, tokens_BAK, _NEVER, axis=-1, inplace=False)
    log_BA = jax.nn.logsumexp(others_BAV, axis=-1) - jax.nn.logsumexp(logits_BAV, axis=-1)
    rest_BA = jnp.maximum(1 - jnp.sum(probs_BAK, axis=-1), 0)
    return found_BA + jax.scipy.special.xlogy(rest_BA, rest_BA) - rest_BA * log_BA


def with_teachers(
    batch: Batch, teachers: Sequence[SoftTargets | None], weights: Sequence[float], keep: int = 64
) -> Batch:
    """``batch``, of one example a row, with what the teachers of each row say, and the weight of their consensus.

    Rows beyond ``teachers`` are padding. ``keep`` is how many tokens each of ``teachers`` keeps.

    Raises:
        BadBatches: more teachers than rows, another number of weights, or soft targets that do not fit their row.
    """
    B, A = batch["targets_BA"].shape
    if not len(teachers) == len(weights) <= B:
        raise BadBatches(f"{len(teachers)} soft targets and {len(weights)} weights for {B} rows: give both for each")
    tokens_BAK, probs_BAK = np.zeros((B, A, keep), np.int32), np.zeros((B, A, keep), np.float32)
    consensus_BA = np.zeros((B, A), np.float32)
    for row, (soft, weight) in enumerate(zip(teachers, weights, strict=True)):
        consensus_BA[row] = weight
        if soft is None:
            continue
        count = int((batch["weights_BA"][row] > 0).sum())
        if soft.tokens.shape != (count, keep):
            raise BadBatches(
                f"row {row} has {count} targets of {keep} tokens each, but soft targets are {soft.tokens.shape}"
            )
        tokens_BAK[row, :count], probs_BAK[row, :count] = soft
    return {**batch, "soft_tokens_BAK": tokens_BAK, "soft_probs_BAK": probs_BAK, "consensus_BA": consensus_BA}
