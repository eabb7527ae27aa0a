"""Causal attention of whole sequences over themselves, for scoring and training; queries may share keys in groups.

The backward pass keeps the output and the logarithm of each row's sum, not the weights, and makes these again
(FlashAttention-2: Dao, 2307.08691). Products take their operands' type and sum in float32; the softmax is float32.

Axes: B sequences, N query heads, K key heads, G query heads per key head, T tokens, S tokens seen, H head width,
R rows of scores (G times the tokens of a block). An ellipsis stands for the axes that a product is repeated over.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from .bits import from_bits, to_bits
from .sharding import over_mesh

Method = Literal["loop", "batched", "cudnn"]
"""``loop``: one sequence and key head after the other, which keeps the scores in a CPU's cache. ``batched``: all at
once. ``cudnn``: NVIDIA's fused kernel, which takes no float32; where there are segments, a window or a cap, ``batched``
stands in for it."""


class Scoring(NamedTuple):
    """How scores are made of queries and keys, and how far back one sees.

    ``scale``: what they are multiplied by; None: one over the root of the head's width. ``cap``: their soft bound.
    ``window``: how many tokens one sees, itself the last of them; None: all before it. ``sinks``: first tokens of a
    sequence that are seen whatever the window is.
    """

    scale: float | None = None
    cap: float | None = None
    window: int | None = None
    sinks: int = 0

    def within(self, tokens: int) -> Scoring:
        """The same for so many tokens, without a window that shows all of them."""
        sees_all = self.window is None or self.sinks + self.window >= tokens
        return self._replace(window=None, sinks=0) if sees_all else self


_MASKED = -1e30
_BLOCKS = 8
_SMALLEST_BLOCK = {"loop": 64, "batched": 512}


def default_method() -> Method:
    """The fastest one that every shape and type can take on the device JAX prefers."""
    return "loop" if jax.default_backend() == "cpu" and over_mesh.value is None else "batched"


def causal_attention(
    q_BNTH: Float[Array, "B N T H"],
    k_BKTH: Float[Array, "B K T H"],
    v_BKTH: Float[Array, "B K T H"],
    segments_BT: Int[Array, "B T"] | None = None,
    method: Method | None = None,
    scoring: Scoring = Scoring(),  # noqa: B008 -- a value that cannot change
) -> Float[Array, "B N T H"]:
    """Each token's mixture of the values at and before it, of its own segment where ``segments_BT`` are given."""
    method = method or default_method()
    B, N, T, H = q_BNTH.shape
    K = k_BKTH.shape[1]
    scoring = scoring.within(T)._replace(scale=H**-0.5 if scoring.scale is None else scoring.scale)
    if method == "cudnn" and segments_BT is None and scoring.cap is None and scoring.window is None:
        by_token = [x.swapaxes(1, 2) for x in (q_BNTH, k_BKTH, v_BKTH)]
        mixed_BTNH = jax.nn.dot_product_attention(
            *by_token, scale=scoring.scale, is_causal=True, implementation="cudnn"
        )
        return mixed_BTNH.swapaxes(1, 2)
    q_BKGTH = q_BNTH.reshape(B, K, N // K, T, H)
    segments_BKT = None if segments_BT is None else jnp.broadcast_to(segments_BT[:, None], (B, K, T))
    if method == "loop":
        each = [x.reshape(B * K, *x.shape[2:]) for x in (q_BKGTH, k_BKTH, v_BKTH)]
        segments_RT = None if segments_BKT is None else segments_BKT.reshape(B * K, T)
        mixed: Array = _attend(*each, segments_RT, method, scoring)
    else:
        mixed = _attend(q_BKGTH, k_BKTH, v_BKTH, segments_BKT, "batched", scoring)
    return mixed.reshape(B, N, T, H)


def places_within(segments_T: Int[Array, "*B T"]) -> Int[Array, "*B T"]:
    """Each token's place in its own segment, counted from 0."""
    places_T = jnp.arange(segments_T.shape[-1])
    begins_T = jnp.diff(segments_T, axis=-1, prepend=segments_T[..., :1] - 1) != 0
    return places_T - jax.lax.cummax(jnp.where(begins_T, places_T, 0), axis=segments_T.ndim - 1)


def soft_capped(x: Float[Array, "*X"], cap: float | None) -> Float[Array, "*X"]:
    """Nearly ``x`` where it is small, never beyond ``cap`` either way (Gemma 2: 2408.00118); None: ``x``."""
    return x if cap is None else cap * jnp.tanh(x / cap)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _attend(
    q_GTH: Array, k_TH: Array, v_TH: Array, segments_T: Array | None, method: Method, scoring: Scoring
) -> Float[Array, "... G T H"]:
    return _applied(_forward, method, scoring, q_GTH, k_TH, v_TH, segments_T)[0]


def _attend_and_keep(q_GTH, k_TH, v_TH, segments_T, method, scoring):
    output_GTH, sums_GT1 = _applied(_forward, method, scoring, q_GTH, k_TH, v_TH, segments_T)
    return output_GTH, (q_GTH, k_TH, v_TH, segments_T, output_GTH, sums_GT1)


def _to_operands(method, scoring, kept, change_GTH):
    segments_T = kept[3]
    to_segments = None if segments_T is None else np.zeros(segments_T.shape, jax.dtypes.float0)
    return *_applied(_backward, method, scoring, *kept, change_GTH), to_segments


_attend.defvjp(_attend_and_keep, _to_operands)


def _applied(function: Callable[..., PyTree], method: Method, scoring: Scoring, *operands: PyTree) -> PyTree:
    """``function`` of all ``operands``, or of one after the other along their first axis."""
    function = functools.partial(function, _blocks(operands[0].shape[-2], method), scoring)
    if method != "loop":
        return function(*operands)
    return from_bits(jax.lax.map(lambda each: to_bits(function(*from_bits(each))), to_bits(operands)))


def _forward(blocks, scoring, q_GTH, k_TH, v_TH, segments_T):
    keys_HT = k_TH.swapaxes(-1, -2)
    outputs, sums = [], []
    for start, end in blocks:
        q_RH, seen = _rows(q_GTH, start, end), _seen(start, end, scoring, segments_T)
        hidden_RS = _hidden(segments_T, slice(start, end), seen, scoring, q_GTH)
        capped_RS = soft_capped(_product(q_RH, keys_HT[..., seen]) * scoring.scale, scoring.cap)
        scores_RS = jnp.where(hidden_RS, _MASKED, capped_RS)
        largest_R1 = jnp.max(scores_RS, axis=-1, keepdims=True)
        weights_RS = jnp.exp(scores_RS - largest_R1)
        sum_R1 = jnp.sum(weights_RS, axis=-1, keepdims=True)
        mixed_RH = _product(weights_RS.astype(v_TH.dtype), v_TH[..., seen, :]) / sum_R1
        outputs.append(_heads(mixed_RH.astype(q_GTH.dtype), q_GTH, end - start))
        sums.append(_heads(largest_R1 + jnp.log(sum_R1), q_GTH, end - start))
    return jnp.concatenate(outputs, axis=-2), jnp.concatenate(sums, axis=-2)


def _backward(blocks, scoring, q_GTH, k_TH, v_TH, segments_T, output_GTH, sums_GT1, change_GTH):
    dtype = q_GTH.dtype
    keys_HT, values_HT = k_TH.swapaxes(-1, -2), v_TH.swapaxes(-1, -2)
    shares_GT1 = jnp.sum(change_GTH.astype(jnp.float32) * output_GTH.astype(jnp.float32), axis=-1, keepdims=True)
    to_queries, to_keys_TH, to_values_TH = [], jnp.zeros(k_TH.shape, jnp.float32), jnp.zeros(k_TH.shape, jnp.float32)
    for start, end in blocks:
        q_RH, change_RH, sums_R1, shares_R1 = (_rows(x, start, end) for x in (q_GTH, change_GTH, sums_GT1, shares_GT1))
        seen = _seen(start, end, scoring, segments_T)
        hidden_RS = _hidden(segments_T, slice(start, end), seen, scoring, q_GTH)
        scores_RS = soft_capped(_product(q_RH, keys_HT[..., seen]) * scoring.scale, scoring.cap)
        slopes_RS = scoring.scale if scoring.cap is None else scoring.scale * (1 - (scores_RS / scoring.cap) ** 2)
        weights_RS = jnp.where(hidden_RS, 0.0, jnp.exp(scores_RS - sums_R1))
        to_weights_RS = _product(change_RH, values_HT[..., seen])
        to_scores_RS = (weights_RS * (to_weights_RS - shares_R1) * slopes_RS).astype(dtype)
        to_queries.append(_heads(_product(to_scores_RS, k_TH[..., seen, :]).astype(dtype), q_GTH, end - start))
        to_values_SH = _product(weights_RS.astype(dtype).swapaxes(-1, -2), change_RH)
        to_values_TH = to_values_TH.at[..., seen, :].add(to_values_SH)
        to_keys_TH = to_keys_TH.at[..., seen, :].add(_product(to_scores_RS.swapaxes(-1, -2), q_RH))
    return jnp.concatenate(to_queries, axis=-2), to_keys_TH.astype(dtype), to_values_TH.astype(dtype)


def _blocks(tokens: int, method: Method) -> list[tuple[int, int]]:
    """Equal stretches of the queries: a stretch need not meet the keys after its end."""
    size = max(_SMALLEST_BLOCK[method], -(-tokens // _BLOCKS))
    return [(start, min(start + size, tokens)) for start in range(0, tokens, size)]


def _seen(start: int, end: int, scoring: Scoring, segments_T: Array | None) -> slice | Int[np.ndarray, " S"]:
    """The tokens that any of those from ``start`` to ``end`` may see."""
    first = 0 if scoring.window is None else max(0, start - scoring.window + 1)
    if scoring.sinks == 0 or first == 0:
        return slice(first, end)
    if segments_T is not None or scoring.sinks >= first:
        return slice(0, end)  # each segment has sinks of its own, anywhere
    return np.r_[: scoring.sinks, first:end]


def _rows(x_GTX: Array, start: int, end: int) -> Array:
    block_GTX = x_GTX[..., start:end, :]
    return block_GTX.reshape(*x_GTX.shape[:-3], -1, x_GTX.shape[-1])


def _heads(x_RX: Array, like_GTH: Array, tokens: int) -> Array:
    return x_RX.reshape(*like_GTH.shape[:-2], tokens, x_RX.shape[-1])


def _hidden(
    segments_T: Array | None, own: slice, seen: slice | np.ndarray, scoring: Scoring, q_GTH: Array
) -> Bool[Array, "*A R S"]:
    G, T, _ = q_GTH.shape[-3:]
    places_T = jnp.arange(T)
    before_TS = places_T[own, None] - places_T[None, seen]
    hidden_TS = before_TS < 0
    if scoring.window is not None:
        inner_T = places_T if segments_T is None else places_within(segments_T)
        hidden_TS = hidden_TS | ((before_TS >= scoring.window) & (inner_T[..., None, seen] >= scoring.sinks))
    if segments_T is not None:
        hidden_TS = hidden_TS | (segments_T[..., own, None] != segments_T[..., None, seen])
    return jnp.tile(hidden_TS, (G, 1))


def _product(left: Array, right: Array) -> Array:
    """Matrix product over the last axis of ``left`` and the last but one of ``right``, repeated over those before."""
    batch = tuple(range(left.ndim - 2))
    axes = (((left.ndim - 1,), (right.ndim - 2,)), (batch, batch))
    return jax.lax.dot_general(left, right, axes, preferred_element_type=jnp.float32)
