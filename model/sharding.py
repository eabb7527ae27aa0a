"""Where the parts of a network lie: on one device, or over a mesh of devices with the axes ``data`` and ``tensor``.

The weights of a product are split over ``tensor`` by outputs or by inputs, so that of two products in a row the second
takes in what the first gives where it is, and only sums are exchanged after it (Megatron-LM: Shoeybi et al.,
1909.08053). Along ``data`` everything is repeated, and the rows of a step are shared out where they divide. XLA puts in
what has to be exchanged (GSPMD: Xu et al., 2105.04663): the results do not hang on any of this, but for rounding.

Axes: B sequences, T tokens, D width, N heads, H head width; of a cache K key heads and S slots.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import Array, Float

from ..config.mesh import MeshSizes, mesh_sizes
from ..config.schema import ModelSettings
from .architecture import DecoderConfig
from .device import devices_of
from .errors import DeviceNotFound
from .head_groups import head_groups
from .matrices import matrices

DATA, TENSOR = "data", "tensor"
_log = logging.getLogger(__name__)

over_mesh = jax.make_user_context(None)
"""The mesh over which steps are being traced; None: they are for one device."""

# Queries, keys and values are stacked in one matrix, gates and values in another, and these are split over devices as
# if each were one: a device's outputs may be of two parts, and those of one head may lie on two devices. XLA sends what
# the product gives to where each part is used, some more exchanges in each layer of at most the hidden states' size. To
# save them, outputs would have to be stored in another order for each size of mesh. Weights and caches stay in place.
_BY_OUTPUTS = ("embedding", "head", "attention.inputs", "feed.inputs")
_BY_INPUTS = ("attention.output", "feed.output")
_LAYER = re.compile(r"layers\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a network lies. ``whole``: what every device has all of; ``mesh``: None: there is one device."""

    whole: Sharding
    mesh: Mesh | None = None

    def weight(self, config: DecoderConfig, name: str, shape: tuple[int, ...]) -> Sharding:
        """Of a weight by its name, as `SplitDecoder` has it. An axis whose size does not divide is not split."""
        axes = (*_named_axes(config, name), None, None)
        return self._split(axes[: len(shape)], shape)

    def weights(self, config: DecoderConfig, packed: Mapping[str, Any]) -> dict[str, Array]:
        """``packed`` where they belong; what is there already is not copied."""
        return jax.device_put(
            dict(packed), {name: self.weight(config, name, weight.shape) for name, weight in packed.items()}
        )

    def cache(self, shape: tuple[int, ...]) -> Sharding:
        """Of keys or values in a cache [K, S, H]: split over heads."""
        return self._split((TENSOR, None, None), shape)

    def _split(self, axes: tuple[str | None, ...], shape: tuple[int, ...]) -> Sharding:
        return self.whole if self.mesh is None else _split(self.mesh, axes, shape)


def placement_for(settings: ModelSettings) -> Placement:
    """What the settings ask for: one device, or a mesh of the first ones of its kind.

    Raises:
        DeviceNotFound: there is no such device, or there are not as many; names those that are there.
    """
    there = devices_of(settings.device)
    if settings.mesh == "none" or (settings.mesh == "auto" and len(there) == 1):
        return Placement(jax.sharding.SingleDeviceSharding(there[0]))
    sizes = mesh_sizes(settings.mesh) or MeshSizes(tensor=len(there))
    if sizes.devices > len(there):
        raise DeviceNotFound(
            f"a mesh of {settings.mesh} takes {sizes.devices} devices, but JAX finds {len(there)} "
            f"({', '.join(map(str, there))}): ask for fewer, or auto"
        )
    mesh = Mesh(np.array(there[: sizes.devices]).reshape(sizes), (DATA, TENSOR))
    return Placement(NamedSharding(mesh, PartitionSpec()), mesh)


def tell_undivided(config: DecoderConfig, mesh: Mesh, group: int = 1) -> None:
    """Say in the log what each device has all of because it cannot be split evenly; ``group`` as in `undivided`."""
    if found := list(undivided(config, mesh.shape[TENSOR], group)):
        _log.warning(
            "every device has all of what does not divide by tensor=%d: %s", mesh.shape[TENSOR], "; ".join(found)
        )


