"""What the objectives over an adapted encoder have in common."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..encoder import Computation, Dropout, Encoder, EncoderWeights
from ..encoder_checkpoint import EncoderConfig
from .encoder_adapter import AdapterWeights, adapted
from .errors import InvalidOption
from .lora import LoraOptions


class EncoderObjective:
    """Base of objectives whose ``frozen`` are an encoder's weights and whose ``trainable`` are `AdapterWeights`.

    ``dropout`` acts on the hidden states, where BERT has it, instead of the factors' input. ``how`` is in bfloat16 if
    not given.
    """

    def __init__(
        self, config: EncoderConfig, lora: LoraOptions, *, how: Computation | None = None, dropout: float = 0.0
    ) -> None:
        """
        Raises:
            InvalidOption: dropout is asked for of the factors, or is none that can be.
        """
        if lora.dropout:
            raise InvalidOption(
                f"dropout of the adapter is {lora.dropout}, but its factors are merged: use the objective's"
            )
        if not 0.0 <= dropout < 1.0:
            raise InvalidOption(f"dropout is {dropout}, but must be in [0, 1)")
        self.config, self.lora = config, lora
        self._how, self._rate = how or Computation(jnp.bfloat16), dropout

    def _dropout(self, key: PRNGKeyArray) -> Dropout | None:
        return Dropout(self._rate, key) if self._rate else None

    def _hidden(
        self,
        trainable: AdapterWeights,
        frozen: EncoderWeights,
        tokens_BT: Int[Array, "B T"],
        lengths_B: Int[Array, " B"],
        dropout: Dropout | None,
    ) -> Float[Array, "B T D"]:
        """The last hidden states of the adapted encoder."""
        encoder = Encoder(self.config, adapted(trainable, frozen, self.lora.scale), self._how)
        return encoder(tokens_BT, lengths_B, dropout)
