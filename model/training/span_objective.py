"""Trains an extractive reader: an encoder that points at the answer's first and last token in a passage.

Two scores, linear in each token's last hidden state, say how well an answer begins and ends there; the first token of
the row stands for "not in this passage" (Devlin et al., 1810.04805, section 4.3). Where the answer's words stand
several times, any of the places will do: the loss is the logarithm of the sum of their probabilities (Clark & Gardner,
1710.10723).

Axes: B rows, T tokens, D width; S is 2: begins, ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..encoder import Dropout, EncoderWeights
from .encoder_adapter import AdapterWeights
from .encoder_objective import EncoderObjective
from .objective import Batch

_IMPOSSIBLE = -1e30
LONGEST_ANSWER = 30
"""Tokens of an answer at most, when spans are chosen."""


class SpanObjective(EncoderObjective):
    """Implements `Objective`; ``trainable`` has two scores."""

    def loss(
        self, trainable: AdapterWeights, frozen: EncoderWeights, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Sum over rows, and how many rows count; see `SpanBatches` for the batch."""
        losses_B = _losses(self.scores(trainable, frozen, batch, self._dropout(key)), batch)
        return jnp.sum(losses_B * batch["weights_B"]), jnp.sum(batch["weights_B"])

    def scores(
        self, trainable: AdapterWeights, frozen: EncoderWeights, batch: Batch, dropout: Dropout | None = None
    ) -> Float[Array, "S B T"]:
        """How well an answer begins and ends at each token, float32; next to minus infinity outside the passage."""
        tokens_BT, lengths_B = jnp.asarray(batch["tokens_BT"]), jnp.asarray(batch["lengths_B"])
        hidden_BTD = self._hidden(trainable, frozen, tokens_BT, lengths_B, dropout)
        head = trainable.head
        scores_SBT = jnp.stack([jnp.sum(hidden_BTD * weight_D, axis=-1) for weight_D in head.weight])
        scores_SBT = scores_SBT + head.bias[:, None, None]
        return jnp.where(_possible(lengths_B, batch["passages_B"], tokens_BT.shape[1]), scores_SBT, _IMPOSSIBLE)


class SpanFigures:
    """Implements `Evaluate` over fixed rows: ``exact`` (first and last token of one place of an answer, or none where
    there is none),
    ``refused`` (rows with an answer for which none is the best) and ``loss``."""

    def __init__(self, objective: SpanObjective, frozen: EncoderWeights, batches: Iterable[Batch]) -> None:
        self._frozen = jax.device_put(dict(frozen))
        self._batches = tuple(batches)
        self._scores = jax.jit(objective.scores)

    def __call__(self, trainable: AdapterWeights) -> Mapping[str, float]:
        rows: dict[str, list[np.ndarray]] = {"exact": [], "refused": [], "loss": []}
        weights, answered = [], []
        for batch in self._batches:
            scores_SBT = self._scores(trainable, self._frozen, batch)
            firsts_B, lasts_B = best_spans(np.asarray(scores_SBT))
            places_B = np.arange(len(firsts_B))
            # The n-th first token and the n-th last one are those of one place.
            number_BT, last_number_BT = batch["firsts_BT"].cumsum(axis=1), batch["lasts_BT"].cumsum(axis=1)
            rows["exact"].append(
                batch["firsts_BT"][places_B, firsts_B]
                & batch["lasts_BT"][places_B, lasts_B]
                & (number_BT[places_B, firsts_B] == last_number_BT[places_B, lasts_B])
            )
            rows["refused"].append(firsts_B == 0)
            rows["loss"].append(np.asarray(_losses(scores_SBT, batch)))
            weights.append(batch["weights_B"])
            answered.append(~batch["firsts_BT"][:, 0])
        weights_R, answered_R = np.concatenate(weights), np.concatenate(answered)
        means = {name: float(np.average(np.concatenate(values), weights=weights_R)) for name, values in rows.items()}
        if answered_R @ weights_R:
            means["refused"] = float(np.average(np.concatenate(rows["refused"]), weights=weights_R * answered_R))
        return means


def best_spans(scores_SBT: Float[np.ndarray, "S B T"]) -> tuple[np.ndarray, np.ndarray]:
    """First and last token of the best span of each row; 0 and 0 where no answer is better than any."""
    T = scores_SBT.shape[2]
    sums_BTT = scores_SBT[0][:, :, None] + scores_SBT[1][:, None, :]
    ahead_TT = np.arange(T)[None] - np.arange(T)[:, None]
    possible_TT = (ahead_TT >= 0) & (ahead_TT < LONGEST_ANSWER)
    possible_TT[0, 1:] = False
    best_B = np.where(possible_TT, sums_BTT, -np.inf).reshape(len(sums_BTT), -1).argmax(axis=1)
    return best_B // T, best_B % T


def _possible(lengths_B: Any, passages_B: Any, T: int) -> Bool[Array, "B T"]:
    """The passage's tokens, and the row's first."""
    places_T = jnp.arange(T)
    inside_BT = (places_T >= passages_B[:, None]) & (places_T < lengths_B[:, None] - 1)
    return inside_BT | (places_T == 0)


def _losses(scores_SBT: Float[Array, "S B T"], batch: Batch) -> Float[Array, " B"]:
    answers_SBT = jnp.stack([jnp.asarray(batch["firsts_BT"]), jnp.asarray(batch["lasts_BT"])])
    right_SB = jax.nn.logsumexp(jnp.where(answers_SBT, scores_SBT, 2 * _IMPOSSIBLE), axis=-1)
    return jnp.sum(jax.nn.logsumexp(scores_SBT, axis=-1) - right_SB, axis=0)
