"""Native kernels for decoding on CPUs, as JAX functions: the C++ in ``native/``, called by XLA through its FFI.

They serve steps of few rows, in which XLA's CPU backend is slow, and on processors with instructions for 8-bit
products those of many. Whatever they compute, XLA computes too, equal but for rounding: that is what runs on other
platforms, where there is no compiler, and for many rows on other processors.

Axes: B sequences, T new tokens, R rows, N outputs or query heads, K inputs or key heads, S cache slots, H head width,
G groups of inputs, P bytes of a group. Of a layer: D width, NH values of all query heads, QKV those of its query, key
and value heads, (N + 2 K) H of them, F hidden width of the feed-forward, FF its gates and values, 2 F of them.
"""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.ffi
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float16, Int, Int8, UInt8

from ..config.paths import cache_dir
from .attention import Scoring
from .native_library import NativeCodeUnavailable, load_library
from .once import Once
from .positions import Rotation
from .sharding import over_mesh

MOST_ROWS = 16
"""Rows of a step up to which the kernels are used on any processor, and 8-bit products are always fine ones."""

_NAMES = ("int8_product", "int8_groups_product", "int4_groups_product", "cached_attention", "decoder_layer")
_MOST_INPUTS = 65536  # of a product, so that sums fit into 32 bits
_log = logging.getLogger(__name__)

xla_alone = jax.make_user_context(False)
"""``with xla_alone(True):`` traces steps without the kernels; what was traced with them stays apart."""


class LayerWeights(NamedTuple):
    """What a plain layer consists of: scales of its norms, matrices in 8 bits, and the scales of these."""

    attention_norm: Float[Array, " D"]
    inputs: Int8[Array, "QKV D"]
    inputs_scale: Float[Array, " QKV"]
    output: Int8[Array, "D NH"]
    output_scale: Float[Array, " D"]
    feed_norm: Float[Array, " D"]
    feed_inputs: Int8[Array, "FF D"]
    feed_inputs_scale: Float[Array, " FF"]
    feed_output: Int8[Array, "D F"]
    feed_output_scale: Float[Array, " D"]
    epsilon: float


