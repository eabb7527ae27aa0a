"""Causal attention of whole sequences against the textbook formula, forward and backward."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.model import attention
from capibara.model.attention import Scoring, causal_attention

SHAPES = [(2, 4, 4, 7, 8), (2, 6, 2, 33, 16)]


def textbook(q_BNTH, k_BKTH, v_BKTH, segments_BT=None, scoring=None):
    groups = q_BNTH.shape[1] // k_BKTH.shape[1]
    k_BNTH, v_BNTH = (jnp.repeat(x.astype(jnp.float32), groups, axis=1) for x in (k_BKTH, v_BKTH))
    scale, cap, window, sinks = scoring or Scoring(q_BNTH.shape[-1] ** -0.5)
    scores = jnp.einsum("bnth,bnsh->bnts", q_BNTH.astype(jnp.float32), k_BNTH) * scale
    scores = scores if cap is None else cap * jnp.tanh(scores / cap)
    seen = jnp.tril(jnp.ones(scores.shape[-2:], bool))[None, None]
    if window is not None:
        places_BT = np.arange(scores.shape[-1])[None]
        if segments_BT is not None:
            places_BT = np.stack([np.arange(len(row)) - np.searchsorted(row, row) for row in segments_BT])
        near = jnp.triu(jnp.ones(scores.shape[-2:], bool), 1 - window)[None, None]
        seen = seen & (near | (places_BT[:, None, None, :] < sinks))
    if segments_BT is not None:
        seen = seen & (segments_BT[:, None, :, None] == segments_BT[:, None, None, :])
    return jnp.einsum("bnts,bnsh->bnth", jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1), v_BNTH)


def operands(shape, dtype=jnp.float32):
    B, N, K, T, H = shape
    keys = jax.random.split(jax.random.key(T), 4)
    sizes = [(B, N, T, H), (B, K, T, H), (B, K, T, H), (B, N, T, H)]
    return [jax.random.normal(key, size).astype(dtype) for key, size in zip(keys, sizes, strict=True)]


def both(function, operands, change):
    """The output, and what ``change`` of it makes of the operands."""
    output, back = jax.vjp(function, *operands)
    return output, *back(change.astype(output.dtype))


@pytest.fixture
def small_blocks(monkeypatch):
    """One block for the shorter sequence, three for the longer one."""
    monkeypatch.setattr(attention, "_SMALLEST_BLOCK", {"loop": 16, "batched": 16})


@pytest.mark.parametrize("method", ["loop", "batched"])
@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("small_blocks")
def test_output_and_gradients_equal_the_formula(shape, segmented, method):
    *given, change = operands(shape)
    B, *_, T, _ = shape
    segments = np.sort(np.random.default_rng(T).integers(1, 4, (B, T)), axis=1) if segmented else None
    ours = jax.jit(lambda *x: both(lambda q, k, v: causal_attention(q, k, v, segments, method), x[:3], x[3]))
    theirs = both(lambda q, k, v: textbook(q, k, v, segments), given, change)
    for mine, other in zip(ours(*given, change), theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=2e-5)


@pytest.mark.parametrize("method", ["loop", "batched"])
@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize(
    "scoring",
    [Scoring(0.4, 1.5, None), Scoring(0.25, None, 7), Scoring(0.4, 1.5, 20), Scoring(0.3, None, 6, 3)],
    ids=["cap", "window", "both", "sinks"],
)
@pytest.mark.usefixtures("small_blocks")
def test_caps_windows_and_sinks_give_output_and_gradients_of_the_formula(segmented, scoring, method):
    shape = SHAPES[1]
    *given, change = operands(shape)
    B, *_, T, _ = shape
    segments = np.sort(np.random.default_rng(T).integers(1, 4, (B, T)), axis=1) if segmented else None
    ours = jax.jit(lambda *x: both(lambda q, k, v: causal_attention(q, k, v, segments, method, scoring), x[:3], x[3]))
    theirs = both(lambda q, k, v: textbook(q, k, v, segments, scoring), given, change)
    for mine, other in zip(ours(*given, change), theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=2e-5)


@pytest.mark.parametrize("method", ["loop", "batched"])
@pytest.mark.parametrize("shape", [(2, 6, 2, 33, 16), (1, 3, 1, 100, 24), (3, 9, 3, 130, 64)])
def test_bfloat16_stays_within_its_rounding(shape, method):
    *given, change = operands(shape, jnp.bfloat16)
    ours = jax.jit(lambda *x: both(lambda q, k, v: causal_attention(q, k, v, None, method), x[:3], x[3]))
    theirs = both(textbook, given, change)
    for mine, other in zip(ours(*given, change), theirs, strict=True):
        assert mine.dtype == jnp.bfloat16
        error = np.abs(np.asarray(mine, np.float32) - np.asarray(other, np.float32)).max()
        assert error <= 0.03 * np.abs(np.asarray(other, np.float32)).max()


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="cuDNN needs an NVIDIA GPU")
def test_the_fused_kernel_gives_what_the_plain_method_gives():
    *given, change = operands((2, 6, 2, 64, 64), jnp.bfloat16)
    fused, plain = (
        jax.jit(lambda *x, way=way: both(lambda q, k, v: causal_attention(q, k, v, None, way), x[:3], x[3]))
        for way in ("cudnn", "batched")
    )
    for mine, other in zip(fused(*given, change), plain(*given, change), strict=True):
        error = np.abs(np.asarray(mine, np.float32) - np.asarray(other, np.float32)).max()
        assert error <= 0.03 * np.abs(np.asarray(other, np.float32)).max()
