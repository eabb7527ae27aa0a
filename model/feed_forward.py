"""The gated feed-forward of a layer: SwiGLU or GeGLU (Shazeer, 2002.05202).

Axes: B sequences, T tokens, D width, R rows (B times T), F hidden width.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from .architecture import Activation
from .grouped_weights import GroupedLinear
from .linear import AdaptedLinear, Int8Linear, Linear

Product = Linear | Int8Linear | GroupedLinear | AdaptedLinear


class FeedForward(nnx.Module):
    """``inputs`` makes gate and value in one product."""

    def __init__(self, inputs: Product, output: Product, activation: Activation = "silu") -> None:
        self.inputs, self.output = inputs, output
        self.activation: Activation = activation

    def __call__(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        both_RF = self.inputs(x_BTD.reshape(-1, x_BTD.shape[-1]))
        gate_RF, value_RF = jnp.split(both_RF, 2, axis=-1)
        return self.output(gated(gate_RF, value_RF, self.activation)).reshape(x_BTD.shape)


@functools.partial(jax.checkpoint, prevent_cse=False, static_argnums=2)
def gated(gate_RF: Float[Array, "R F"], value_RF: Float[Array, "R F"], activation: Activation) -> Float[Array, "R F"]:
    """Made again in a backward pass, as norms and rotations are: less work than to keep what they pass through."""
    opened_RF = jax.nn.silu(gate_RF) if activation == "silu" else jax.nn.gelu(gate_RF, approximate=True)
    return opened_RF * value_RF
