"""Trains a decoder to give an answer after its prompt: cross-entropy on the answer's tokens alone.

What is trained is either low-rank factors beside frozen weights (LoRA: Hu et al., 2106.09685) or every weight.

Axes: B rows of a batch, T tokens, A targets of a row, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..architecture import DecoderConfig
from ..attention import soft_capped
from ..checkpoint import Checkpoint
from ..errors import CheckpointError, UnsupportedCheckpoint
from ..linear import product
from ..matrices import module_shapes
from .lora import LoraOptions, LoraTree, init_factors, select
from .objective import Batch
from .stacked_decoder import DecoderWeights, Run, hidden_states, stack_factors, stack_weights, weight_shapes
from .written_config import config_json

WeightTree: TypeAlias = dict[str, Array]
"""Weights by their names in a Hugging Face checkpoint, float32: what full fine-tuning trains."""

_LARGEST_LOGITS = 4096
"""Targets whose logits are computed at once: 0.8 GB in float32 for a vocabulary of 49 thousand."""


class TargetFigures(NamedTuple):
    """Of each target: its loss, and whether it is what greedy decoding would choose."""

    losses: Float[Array, "B A"]
    chosen: Bool[Array, "B A"]


class DecoderObjective:
    """Implements `Objective`. ``trainable`` and ``frozen`` are as `init_decoder` makes them.

    A batch holds ``tokens_BT`` (int32), ``targets_BA`` (int32, tokens to be predicted), ``positions_BA`` (int32, the
    places in the row that predict them), ``weights_BA`` (float32; 0 where there is no target) and, where rows are
    packed, ``segments_BT`` (int32; tokens see only those of their own segment).
    """

    def __init__(self, config: DecoderConfig, lora: LoraOptions | None = None, run: Run | None = None) -> None:
        """``lora`` of None is full fine-tuning."""
        self.config, self.lora, self.run = config, lora, run or Run()

    def loss(
        self, trainable: LoraTree | WeightTree, frozen: DecoderWeights | None, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Sum of the targets' weighted losses, and of their weights."""
        weights_BA = jnp.asarray(batch["weights_BA"])
        figures = self.figures(trainable, frozen, batch, key)
        return jnp.sum(figures.losses * weights_BA), jnp.sum(weights_BA)

    def figures(
        self,
        trainable: LoraTree | WeightTree,
        frozen: DecoderWeights | None,
        batch: Batch,
        key: PRNGKeyArray | None = None,
    ) -> TargetFigures:
        """Loss and choice of each target, given the right tokens before it. Without ``key`` there is no dropout."""
        weights, x_BAD = self._before_targets(trainable, frozen, batch, key)
        head_VD = weights.embedding if weights.head is None else weights.head

        @jax.checkpoint
        def of_row(x_AD: Array, targets_A: Array) -> TargetFigures:
            logits_AV = soft_capped(product(x_AD, head_VD, jnp.float32), self.config.logit_cap)
            target_A = jnp.take_along_axis(logits_AV, targets_A[:, None], axis=-1)[:, 0]
            return TargetFigures(
                jax.nn.logsumexp(logits_AV, axis=-1) - target_A, jnp.argmax(logits_AV, axis=-1) == targets_A
            )

        targets_BA = jnp.asarray(batch["targets_BA"])
        B, A = targets_BA.shape
        if B * A <= _LARGEST_LOGITS:
            flat = of_row(x_BAD.reshape(B * A, -1), targets_BA.reshape(-1))
            return jax.tree.map(lambda figure: figure.reshape(B, A), flat)
        return jax.lax.map(lambda row: of_row(*row), (x_BAD, targets_BA))

    def target_logits(
        self,
        trainable: LoraTree | WeightTree,
        frozen: DecoderWeights | None,
        batch: Batch,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "B A V"]:
        """What each target is chosen from, float32: for losses other than this one."""
        weights, x_BAD = self._before_targets(trainable, frozen, batch, key)
        B, A, D = x_BAD.shape
        head_VD = weights.embedding if weights.head is None else weights.head
        logits_RV = product(x_BAD.reshape(B * A, D), head_VD, jnp.float32)
        return soft_capped(logits_RV, self.config.logit_cap).reshape(B, A, -1)

    def _before_targets(
        self,
        trainable: LoraTree | WeightTree,
        frozen: DecoderWeights | None,
        batch: Batch,
        key: PRNGKeyArray | None,
    ) -> tuple[DecoderWeights, Float[Array, "B A D"]]:
        """The weights that run, and the hidden states that predict the targets: the head is large, they are few."""
        tokens_BT, positions_BA = jnp.asarray(batch["tokens_BT"]), jnp.asarray(batch["positions_BA"])
        segments_BT = jnp.asarray(batch["segments_BT"]) if "segments_BT" in batch else None
        if self.lora is None:
            weights, factors, dropout = stack_weights(self.config, trainable), {}, 0.0  # type: ignore[arg-type]
        else:
            assert frozen is not None
            factors = stack_factors(self.config, trainable, self.lora.scale)  # type: ignore[arg-type]
            weights, dropout = frozen, self.lora.dropout
        x_BTD = hidden_states(
            self.config, weights, factors, tokens_BT, segments_BT, run=self.run, dropout=dropout, key=key
        )
        return weights, jnp.take_along_axis(x_BTD, positions_BA[..., None], axis=1)