class Kernels:
    """The kernels of one compiled library. They run where XLA's CPU backend runs, in its threads."""

    def __init__(self, library: ctypes.CDLL, prefix: str = "capibara") -> None:
        """``prefix`` tells libraries apart that are used in one process."""
        self._prefix = prefix
        for name in _NAMES:
            function = jax.ffi.pycapsule(getattr(library, f"capibara_{name}"))
            jax.ffi.register_ffi_target(f"{prefix}_{name}", function, platform="cpu")
        library.capibara_most_rows.restype = ctypes.c_int64
        self.most_rows: int = library.capibara_most_rows()
        """Rows of a step up to which this processor is faster than XLA makes it."""

    def int8_product(
        self, x_RK: Float[Array, "R K"], weight_NK: Int8[Array, "N K"], scale_N: Float[Array, " N"]
    ) -> Float[Array, "R N"]:
        """As `Int8Linear` that is fine."""
        result = jax.ShapeDtypeStruct((x_RK.shape[0], weight_NK.shape[0]), jnp.float32)
        return jax.ffi.ffi_call(f"{self._prefix}_int8_product", result, vmap_method="sequential")(
            x_RK, weight_NK, scale_N
        )

    def product_in_groups(
        self,
        x_RK: Float[Array, "R K"],
        weight_NGP: Int8[Array, "N G 32"] | UInt8[Array, "N G 16"],
        *numbers_NG: Float16[Array, "N G"],
    ) -> Float[Array, "R N"]:
        """As `GroupedLinear`; ``numbers_NG`` are the scales, and in 4 bits the least values."""
        result = jax.ShapeDtypeStruct((x_RK.shape[0], weight_NGP.shape[0]), jnp.float32)
        name = f"{self._prefix}_int{4 if weight_NGP.dtype == jnp.uint8 else 8}_groups_product"
        return jax.ffi.ffi_call(name, result, vmap_method="sequential")(x_RK, weight_NGP, *numbers_NG)

    def cached_attention(
        self,
        q_BNTH: Float[Array, "B N T H"],
        k_BKTH: Float[Array, "B K T H"],
        v_BKTH: Float[Array, "B K T H"],
        starts_B: Int[Array, " B"],
        caches: Sequence[Float[Array, "K S H"]],
        scoring: Scoring,
    ) -> tuple[Float[Array, "B N T H"], Sequence[Float[Array, "K S H"]]]:
        """As `attend_over` without a window, which none of ``scoring`` may have here. ``caches`` are each sequence's
        keys and values in turn, and are given back."""
        operands = (q_BNTH, k_BKTH, v_BKTH, starts_B)
        call = self._over_caches("cached_attention", _like(q_BNTH), caches, len(operands))
        mixed_BNTH, *written = call(*operands, *caches, **_attributes(scoring, q_BNTH.shape[-1]))
        return mixed_BNTH, written

    def decoder_layer(
        self,
        x_BTD: Float[Array, "B T D"],
        weights: LayerWeights,
        rotation: Rotation | None,
        starts_B: Int[Array, " B"],
        caches: Sequence[Float[Array, "K S H"]],
        scoring: Scoring,
    ) -> tuple[Float[Array, "B T D"], Sequence[Float[Array, "K S H"]]]:
        """A whole `DecoderLayer` that has nothing but ``weights`` and SiLU; caches as in `cached_attention`."""
        nothing = jnp.zeros((1, x_BTD.shape[1], 0))
        cos, sin = (nothing, nothing) if rotation is None else rotation
        operands = (x_BTD, *weights[:-1], cos, sin, starts_B)
        call = self._over_caches("decoder_layer", _like(x_BTD), caches, len(operands))
        attributes = _attributes(scoring, caches[0].shape[-1])
        out_BTD, *written = call(*operands, *caches, **attributes, epsilon=np.float32(weights.epsilon))
        return out_BTD, written

    def _over_caches(
        self, name: str, result: jax.ShapeDtypeStruct, caches: Sequence[Array], first: int
    ) -> Callable[..., Sequence[Array]]:
        """A kernel that takes caches, its operands from number ``first`` on, and gives them back after its result."""
        places = {first + index: 1 + index for index in range(len(caches))}
        results = [result, *map(_like, caches)]
        return jax.ffi.ffi_call(f"{self._prefix}_{name}", results, input_output_aliases=places)


def _like(array: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _attributes(scoring: Scoring, head_width: int) -> dict[str, Any]:
    scale = head_width**-0.5 if scoring.scale is None else scoring.scale
    return {"scale": np.float32(scale), "cap": np.float32(scoring.cap or 0.0)}


def kernels_for(x: Float[Array, "*R K"], *inputs: int) -> Kernels | None:
    """The kernels, if they are there and can take rows ``x`` and products of so many more inputs.

    They are for CPUs: choose by `jax.lax.platform_dependent`, since only when a step is lowered is it known where it
    runs. When first asked for they are compiled.
    """
    kernels = _usable(x) if max(x.shape[-1], *inputs, 0) <= _MOST_INPUTS else None
    return kernels if kernels is not None and math.prod(x.shape[:-1]) <= kernels.most_rows else None


def attention_kernels(q_BNTH: Float[Array, "B N T H"]) -> Kernels | None:
    """The kernels, if they are there and can attend with such queries, of which there may be any number."""
    return _usable(q_BNTH)


def _usable(x: Array) -> Kernels | None:
    alone = xla_alone.value or over_mesh.value is not None  # a kernel sees one device, and not what others have
    return None if alone or x.dtype != jnp.float32 else _loaded()


def _load() -> Kernels | None:
    try:
        return Kernels(load_library(cache_dir() / "native"))
    except NativeCodeUnavailable as reason:
        _log.info("decoding on this CPU is slower than it could be: %s", reason)
        return None


_loaded = Once(_load)
