"""The native kernels compute what XLA computes, for each row alone, and are done without where they cannot be had."""

from __future__ import annotations

import dataclasses
import platform
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.config.paths import cache_dir
from capibara.model.architecture import LayerKind
from capibara.model.attention import Scoring
from capibara.model.cached_attention import LayerCache, attend_over, flattened
from capibara.model.grouped_weights import GroupedLinear, quantise_groups
from capibara.model.kernels import MOST_ROWS, Kernels, kernels_for, xla_alone
from capibara.model.layer_kernel import layer_kernel
from capibara.model.linear import Int8Linear
from capibara.model.native_library import load_library
from capibara.model.weights import build, pack

from .kernel_inputs import dense, filled_caches, int8_weights, normal, run

OLDER = {"avx2": ("-march=x86-64-v3",), "any": ("-march=x86-64",)}
SHAPES = [(1, 576, 64), (1, 100, 77), (2, 5, 1), (3, 65, 200), (7, 33, 63), (16, 70, 1536)]
"""Rows, outputs and inputs of products."""


@pytest.fixture(scope="module")
def own() -> Kernels:
    found = kernels_for(jnp.zeros((1, 1)))
    if found is None:
        pytest.skip("the kernels cannot be compiled here")
    return found


@pytest.fixture(scope="module", params=["own", *OLDER])
def kernels(request, own) -> Kernels:
    """Compiled for this processor, and for ones that can do less."""
    if request.param == "own":
        return own
    if platform.machine() != "x86_64":
        pytest.skip("the older processors are x86")
    return Kernels(load_library(cache_dir() / "native", OLDER[request.param]), prefix=request.param)


@pytest.mark.parametrize(("rows", "outputs", "inputs"), SHAPES)
def test_a_product_is_that_of_xla(kernels, rows, outputs, inputs):
    weight, scale = int8_weights(outputs, inputs)
    x = normal(rows, inputs)
    with xla_alone(True):
        expected = Int8Linear(weight, scale)(x)
    made = kernels.int8_product(x, jnp.asarray(weight), jnp.asarray(scale))
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize("by_xla", [False, True])
def test_a_row_of_a_product_gives_the_same_whatever_is_beside_it(own, by_xla):
    product, x = Int8Linear(*int8_weights(70, 200)), normal(MOST_ROWS, 200)
    with xla_alone(by_xla):
        together = product(x)
        for rows in (1, 2, 3, 5):
            np.testing.assert_array_equal(product(x[:rows]), together[:rows])


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("size", [1.0, 1e-5], ids=["", "tiny"])
@pytest.mark.parametrize(("rows", "outputs", "inputs"), SHAPES)
def test_a_product_in_groups_is_that_of_xla(kernels, rows, outputs, inputs, size, bits):
    weight, x = quantise_groups(size * np.asarray(normal(outputs, inputs, seed=1)), bits), normal(rows, inputs)
    made = kernels.product_in_groups(x, *(jnp.asarray(part) for part in weight if part is not None))
    values = np.asarray(GroupedLinear(*weight).rows(np.arange(outputs)), np.float64)[:, :inputs]
    expected = np.asarray(x, np.float64) @ values.T
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("bits", [8, 4])
def test_a_row_of_a_product_in_groups_gives_the_same_whatever_is_beside_it(own, bits):
    product = GroupedLinear(*quantise_groups(np.asarray(normal(70, 200, seed=1)), bits))
    x = normal(MOST_ROWS, 200)
    together = product(x)
    for rows in (1, 2, 3, 5):
        np.testing.assert_array_equal(product(x[:rows]), together[:rows])


@pytest.mark.parametrize("bits", [8, 4])
def test_what_is_not_finite_in_a_weight_in_groups_is_not_hidden(kernels, bits):
    weight = np.asarray(normal(3, 64, seed=1)).copy()
    weight[1, 40] = np.inf
    with np.errstate(invalid="ignore"):
        parts = [jnp.asarray(part) for part in quantise_groups(weight, bits) if part is not None]
    made = kernels.product_in_groups(normal(1, 64), *parts)
    assert np.isfinite(made[0]).tolist() == [True, False, True]


