"""Packed masks say which tokens may be chosen, and what they rule out is never chosen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capibara.model import Sampling
from capibara.model.masks import everything, masked, pack, unpack, without, words
from capibara.model.sampling import choice_of, choose

SIZES = [1, 31, 32, 33, 64, 260]
choose_within = jax.jit(choose)


@pytest.mark.parametrize("vocabulary", SIZES)
def test_what_was_packed_is_unpacked(vocabulary):
    rng = np.random.default_rng(vocabulary)
    allowed_V = rng.random(vocabulary) < 0.4
    packed_W = pack(np.flatnonzero(allowed_V), vocabulary)
    assert packed_W.shape == (words(vocabulary),)
    assert packed_W.dtype == np.int32
    np.testing.assert_array_equal(unpack(packed_W, vocabulary), allowed_V)


@pytest.mark.parametrize("vocabulary", SIZES)
def test_logits_are_kept_where_the_bit_is_set_and_never_chosen_elsewhere(vocabulary):
    rng = np.random.default_rng(vocabulary)
    logits_BV = rng.normal(0, 3, (3, vocabulary)).astype(np.float32)
    allowed_BV = rng.random((3, vocabulary)) < 0.5
    packed_BW = np.stack([pack(np.flatnonzero(allowed_V), vocabulary) for allowed_V in allowed_BV])
    expected = np.where(allowed_BV, logits_BV, -np.inf)
    np.testing.assert_array_equal(masked(jnp.asarray(logits_BV), jnp.asarray(packed_BW)), expected)


def test_bits_lie_where_llguidance_puts_them():
    packed_W = pack([0, 31, 32, 65], 70)
    np.testing.assert_array_equal(packed_W, [1 - 2**31, 1, 2])


def test_everything_but_some_tokens_is_the_rest():
    np.testing.assert_array_equal(np.flatnonzero(~unpack(without(everything(100), [3, 64, 99]), 100)), [3, 64, 99])


@pytest.mark.parametrize("token", [-1, 33, 63])
def test_a_token_outside_the_vocabulary_is_refused(token):
    with pytest.raises(IndexError, match=f"{token}.*vocabulary of 33"):
        pack([token, 5], 33)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    few=st.sets(st.integers(0, 259), min_size=1, max_size=12),
    scale=st.sampled_from([0.0, 1.0, 100.0]),
    temperature=st.sampled_from([0.0, 0.05, 1.0, 50.0]),
    top_p=st.sampled_from([0.01, 0.9, 1.0]),
    top_k=st.sampled_from([0, 1, 40]),
    penalty=st.sampled_from([0.5, 1.0, 1.7]),
)
def test_a_masked_token_is_never_sampled(seed, few, scale, temperature, top_p, top_k, penalty):
    rng = np.random.default_rng(seed)
    logits_BV = (rng.normal(0, 1, (1, 260)) * scale).astype(np.float32)
    seen_BV = rng.random((1, 260)) < 0.3
    sampling = Sampling(
        temperature=temperature, top_p=top_p, top_k=top_k, repetition_penalty=penalty, seed=seed, min_p=0.02
    )
    packed_BW = pack(few, 260)[None]
    for position in range(3):
        chosen = choose_within(logits_BV, seen_BV, choice_of(sampling, 0), np.int32(position), packed_BW)
        assert int(chosen[0]) in few
