"""Trains a cross-encoder to score the passage that answers a question above others that were retrieved for it.

The score of a pair is linear in the encoder's last hidden state of the first token (Nogueira & Cho, 1901.04085). The
loss is the softmax cross-entropy of the answering passage among all candidates of its question: ListNet's top-one
loss (Cao et al. 2007, ICML), with the retriever's own near misses as the others (LCE: Gao et al., 2101.08751).

Axes: G groups (one question each), C candidates of a group, T tokens of a pair, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..adapter_files import write_adapter
from ..encoder import Computation, Dropout, Encoder, EncoderWeights
from ..encoder_checkpoint import EncoderCheckpoint, EncoderConfig, linear_shapes, weight_shapes
from .errors import InvalidOption
from .lora import LoraOptions, LoraTree, init_factors, select, to_adapter
from .objective import Batch
from .pair_tokens import PairFormat, record_pair_format

ENCODER_TARGETS = ("query", "key", "value", "dense")
"""Every linear map of the layers, as targets of `LoraOptions`."""
_HEAD_DEVIATION = 0.02


class Head(NamedTuple):
    """From a hidden state to a score."""

    weight: Float[Array, "1 D"]
    bias: Float[Array, " 1"]


class RankingWeights(NamedTuple):
    """What is trained: low-rank changes by module, weights trained outright by name, and the head. All float32."""

    lora: LoraTree
    whole: dict[str, Array]
    head: Head


class RankingObjective:
    """Implements `Objective`; ``frozen`` are the encoder's weights, ``trainable`` are `RankingWeights`.

    Low-rank changes are added to their matrices before the forward pass: at the ranks that a reranker needs, this is
    less work than passing every token through both factors. Dropout acts on the hidden states, where BERT has it,
    instead of the factors' input. ``how`` is in bfloat16 if not given.
    """

    def __init__(
        self, config: EncoderConfig, lora: LoraOptions, *, how: Computation | None = None, dropout: float = 0.0
    ) -> None:
        if lora.dropout:
            raise InvalidOption(
                f"dropout of the adapter is {lora.dropout}, but a reranker's factors are merged: use the objective's"
            )
        if not 0.0 <= dropout < 1.0:
            raise InvalidOption(f"dropout is {dropout}, but must be in [0, 1)")
        self.config, self.lora = config, lora
        self._how, self._dropout = how or Computation(jnp.bfloat16), dropout

    def loss(
        self, trainable: RankingWeights, frozen: EncoderWeights, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Sum over groups, and how many groups count; see `RankingBatches` for the batch."""
        dropout = Dropout(self._dropout, key) if self._dropout else None
        scores_GC = self.scores(trainable, frozen, batch, dropout)
        return jnp.sum(_losses(scores_GC) * batch["weights_G"]), jnp.sum(batch["weights_G"])

    def scores(
        self, trainable: RankingWeights, frozen: EncoderWeights, batch: Batch, dropout: Dropout | None = None
    ) -> Float[Array, "G C"]:
        """Each candidate's score, float32."""
        tokens_GCT, lengths_GC = jnp.asarray(batch["tokens_GCT"]), jnp.asarray(batch["lengths_GC"])
        G, C, T = tokens_GCT.shape
        encoder = Encoder(self.config, self.adapted(trainable, frozen), self._how)
        first_BD = encoder(tokens_GCT.reshape(G * C, T), lengths_GC.reshape(G * C), dropout)[:, 0]
        head = trainable.head
        return (jnp.sum(first_BD * head.weight, axis=-1) + head.bias).reshape(G, C)

    def adapted(self, trainable: RankingWeights, frozen: EncoderWeights) -> dict[str, Array]:
        """The encoder's weights with everything trained worked in."""
        weights = {**frozen, **trainable.whole}
        for module, factors in trainable.lora.items():
            change_NK = jnp.matmul(factors.up, factors.down, precision="highest") * self.lora.scale
            weights[f"{module}.weight"] = weights[f"{module}.weight"] + change_NK
        return weights


class RankingFigures:
    """Implements `Evaluate` over fixed groups: ``recall@1``, ``mrr`` and ``loss``. The gold loses every tie."""

    def __init__(self, objective: RankingObjective, frozen: EncoderWeights, batches: Iterable[Batch]) -> None:
        self._frozen = jax.device_put(dict(frozen))
        self._batches = tuple(batches)
        self._scores = jax.jit(objective.scores)

    def __call__(self, trainable: RankingWeights) -> Mapping[str, float]:
        scored = [(self._scores(trainable, self._frozen, batch), batch["weights_G"]) for batch in self._batches]
        scores_GC = np.concatenate([np.asarray(scores) for scores, _ in scored])
        weights_G = np.concatenate([weights for _, weights in scored])
        ranks_G = (scores_GC >= scores_GC[:, :1]).sum(axis=1)
        losses_G = np.asarray(_losses(jnp.asarray(scores_GC)))
        figures = {"recall@1": ranks_G == 1, "mrr": 1.0 / ranks_G, "loss": losses_G}
        return {name: float(np.average(values_G, weights=weights_G)) for name, values_G in figures.items()}


def init_ranking(
    base: EncoderCheckpoint, lora: LoraOptions, key: PRNGKeyArray, *, whole: Sequence[str] = ()
) -> RankingWeights:
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
    return RankingWeights(
        init_factors(select(linear_shapes(base.config), lora.targets), lora.rank, lora_key),
        {name: jnp.asarray(base.weights[name]) for name in names if name.startswith(tuple(whole))},
        Head(_HEAD_DEVIATION * jax.random.normal(head_key, (1, base.config.width)), jnp.zeros(1)),
    )


def write_reranker(folder: Path, trained: RankingWeights, lora: LoraOptions, base_name: str, pairs: PairFormat) -> None:
    """Write the trained weights in PEFT's layout, float16; the head is ``score.weight`` [1, D] and ``score.bias`` [1].

    Raises:
        AdapterError: there are no factors, or a value is beyond float16.
        OSError: the folder cannot be written.
    """
    adapter = to_adapter(trained.lora, lora, base_name, task="SEQ_CLS")
    head = {"score.weight": trained.head.weight, "score.bias": trained.head.bias}
    whole = {name: np.asarray(values, np.float32) for name, values in (trained.whole | head).items()}
    write_adapter(folder, dataclasses.replace(adapter, whole=whole))
    record_pair_format(folder, pairs)


def _losses(scores_GC: Float[Array, "G C"]) -> Float[Array, " G"]:
    """The gold is the first candidate."""
    return -jax.nn.log_softmax(scores_GC, axis=-1)[:, 0]
