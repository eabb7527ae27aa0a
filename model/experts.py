"""Mixtures of experts: each token is fed forward by the few experts that its router chooses.

Routing: Shazeer et al. (1701.06538); Fedus et al. (2101.03961). Pairs of a token and an expert are sorted by expert and
computed in tiles that are of one expert each (as in MegaBlocks: Gale et al., 2211.15841), one tile after the other: no
expert is computed for tokens that did not choose it, beyond what fills up a tile.

Axes: B sequences, T tokens, R rows (B times T), D width, E experts, U experts that a token uses, P pairs (R times U),
M pairs of a tile, F hidden width of an expert.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from .architecture import Activation, ExpertsConfig
from .errors import AdapterError
from .feed_forward import Product, gated
from .linear import AdaptedLinear

_LARGEST_TILE = 128


class Routing(NamedTuple):
    """The experts that each row uses, what each of them counts, and what the router gave to all."""

    experts: Int[Array, "R U"]
    weights: Float[Array, "R U"]
    probs: Float[Array, "R E"]


class LoadBalance(NamedTuple):
    """How evenly tokens use the experts of some layers.

    ``shares``: of all choices, that of each expert; ``probs``: what the router gives it in the mean; ``loss``: E times
    the sum of choices per token times probs, U when all are alike and more otherwise (Fedus et al., eq. 4 to 6).
    """

    shares: Float[Array, " E"]
    probs: Float[Array, " E"]
    loss: Float[Array, ""]


class Experts(nnx.Module):
    """The experts of one layer, stacked in two matrices: gates and values [E 2F, D], and outputs [E D, F]."""

    def __init__(
        self,
        config: ExpertsConfig,
        router: Product,
        inputs: Product,
        output: Product,
        activation: Activation = "silu",
    ) -> None:
        """
        Raises:
            AdapterError: a product is adapted.
        """
        if isinstance(inputs, AdaptedLinear) or isinstance(output, AdaptedLinear):
            raise AdapterError("the experts of a mixture cannot be adapted")
        self.config = config
        self.router, self.inputs, self.output = router, inputs, output
        self.activation: Activation = activation

    def __call__(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        x_RD = x_BTD.reshape(-1, x_BTD.shape[-1])
        return self._mixed(x_RD, self.routing(x_RD)).reshape(x_BTD.shape)

    def routing(self, x_RD: Float[Array, "R D"]) -> Routing:
        """Which experts the rows use."""
        probs_RE = jax.nn.softmax(self.router(x_RD.astype(jnp.float32)), axis=-1)
        weights_RU, experts_RU = jax.lax.top_k(probs_RE, self.config.used)
        if self.config.renormalise:
            weights_RU = weights_RU / jnp.sum(weights_RU, axis=-1, keepdims=True)
        return Routing(experts_RU, weights_RU, probs_RE)

    def _mixed(self, x_RD: Array, routing: Routing) -> Array:
        tiles = _tiles(routing.experts, self.config.count)
        weights_P = routing.weights.reshape(-1)

        def add(number: Array, mixed_RD: Array) -> Array:
            expert, pairs_M, there_M = tiles.tile(number)
            rows_M = pairs_M // self.config.used
            made_MD = self._expert(expert, x_RD[rows_M]) * weights_P[pairs_M][:, None]
            # A row uses an expert once, so that no two places of a tile add to one row.
            return mixed_RD.at[rows_M].add(jnp.where(there_M[:, None], made_MD, 0).astype(mixed_RD.dtype))

        return jax.lax.fori_loop(0, tiles.all, add, jnp.zeros_like(x_RD))

    def _expert(self, index: Array, x_MD: Array) -> Array:
        F, D = self.config.hidden_width, x_MD.shape[-1]
        gate_MF, value_MF = jnp.split(_rows(self.inputs, index * 2 * F, 2 * F)(x_MD), 2, axis=-1)
        return _rows(self.output, index * D, D)(gated(gate_MF, value_MF, self.activation))


def load_balance(routings: Sequence[Routing]) -> LoadBalance:
    """Over the tokens of layers with equally many experts."""
    probs_RE = jnp.concatenate([routing.probs for routing in routings])
    rows, count = probs_RE.shape
    chosen_P = jnp.concatenate([routing.experts.reshape(-1) for routing in routings])
    choices_E = jnp.bincount(chosen_P, length=count).astype(jnp.float32)
    probs_E = jnp.mean(probs_RE, axis=0)
    return LoadBalance(choices_E / chosen_P.size, probs_E, count * jnp.sum(choices_E / rows * probs_E))


class _Tiles(NamedTuple):
    """Pairs sorted by expert, cut into tiles; the last of each expert may be filled up with pairs of others."""

    order: Int[Array, " P"]
    first_pair: Int[Array, " E"]
    pairs: Int[Array, " E"]
    last_tile: Int[Array, " E"]
    places: Int[Array, " M"]

    @property
    def all(self) -> Array:
        """How many there are."""
        return self.last_tile[-1]

    def tile(self, number: Array) -> tuple[Array, Array, Array]:
        """The tile's expert, its pairs, and which of them are the expert's own."""
        expert = jnp.sum(self.last_tile <= number)
        size = self.places.shape[0]
        begins = self.last_tile[expert] - _tiles_for(self.pairs[expert], size)
        places_M = (number - begins) * size + self.places
        pairs_M = jnp.take(self.order, self.first_pair[expert] + places_M, mode="clip")
        return expert, pairs_M, places_M < self.pairs[expert]


def _tiles(experts_RU: Array, count: int) -> _Tiles:
    experts_P = experts_RU.reshape(-1)
    # As large as the pairs of an expert would be in the mean, so that little is filled up and few tiles there are.
    size = min(_LARGEST_TILE, 1 << max(0, experts_P.size // count - 1).bit_length())
    pairs_E = jnp.bincount(experts_P, length=count)
    last_pair_E, last_tile_E = jnp.cumsum(pairs_E), jnp.cumsum(_tiles_for(pairs_E, size))
    return _Tiles(jnp.argsort(experts_P), last_pair_E - pairs_E, pairs_E, last_tile_E, jnp.arange(size))


def _tiles_for(pairs: Array, size: int) -> Array:
    return (pairs + size - 1) // size


def _rows(product: Product, start: Array, count: int) -> Product:
    """Some outputs of a product, all of whose weights have these along their first axis."""
    graph, weights = nnx.split(product)
    return nnx.merge(graph, jax.tree.map(lambda each: jax.lax.dynamic_slice_in_dim(each, start, count), weights))