class AnswerFigures:
    """Implements `Evaluate` over fixed batches of one example a row.

    ``loss`` is the mean over targets; ``exact`` the share of examples of which every target is the likeliest token
    after those before it: greedy decoding gives just these answers in full.
    """

    def __init__(self, objective: DecoderObjective, frozen: DecoderWeights | None, batches: Iterable[Batch]) -> None:
        self._frozen = jax.device_put(frozen)
        self._batches = tuple(batches)
        self._figures = jax.jit(objective.figures)

    def __call__(self, trainable: LoraTree | WeightTree) -> Mapping[str, float]:
        loss, exact, targets, examples = 0.0, 0, 0.0, 0
        for batch, (losses_BA, chosen_BA) in zip(self._batches, self.each(trainable), strict=True):
            weights_BA = batch["weights_BA"]
            there_B = weights_BA.any(axis=1)
            loss += float((losses_BA * weights_BA).sum(dtype=np.float64))
            exact += int((chosen_BA | (weights_BA == 0)).all(axis=1)[there_B].sum())
            targets, examples = targets + float(weights_BA.sum()), examples + int(there_B.sum())
        return {"loss": loss / targets, "exact": exact / examples}

    def each(self, trainable: LoraTree | WeightTree) -> Iterable[TargetFigures]:
        """Figures of each batch, on the host; all batches are handed to the device before the first is waited for."""
        figures = [self._figures(trainable, self._frozen, batch) for batch in self._batches]
        return [jax.tree.map(np.asarray, each) for each in figures]


def init_decoder(
    base: Checkpoint, lora: LoraOptions | None, key: PRNGKeyArray, run: Run | None = None
) -> tuple[LoraTree | WeightTree, DecoderWeights | None]:
    """What is trained and what is frozen, to begin with: together they are the base, unchanged.

    With ``lora``, factors in float32 and the base's weights in ``run.compute`` (norms in float32); without it, every
    weight in float32, and nothing frozen.

    Raises:
        AdapterError: a target of ``lora`` names nothing.
        CheckpointError: a weight is missing or has the wrong shape.
        UnsupportedCheckpoint: a mixture of experts; full fine-tuning of a model that could not be written afterwards.
    """
    weights = read_weights(base)
    if lora is None:
        config_json(base.config)  # what could not be written is refused before it is trained
        return weights, None
    factors = init_factors(select(module_shapes(base.config), lora.targets), lora.rank, key)
    return factors, stack_weights(base.config, weights, (run or Run()).compute)


def read_weights(base: Checkpoint) -> WeightTree:
    """Every weight, float32.

    Raises:
        CheckpointError: one is missing or has the wrong shape.
        UnsupportedCheckpoint: a mixture of experts.
    """
    if base.config.experts is not None:
        raise UnsupportedCheckpoint(
            f"{base.name} is a mixture of experts, which cannot be trained here: take a dense model"
        )
    return {name: jnp.asarray(_checked(base, name, shape)) for name, shape in weight_shapes(base.config).items()}


def _checked(base: Checkpoint, name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = base.tensor(name)
    if values.shape != shape:
        raise CheckpointError(f"{base.name}: {name} is {values.shape}; the configuration asks for {shape}")
    return values
