"""Trains a cross-encoder to score the passage that answers a question above others that were retrieved for it.

The score of a pair is linear in the encoder's last hidden state of the first token (Nogueira & Cho, 1901.04085). The
loss is the softmax cross-entropy of the answering passage among all candidates of its question: ListNet's top-one
loss (Cao et al. 2007, ICML), with the retriever's own near misses as the others (LCE: Gao et al., 2101.08751).

Axes: G groups (one question each), C candidates of a group, T tokens of a pair, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..encoder import Dropout, EncoderWeights
from .encoder_adapter import AdapterWeights
from .encoder_objective import EncoderObjective
from .objective import Batch


class RankingObjective(EncoderObjective):
    """Implements `Objective`; ``trainable`` has one score."""

    def loss(
        self, trainable: AdapterWeights, frozen: EncoderWeights, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Sum over groups, and how many groups count; see `RankingBatches` for the batch."""
        scores_GC = self.scores(trainable, frozen, batch, self._dropout(key))
        return jnp.sum(_losses(scores_GC) * batch["weights_G"]), jnp.sum(batch["weights_G"])

    def scores(
        self, trainable: AdapterWeights, frozen: EncoderWeights, batch: Batch, dropout: Dropout | None = None
    ) -> Float[Array, "G C"]:
        """Each candidate's score, float32."""
        tokens_GCT, lengths_GC = jnp.asarray(batch["tokens_GCT"]), jnp.asarray(batch["lengths_GC"])
        G, C, T = tokens_GCT.shape
        rows_BT, lengths_B = tokens_GCT.reshape(G * C, T), lengths_GC.reshape(G * C)
        first_BD = self._hidden(trainable, frozen, rows_BT, lengths_B, dropout)[:, 0]
        head = trainable.head
        return (jnp.sum(first_BD * head.weight, axis=-1) + head.bias).reshape(G, C)


class RankingFigures:
    """Implements `Evaluate` over fixed groups: ``recall@1``, ``mrr`` and ``loss``. The gold loses every tie."""

    def __init__(self, objective: RankingObjective, frozen: EncoderWeights, batches: Iterable[Batch]) -> None:
        self._frozen = jax.device_put(dict(frozen))
        self._batches = tuple(batches)
        self._scores = jax.jit(objective.scores)

    def __call__(self, trainable: AdapterWeights) -> Mapping[str, float]:
        scored = [(self._scores(trainable, self._frozen, batch), batch["weights_G"]) for batch in self._batches]
        scores_GC = np.concatenate([np.asarray(scores) for scores, _ in scored])
        weights_G = np.concatenate([weights for _, weights in scored])
        ranks_G = (scores_GC >= scores_GC[:, :1]).sum(axis=1)
        losses_G = np.asarray(_losses(jnp.asarray(scores_GC)))
        figures = {"recall@1": ranks_G == 1, "mrr": 1.0 / ranks_G, "loss": losses_G}
        return {name: float(np.average(values_G, weights=weights_G)) for name, values_G in figures.items()}


def _losses(scores_GC: Float[Array, "G C"]) -> Float[Array, " G"]:
    """The gold is the first candidate."""
    return -jax.nn.log_softmax(scores_GC, axis=-1)[:, 0]
