"""The decoder as it is trained: whole sequences, layers stacked so that one scan runs them all.

Axes: L layers, V vocabulary, J ranks of the adapted parts of a matrix together; the others as in `decoder`.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..adapter_files import LoraFactors
from ..architecture import DecoderConfig, LayerKind
from ..attention import Method, places_within
from ..bits import from_bits, to_bits
from ..decoder import DecoderLayer, LayerParts, RootMeanSquare, rotations_at
from ..head_gates import HeadGates
from ..linear import AdaptedLinear, Linear, join_factors
from ..matrices import Matrix, Vector, matrices, vectors
from ..positions import Rotation
from .lora import LoraTree

StackedFactors = dict[str, LoraFactors]
"""Factors of each kind of matrix in a layer, [L, J, K] and [L, N, J], with the scale worked in."""


class DecoderWeights(NamedTuple):
    """Every weight of a network. ``layers`` are by name (``attention.inputs``), all layers' in one array."""

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
        scan: compile one layer of each kind and loop over them; otherwise all are compiled one after the other.
        attention: see `causal_attention`; None is what is fastest for every shape on the device at hand.
    """

    compute: DTypeLike = jnp.bfloat16
    remat: bool = False
    scan: bool = True
    attention: Method | None = None


def weight_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each weight, by its name in a Hugging Face checkpoint."""
    found = {f"{part}.weight": (rows, each.columns) for each in matrices(config) for part, rows in each.parts.items()}
    return found | {part: (size,) for vector in vectors(config) for part, size in vector.parts.items()}


def stack_weights(
    config: DecoderConfig, weights: Mapping[str, Array], dtype: DTypeLike | None = None
) -> DecoderWeights:
    """``weights`` by their names in a Hugging Face checkpoint, joined and stacked; matrices in ``dtype``, if given."""

    def joined(matrix: Matrix) -> Array:
        return jnp.concatenate([jnp.asarray(weights[f"{part}.weight"], dtype) for part in matrix.parts])

    def put_together(vector: Vector) -> Array:
        return jnp.concatenate([jnp.asarray(weights[part]) for part in vector.parts])

    outer = {matrix.name: joined(matrix) for matrix in matrices(config) if not matrix.name.startswith("layers.")}
    layers = {name: jnp.stack([joined(matrix) for matrix in each]) for name, each in _of_layers(matrices(config))}
    for name, each in _of_layers(vectors(config)):
        layers[name] = jnp.stack([put_together(vector) for vector in each])
    return DecoderWeights(outer["embedding"], outer.get("head"), jnp.asarray(weights["model.norm.weight"]), layers)


def stack_factors(config: DecoderConfig, tree: LoraTree, scale: float) -> StackedFactors:
    """Factors by module, joined and stacked. A layer that lacks what others have gets zeros, which change nothing."""

    def over_layers(modules: list[str]) -> LoraFactors | None:
        present = [tree[module] for module in modules if module in tree]
        if not present:
            return None
        nothing = jax.tree.map(jnp.zeros_like, present[0])
        return jax.tree.map(lambda *layers: jnp.stack(layers), *(tree.get(module, nothing) for module in modules))

    found: StackedFactors = {}
    for name, each in _of_layers(matrices(config)):
        parts = [over_layers(list(modules)) for modules in zip(*(matrix.parts for matrix in each), strict=True)]
        outputs = list(each[0].parts.values())
        joined = jax.vmap(lambda parts, outputs=outputs: join_factors(parts, outputs, scale), axis_size=config.layers)(
            parts
        )
        if joined is not None:
            found[name] = joined
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
    gates: HeadGates | None = None,
) -> Float[Array, "B T D"]:
    """Hidden states after the last norm, in ``run.compute``.

    Tokens see those at and before them that are of their segment, and count positions from its beginning.
    ``dropout`` acts on the input of the factors, with ``key``. ``gates`` are those of all layers; layers with a window
    do without.
    """
    x_BTD = weights.embedding[tokens_BT].astype(run.compute) * config.embedding_scale
    keys = jax.random.split(key, config.layers) if dropout and key is not None else None
    own = _LayersOwn(to_bits(weights.layers), factors, keys, None if gates is None else gates.shares)

    period = _period(config.layer_kinds)
    looped = config.layers // period * period if run.scan else 0
    layers = [functools.partial(_layer, config, kind, dropout, run.attention, gates) for kind in range(period)]
    steps = [_step(run, layer, kind) for kind, layer in enumerate(layers)]
    common = _Common(rotations_at(config, _positions(tokens_BT, segments_BT))[:period], segments_BT)

    def whole_period(x_BTD: Array, own: _LayersOwn, common: _Common) -> Array:
        for kind, step in enumerate(steps):
            x_BTD = step(x_BTD, _at(own, kind), common)
        return x_BTD

    if looped:
        loop = _keeping_bits(whole_period)
        periods = jax.tree.map(lambda stack: stack[:looped].reshape(-1, period, *stack.shape[1:]), own)
        x_BTD = jax.lax.scan(lambda x_BTD, own: (loop(x_BTD, own, common), None), x_BTD, periods)[0]
    for index in range(looped, config.layers):
        x_BTD = steps[index % period](x_BTD, _at(own, index), common)
    return RootMeanSquare(weights.norm, config.norm_epsilon)(x_BTD)