def undivided(config: DecoderConfig, tensor: int, group: int = 1) -> Iterator[str]:
    """What of a network cannot be split evenly among that many devices, each kind once. ``group``: inputs that stay
    together."""
    inputs = "inputs" if group == 1 else f"groups of {group} inputs"
    for heads in sorted({len(group.heads) for layer in head_groups(config) for group in layer}):
        if heads % tensor:
            yield f"the caches' {heads} key heads"
    told = set()
    for matrix in matrices(config):
        axes = _named_axes(config, f"{matrix.name}.weight")
        kind = matrix.name.split(".", 2)[-1]
        sizes = matrix.rows, -(-matrix.columns // group)
        for axis, size, what in zip(axes, sizes, ("outputs", inputs), strict=True):
            if axis and size % tensor and (kind, size) not in told:
                told.add((kind, size))
                yield f"{kind}, {size} {what}"


def traced_over(mesh: Mesh | None, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, in which `spread_rows` and its like are for ``mesh`` when it is traced."""
    if mesh is None:
        return function

    @functools.wraps(function)
    def traced(*operands: Any) -> Any:
        with over_mesh(mesh):
            return function(*operands)

    return traced


def spread_rows(x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """Sequences, or else tokens, shared out over ``data`` where they divide; the width is whole everywhere."""
    mesh = over_mesh.value
    if mesh is None:
        return x_BTD
    B, T, _ = x_BTD.shape
    data = mesh.shape[DATA]
    by_tokens = B % data and T % data == 0
    return _constrained(x_BTD, (None, DATA, None) if by_tokens else (DATA, None, None))


def split_heads(x: Float[Array, "*B N T H"], kv_heads: int) -> Float[Array, "*B N T H"]:
    """Queries, keys, values, or what is in a cache: split over ``tensor`` where the key heads divide, as caches are.

    Every device along ``data`` has them all, since it has all caches.
    """
    mesh = over_mesh.value
    if mesh is None or kv_heads % mesh.shape[TENSOR]:
        return whole(x)
    return _constrained(x, (*(None,) * (x.ndim - 3), TENSOR, None, None))


def whole(x: Array) -> Array:
    """All of it on every device."""
    return _constrained(x, (None,) * x.ndim)


def _constrained(x: Array, axes: tuple[str | None, ...]) -> Array:
    mesh = over_mesh.value
    return x if mesh is None else jax.lax.with_sharding_constraint(x, _split(mesh, axes, x.shape))


def _split(mesh: Mesh, axes: tuple[str | None, ...], shape: tuple[int, ...]) -> NamedSharding:
    fitting = [axis if axis and size % mesh.shape[axis] == 0 else None for axis, size in zip(axes, shape, strict=True)]
    while fitting and fitting[-1] is None:
        fitting.pop()  # as steps leave it out: what is the same must also be equal
    return NamedSharding(mesh, PartitionSpec(*fitting))


def _named_axes(config: DecoderConfig, name: str) -> tuple[str | None, ...]:
    """What each axis of a weight is split over, by its name."""
    found = _LAYER.match(name)
    inner = name if found is None else name[found.end() :]
    module, _, part = inner.replace(".base.", ".").rpartition(".")
    by_outputs, by_inputs = module in _BY_OUTPUTS, module in _BY_INPUTS
    if found and module.startswith("feed.") and config.layer_kinds[int(found.group(1))].experts:
        # An expert is cut out of the outputs, at a place that the step itself finds: were they split, all experts would
        # have to be fetched for one. Split by inputs, every device has a part of each expert and a share in its work.
        by_outputs, by_inputs = False, module != "feed.router"
    outputs, inputs = TENSOR if by_outputs else None, TENSOR if by_inputs else None
    if inner == "attention.bias":
        return (TENSOR,)
    if part in ("weight", "scale", "least"):  # of weights in groups all three are [outputs, groups of inputs, ...]
        return outputs, inputs
    return {"down": (None, inputs), "up": (outputs, None)}.get(part, (None,))
