"""Networks put together from their weights alone: what all networks of a shape have in common is built once."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
from flax import nnx

from .architecture import DecoderConfig
from .decoder import Decoder
from .weights import PackedWeights, build


class SplitDecoder(NamedTuple):
    """A `Decoder` as its structure, and its weights in the order that the structure has them in, with their names.

    Weights are named as in `weights.PackedWeights`; those of an adapted matrix ``x`` are ``x.base.weight``, ``x.down``
    and so on.
    """

    config: DecoderConfig
    graph: nnx.GraphDef
    structure: Any
    weights: list[Any]
    names: tuple[str, ...]


def split(decoder: Decoder) -> SplitDecoder:
    graph, weights = nnx.split(decoder)
    leaves, structure = jax.tree.flatten_with_path(weights)
    paths, arrays = zip(*leaves, strict=True)
    return SplitDecoder(decoder.config, graph, structure, list(arrays), tuple(map(_name, paths)))


def assembled(config: DecoderConfig, packed: PackedWeights) -> SplitDecoder:
    """What ``split(build(config, packed))`` gives, with the arrays of ``packed`` themselves.

    Building the modules of 30 layers keeps Python busy for a tenth of a second, in which generations hardly go on; a
    network of a shape that was built before is spared that.
    """
    shapes = tuple((name, array.shape, str(array.dtype)) for name, array in sorted(packed.items()))
    graph, structure, names = _skeleton(config, shapes)
    return SplitDecoder(config, graph, structure, [packed[name] for name in names], names)


@functools.lru_cache(maxsize=4)
def _skeleton(config: DecoderConfig, shapes: tuple[tuple[str, tuple[int, ...], str], ...]):
    """Structure, and the names of the packed weights in its order."""
    packed = {name: jax.ShapeDtypeStruct(shape, kind) for name, shape, kind in shapes}
    graph, weights = nnx.split(nnx.eval_shape(functools.partial(build, config), packed))
    places, structure = jax.tree.flatten_with_path(weights)
    return graph, structure, tuple(_name(path) for path, _ in places)


def _name(path: tuple[Any, ...]) -> str:
    """What the weight at ``path`` is called; the one weight of a norm has the name of the norm."""
    name = ".".join(str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey))
    return name.removesuffix(".scale") if name.endswith("norm.scale") else name