ATTENTIONS = {
    "grouped": ((9, 3, 1, 64), Scoring(), [(512, 0), (512, 127), (1024, 128), (512, 511)]),
    "several-tokens": ((4, 2, 8, 16), Scoring(), [(300, 0), (300, 125), (160, 152)]),
    "odd-width": ((6, 6, 3, 24), Scoring(scale=0.3), [(64, 5), (200, 180)]),
    "narrow": ((5, 1, 2, 6), Scoring(), [(40, 7)]),
    "capped": ((2, 1, 1, 80), Scoring(cap=2.0), [(300, 280)]),
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_over_caches_is_its_formula(kernels, name):
    (heads, kv_heads, tokens, width), scoring, sequences = ATTENTIONS[name]
    B = len(sequences)
    q, k, v = (normal(B, n, tokens, width, seed=n) for n in (heads, kv_heads, kv_heads))
    caches = [LayerCache(*(normal(kv_heads, slots, width, seed=i) for i in (1, 2))) for slots, _ in sequences]
    starts = jnp.asarray([start for _, start in sequences], jnp.int32)
    mixed, written = kernels.cached_attention(2 * q, k, v, starts, flattened(caches), scoring)
    for row, (_, start) in enumerate(sequences):
        for made, old, new in zip(written[2 * row : 2 * row + 2], caches[row], (k[row], v[row]), strict=True):
            np.testing.assert_array_equal(made, old.at[:, start : start + tokens].set(new))
        expected = dense(2 * q[row], written[2 * row], written[2 * row + 1], start, scoring)
        np.testing.assert_allclose(mixed[row], expected, rtol=0, atol=2e-5)


def test_attention_over_caches_gives_the_same_by_xla(own):
    caches, starts, scoring = [LayerCache(normal(2, 200, 16), normal(2, 200, 16))], jnp.asarray([150]), Scoring(cap=9.0)
    operands = caches, starts, normal(1, 4, 3, 16), normal(1, 2, 3, 16), normal(1, 2, 3, 16)
    mixed, written = attend_over(*operands, scoring)
    with xla_alone(True):
        expected, expected_written = attend_over(*operands, scoring)
    np.testing.assert_allclose(mixed, expected, rtol=0, atol=1e-5)
    for made, wanted in zip(flattened(written), flattened(expected_written), strict=True):
        np.testing.assert_array_equal(made, wanted)


def test_what_heads_with_a_window_see_of_a_cache_that_is_no_ring_is_xlas_to_find(own):
    cache, scoring = LayerCache(normal(2, 300, 16, seed=1), normal(2, 300, 16, seed=2)), Scoring(window=130)
    operands = normal(1, 4, 3, 16, seed=4), normal(1, 2, 3, 16, seed=5), normal(1, 2, 3, 16, seed=6)
    mixed, (written,) = attend_over([cache], jnp.asarray([280]), *operands, scoring)
    expected = dense(operands[0][0], written.keys, written.values, 280, scoring)
    np.testing.assert_allclose(mixed[0], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spoils_its_own_row_and_no_other(kernels, bad):
    weight, scale = int8_weights(20, 30)
    x = normal(3, 30)
    made = kernels.int8_product(x.at[1, 4].set(bad), jnp.asarray(weight), jnp.asarray(scale))
    assert not np.isfinite(made[1]).any()
    np.testing.assert_array_equal(made[::2], kernels.int8_product(x, jnp.asarray(weight), jnp.asarray(scale))[::2])
    cache = LayerCache(normal(1, 64, 16), normal(1, 64, 16))
    operands = normal(1, 2, 1, 16).at[0, 1, 0, 3].set(bad), normal(1, 1, 1, 16), normal(1, 1, 1, 16)
    mixed, _ = kernels.cached_attention(*operands, jnp.asarray([40]), flattened([cache]), Scoring())
    assert np.isfinite(mixed[0, 0]).all()
    assert not np.isfinite(mixed[0, 1]).any()


@pytest.fixture(scope="module")
def networks(tiny):
    """Plain, and with layers that see no positions or a few tokens alone."""
    plain = tiny.config()
    kinds = (LayerKind(positions="none"), LayerKind(window=5))
    each = plain, dataclasses.replace(plain, layer_kinds=kinds, score_cap=5.0, query_scale=0.5)
    return [(config, build(config, pack(tiny.checkpoint(config, tiny.tensors(config)), "int8"))) for config in each]


@pytest.mark.parametrize("number", [0, 1])
def test_whole_layers_are_what_xla_makes_of_their_parts(own, networks, number):
    config, decoder = networks[number]
    tokens, starts, caches = [[5, 6, 7], [8, 9, 250]], [0, 40], filled_caches(config, 2)
    assert layer_kernel(decoder.layers[0], jnp.zeros((2, 3, config.width)), caches[0]) is not None
    x, written = run(decoder, tokens, starts, caches)
    with xla_alone(True):
        expected, expected_written = run(decoder, tokens, starts, caches)
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    for made, wanted in zip(written, expected_written, strict=True):
        np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-3 * np.abs(wanted).max())


def test_a_sequence_gives_the_same_alone_and_among_others(own, networks):
    config, decoder = networks[0]
    caches = filled_caches(config, 3)
    together, _ = run(decoder, [[5], [6], [7]], [3, 40, 63], caches)
    alone, _ = run(decoder, [[6]], [40], [layer[1:2] for layer in caches])
    np.testing.assert_array_equal(alone[0], together[1])


def test_tokens_give_the_same_at_once_and_one_by_one(own, networks):
    config, decoder = networks[0]
    caches = filled_caches(config, 1)
    at_once, written = run(decoder, [[5, 6]], [40], caches)
    _, first = run(decoder, [[5]], [40], caches)
    caches = [[(LayerCache(*map(jnp.asarray, first[2 * layer : 2 * layer + 2])),)] for layer in range(config.layers)]
    second, both = run(decoder, [[6]], [41], caches)
    np.testing.assert_array_equal(second[0, 0], at_once[0, 1])
    for made, wanted in zip(both, written, strict=True):
        np.testing.assert_array_equal(made, wanted)


MORE = {
    "attention_bias": ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"),
    "output_bias": ("self_attn.o_proj.bias",),
    "query_norm": ("self_attn.q_norm.weight", "self_attn.k_norm.weight"),
    "post_norms": ("pre_feedforward_layernorm.weight", "post_feedforward_layernorm.weight"),
}


class _Ones(dict):
    """Vectors of any name and of the wanted length, which is told by the name."""

    def __init__(self, tensors, config):
        super().__init__(tensors)
        self.config = config

    def __missing__(self, name):
        config = self.config
        lengths = {"q_proj": config.heads, "k_proj": config.kv_heads, "v_proj": config.kv_heads}
        part = name.split(".")[-2]
        if part in lengths:
            return np.ones(lengths[part] * config.head_width, np.float32)
        return np.ones(config.head_width if part in ("q_norm", "k_norm") else config.width, np.float32)


@pytest.mark.parametrize("more", [*MORE, "activation"])
def test_a_layer_with_more_than_the_kernel_knows_is_run_by_parts(own, tiny, more):
    config = dataclasses.replace(tiny.config(), **{more: "gelu_tanh" if more == "activation" else True})
    decoder = build(config, pack(tiny.checkpoint(config, _Ones(tiny.tensors(config), config)), "int8"))
    assert layer_kernel(decoder.layers[0], jnp.zeros((1, 1, config.width)), filled_caches(config, 1)[0]) is None


def test_a_layer_whose_heads_forget_is_run_by_parts(own, networks):
    config, decoder = networks[1]
    x, caches = jnp.zeros((1, 1, config.width)), filled_caches(config, 1)
    assert [layer_kernel(layer, x, own) is None for layer, own in zip(decoder.layers, caches, strict=True)] == [0, 1]


def test_there_are_no_kernels_for_too_many_rows_or_inputs_or_for_other_types_than_float32(own):
    assert own.most_rows >= MOST_ROWS
    assert kernels_for(jnp.zeros((own.most_rows, 8))) is own
    assert kernels_for(jnp.zeros((own.most_rows + 1, 8))) is None
    assert kernels_for(jnp.zeros((1, 8)), 65537) is None
    assert kernels_for(jnp.zeros((1, 8), jnp.bfloat16)) is None


def test_a_step_for_another_platform_has_no_kernels_in_it(own):
    product = jax.jit(Int8Linear(*int8_weights(8, 16)).__call__).trace(jnp.zeros((1, 16)))
    assert "capibara_int8_product" in product.lower(lowering_platforms=("cpu",)).as_text()
    assert "capibara" not in product.lower(lowering_platforms=("cuda",)).as_text()


def test_products_can_be_mapped(own):
    product, x = Int8Linear(*int8_weights(8, 16)), normal(3, 2, 16)
    np.testing.assert_array_equal(jax.vmap(product)(x), jnp.stack([product(each) for each in x]))


def test_threads_that_use_the_kernels_at_once_do_not_disturb_one_another(own, networks):
    config, decoder = networks[0]
    caches = filled_caches(config, 1)
    step = jax.jit(lambda token, start: decoder(token, start, caches)[0])
    tokens = [jnp.asarray([[token]]) for token in range(8)]
    expected = [np.asarray(step(token, jnp.asarray([50]))) for token in tokens]

    def repeat(number: int) -> bool:
        return all(np.array_equal(step(tokens[number], jnp.asarray([50])), expected[number]) for _ in range(40))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(repeat, range(8), timeout=120))
