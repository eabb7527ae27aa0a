"""The decoder as it is trained: whole sequences, layers stacked so that one scan runs them all.

Axes: L layers, V vocabulary, J ranks of the adapted parts of a matrix together; the others as in `decoder`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..adapter_files import LoraFactors
from ..architecture import DecoderConfig
from ..attention import Method
from ..bits import from_bits, to_bits
from ..decoder import Attention, DecoderLayer, FeedForward, RootMeanSquare, Rotation, rotation_at
from ..linear import AdaptedLinear, Linear, join_factors
from ..matrices import Matrix, matrices
from .lora import LoraTree

StackedFactors = dict[str, LoraFactors]
"""Factors of each kind of matrix in a layer, [L, J, K] and [L, N, J], with the scale worked in."""

_NORMS = {"attention_norm": "input_layernorm", "feed_norm": "post_attention_layernorm"}


class DecoderWeights(NamedTuple):
    """Every weight of a network. ``layers`` are by kind (``attention.inputs``), all layers' in one array."""

    embedding: Float[Array, "V D"]
    head: Float[Array, "V D"] | None
    norm: Float[Array, " D"]
    layers: dict[str, Float[Array, "L ..."]]


@dataclass(frozen=True, slots=True)
class Run:
    """How the layers are run. None of it changes what is computed, but for rounding.

    Attributes:
        compute: type of activations and products; norms, softmax and rotations are float32 in any case.
        remat: keep the input of each layer alone, and compute the rest again in the backward pass (Chen et al.,
            1604.06174): a third more work, a fraction of the memory.
        scan: compile one layer and loop over it; otherwise the layers are compiled one after the other.
        attention: see `causal_attention`; None is what is fastest for every shape on the device at hand.
    """

    compute: DTypeLike = jnp.bfloat16
    remat: bool = False
    scan: bool = True
    attention: Method | None = None