class _LayersOwn(NamedTuple):
    """What one layer has that others have not; also stacks of it."""

    weights: dict[str, Array]
    factors: StackedFactors
    keys: PRNGKeyArray | None
    shares: Array | None


class _Common(NamedTuple):
    """What turns each layer of a period, and where packed sequences begin and end."""

    rotations: list[Rotation | None]
    segments: Array | None


def _at(own: _LayersOwn, index: int) -> _LayersOwn:
    return jax.tree.map(lambda stack: stack[index], own)


def _period(kinds: Sequence[LayerKind]) -> int:
    """The least number of layers after which their kinds begin anew."""
    return next(size for size in range(1, len(kinds) + 1) if list(kinds[size:]) == list(kinds[:-size]))


def _step(
    run: Run, layer: Callable[[_LayersOwn], DecoderLayer], kind: int
) -> Callable[[Array, _LayersOwn, _Common], Array]:
    """Layer number ``kind`` of a period."""

    def step(x_BTD: Array, own: _LayersOwn, common: _Common) -> Array:
        starts_B = jnp.zeros(x_BTD.shape[0], jnp.int32)
        return layer(own)(x_BTD, common.rotations[kind], starts_B, None, common.segments)[0]

    return jax.checkpoint(step, prevent_cse=not run.scan) if run.remat else step


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
    kind: int,
    dropout: float,
    attention: Method | None,
    gates: HeadGates | None,
    own: _LayersOwn,
) -> DecoderLayer:
    """One layer around slices of the stacks; of ``gates`` its own are taken."""
    weights, factors, key = from_bits(own.weights), own.factors, own.keys
    keys = dict(zip(factors, jax.random.split(key, len(factors)), strict=True)) if key is not None and factors else {}

    def product(name: str) -> Linear | AdaptedLinear:
        base = Linear(weights[name])
        if name not in factors:
            return base
        return AdaptedLinear(base, factors[name], dropout=dropout, key=keys.get(name))

    if gates is not None and own.shares is not None:
        gates = gates._replace(shares=own.shares)
    return DecoderLayer(config, kind, LayerParts(product, weights.get, config.norm_epsilon, gates), attention)


_Of = TypeVar("_Of", Matrix, Vector)


def _of_layers(parts: Iterable[_Of]) -> Iterator[tuple[str, list[_Of]]]:
    """Each name that matrices or vectors have in a layer, with those of that name in every layer."""
    found: defaultdict[str, list[_Of]] = defaultdict(list)
    for part in parts:
        if part.name.startswith("layers."):
            found[part.name.split(".", 2)[2]].append(part)
    yield from found.items()


def _positions(tokens_BT: Array, segments_BT: Array | None) -> Int[Array, "#B T"]:
    return jnp.arange(tokens_BT.shape[1])[None] if segments_BT is None else places_within(segments_BT)