def weight_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each weight, by its name in a Hugging Face checkpoint."""
    found = {f"{part}.weight": (rows, each.columns) for each in matrices(config) for part, rows in each.parts.items()}
    layers = [f"model.layers.{layer}.{norm}.weight" for layer in range(config.layers) for norm in _NORMS.values()]
    return found | dict.fromkeys(["model.norm.weight", *layers], (config.width,))


def stack_weights(
    config: DecoderConfig, weights: Mapping[str, Array], dtype: DTypeLike | None = None
) -> DecoderWeights:
    """``weights`` by their names in a Hugging Face checkpoint, joined and stacked; matrices in ``dtype``, if given."""

    def joined(matrix: Matrix) -> Array:
        return jnp.concatenate([jnp.asarray(weights[f"{part}.weight"], dtype) for part in matrix.parts])

    outer = {matrix.name: joined(matrix) for matrix in matrices(config) if not matrix.name.startswith("layers.")}
    layers = {kind: jnp.stack([joined(matrix) for matrix in each]) for kind, each in _kinds(config)}
    for kind, source in _NORMS.items():
        scales = [weights[f"model.layers.{layer}.{source}.weight"] for layer in range(config.layers)]
        layers[kind] = jnp.stack([jnp.asarray(scale) for scale in scales])
    norm = jnp.asarray(weights["model.norm.weight"])
    return DecoderWeights(outer["embedding"], outer.get("head"), norm, layers)


def stack_factors(config: DecoderConfig, tree: LoraTree, scale: float) -> StackedFactors:
    """Factors by module, joined and stacked. A layer that lacks what others have gets zeros, which change nothing."""

    def over_layers(modules: list[str]) -> LoraFactors | None:
        present = [tree[module] for module in modules if module in tree]
        if not present:
            return None
        nothing = jax.tree.map(jnp.zeros_like, present[0])
        return jax.tree.map(lambda *layers: jnp.stack(layers), *(tree.get(module, nothing) for module in modules))

    found: StackedFactors = {}
    for kind, each in _kinds(config):
        parts = [over_layers(list(modules)) for modules in zip(*(matrix.parts for matrix in each), strict=True)]
        outputs = list(each[0].parts.values())
        joined = jax.vmap(lambda parts, outputs=outputs: join_factors(parts, outputs, scale), axis_size=config.layers)(
            parts
        )
        if joined is not None:
            found[kind] = joined
    return found


def hidden_states(
    config: DecoderConfig,
    weights: DecoderWeights,
    factors: StackedFactors,
    tokens_BT: Int[Array, "B T"],
    segments_BT: Int[Array, "B T"] | None = None,
    *,
    run: Run,
    dropout: float = 0.0,
    key: PRNGKeyArray | None = None,
) -> Float[Array, "B T D"]:
    """Hidden states after the last norm, in ``run.compute``.

    Tokens see those at and before them that are of their segment, and count positions from its beginning.
    ``dropout`` acts on the input of the factors, with ``key``.
    """
    x_BTD = weights.embedding[tokens_BT].astype(run.compute)
    rotation = rotation_at(config, _positions(tokens_BT, segments_BT))

    def step(x_BTD: Array, own: _LayersOwn, common: tuple[Rotation, Array | None]) -> Array:
        rotation, segments_BT = common
        layer = _layer(config, from_bits(own.weights), own.factors, own.key, dropout, run.attention)
        return layer(x_BTD, rotation, jnp.zeros(x_BTD.shape[0], jnp.int32), None, segments_BT)[0]

    common = (rotation, segments_BT)
    keys = jax.random.split(key, config.layers) if dropout and key is not None else None
    own = _LayersOwn(to_bits(weights.layers), factors, keys)
    if run.remat:
        step = jax.checkpoint(step, prevent_cse=not run.scan)
    if run.scan:
        step = _keeping_bits(step)
        x_BTD = jax.lax.scan(lambda x_BTD, own: (step(x_BTD, own, common), None), x_BTD, own)[0]
    else:
        for index in range(config.layers):
            x_BTD = step(x_BTD, jax.tree.map(lambda stack, index=index: stack[index], own), common)
    return RootMeanSquare(weights.norm, config.norm_epsilon)(x_BTD)


class _LayersOwn(NamedTuple):
    """What one layer has that others have not."""

    weights: dict[str, Array]
    factors: StackedFactors
    key: PRNGKeyArray | None


def _keeping_bits(step: Callable[..., Array]) -> Callable[..., Array]:
    """``step``, which keeps bfloat16 values for its backward pass as bits: a scan puts them into stacks."""

    def forward(*operands: PyTree) -> tuple[Array, PyTree]:
        result, back = jax.vjp(step, *operands)
        return result, to_bits(back)

    def backward(back: PyTree, change: Array) -> PyTree:
        return from_bits(back)(change)

    kept = jax.custom_vjp(step)
    kept.defvjp(forward, backward)
    return kept


def _layer(
    config: DecoderConfig,
    weights: dict[str, Array],
    factors: StackedFactors,
    key: PRNGKeyArray | None,
    dropout: float,
    attention: Method | None,
) -> DecoderLayer:
    """One layer around slices of the stacks."""
    keys = dict(zip(factors, jax.random.split(key, len(factors)), strict=True)) if key is not None and factors else {}

    def linear(kind: str) -> Linear | AdaptedLinear:
        base = Linear(weights[kind])
        if kind not in factors:
            return base
        return AdaptedLinear(base, factors[kind], dropout=dropout, key=keys.get(kind))

    def norm(kind: str) -> RootMeanSquare:
        return RootMeanSquare(weights[kind], config.norm_epsilon)

    return DecoderLayer(
        norm("attention_norm"),
        Attention(config, linear("attention.inputs"), linear("attention.output"), attention),
        norm("feed_norm"),
        FeedForward(linear("feed.inputs"), linear("feed.output")),
    )


def _kinds(config: DecoderConfig) -> Iterator[tuple[str, list[Matrix]]]:
    """Each kind of matrix in a layer, with that matrix of every layer."""
    found: defaultdict[str, list[Matrix]] = defaultdict(list)
    for matrix in matrices(config):
        if matrix.name.startswith("layers."):
            found[matrix.name.split(".", 2)[2]].append(matrix)
    yield from found.items()


def _positions(tokens_BT: Array, segments_BT: Array | None) -> Int[Array, "#B T"]:
    places_1T = jnp.arange(tokens_BT.shape[1])[None]
    if segments_BT is None:
        return places_1T
    begins_BT = jnp.diff(segments_BT, axis=1, prepend=segments_BT[:, :1] - 1) != 0
    return places_1T - jax.lax.cummax(jnp.where(begins_BT, places_1T, 0), axis=1)
