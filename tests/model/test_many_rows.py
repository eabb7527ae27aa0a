"""Steps of many rows in native code: attention everywhere, products on processors that are made for them."""

from __future__ import annotations

import dataclasses
import platform

import jax.numpy as jnp
import numpy as np
import pytest

from capibara.config.paths import cache_dir
from capibara.model.architecture import LayerKind
from capibara.model.attention import Scoring
from capibara.model.cached_attention import LayerCache, flattened
from capibara.model.kernels import MOST_ROWS, Kernels, attention_kernels, xla_alone
from capibara.model.layer_kernel import layer_kernel
from capibara.model.linear import Int8Linear
from capibara.model.native_library import load_library
from capibara.model.weights import build, pack

from .kernel_inputs import dense, filled_caches, int8_weights, normal, run


@pytest.fixture(scope="module")
def native() -> Kernels:
    found = attention_kernels(jnp.zeros((1, 1, 1, 1)))
    if found is None:
        pytest.skip("the kernels cannot be compiled here")
    return found


@pytest.fixture(scope="module")
def quick(native) -> Kernels:
    if native.most_rows <= MOST_ROWS:
        pytest.skip("this processor leaves many rows to XLA")
    return native


@pytest.fixture(scope="module", params=["own", "without-tiles"])
def kernels(request, quick) -> Kernels:
    if request.param == "own":
        return quick
    if platform.machine() != "x86_64":
        pytest.skip("tiles are x86")
    return Kernels(load_library(cache_dir() / "native", ("-march=native", "-mno-amx-int8")), prefix="untiled")


@pytest.mark.parametrize(
    ("rows", "outputs", "inputs"), [(4, 16, 64), (17, 70, 128), (40, 33, 192), (300, 5, 64), (50, 33, 70)]
)
def test_a_product_of_many_rows_is_that_of_xla(kernels, rows, outputs, inputs):
    weight, scale = int8_weights(outputs, inputs)
    x = normal(rows, inputs)
    with xla_alone(True):
        expected = Int8Linear(weight, scale, fine=True)(x)
    made = kernels.int8_product(x, jnp.asarray(weight), jnp.asarray(scale))
    # Of so many values some lie halfway between two remainders.
    np.testing.assert_allclose(made, expected, rtol=0, atol=5e-5 * float(jnp.abs(expected).max()))


def test_a_row_gives_the_same_among_many_as_alone(quick):
    product, x = Int8Linear(*int8_weights(70, 192)), normal(100, 192)
    together = product(x)
    for rows in (1, 2, 5, 16, 33):
        np.testing.assert_array_equal(product(x[:rows]), together[:rows])


def test_what_is_not_finite_spoils_its_own_row_among_many(quick):
    product, x = Int8Linear(*int8_weights(20, 64)), normal(50, 64)
    made = product(x.at[20, 3].set(np.nan))
    assert not np.isfinite(made[20]).any()
    np.testing.assert_array_equal(np.delete(made, 20, axis=0), np.delete(product(x), 20, axis=0))


@pytest.mark.parametrize(
    ("heads", "kv_heads", "tokens", "width", "scoring"),
    [
        (6, 2, 70, 16, Scoring()),
        (3, 3, 17, 24, Scoring(cap=3.0)),
        (4, 1, 150, 16, Scoring()),
        (2, 2, 260, 8, Scoring()),
    ],
    ids=["grouped", "capped", "one-key-head", "many-tokens"],
)
def test_attention_of_many_tokens_is_its_formula(native, heads, kv_heads, tokens, width, scoring):
    slots, starts = 600, [0, 100, 320]
    q, k, v = (normal(len(starts), n, tokens, width, seed=n) for n in (heads, kv_heads, kv_heads))
    caches = [LayerCache(*(normal(kv_heads, slots, width, seed=i) for i in (1, 2))) for _ in starts]
    mixed, written = native.cached_attention(2 * q, k, v, jnp.asarray(starts), flattened(caches), scoring)
    for row, start in enumerate(starts):
        for made, old, new in zip(written[2 * row : 2 * row + 2], caches[row], (k[row], v[row]), strict=True):
            np.testing.assert_array_equal(made, old.at[:, start : start + tokens].set(new))
        expected = dense(2 * q[row], written[2 * row], written[2 * row + 1], start, scoring)
        np.testing.assert_allclose(mixed[row], expected, rtol=0, atol=3e-5)


@pytest.fixture(scope="module")
def network(tiny):
    """With a layer that sees a few tokens alone."""
    return wide_network(tiny, LayerKind(), LayerKind(window=20))


def wide_network(tiny, *kinds):
    """Wide enough for tiles."""
    config = dataclasses.replace(tiny.config(heads=8, kv_heads=4), width=64, hidden_width=128, layer_kinds=kinds)
    decoder = build(config, pack(tiny.checkpoint(config, tiny.tensors(config)), "int8"))
    for layer in decoder.layers:  # as the kernels have all products
        layer.attention.output.fine = layer.feed.inputs.fine = True
    return config, decoder


def test_whole_layers_of_many_rows_are_what_xla_makes_of_their_parts(quick, network):
    config, decoder = network
    tokens = np.random.default_rng(0).integers(0, config.vocabulary, (2, 20))
    caches, starts = filled_caches(config, 2), [0, 40]
    assert layer_kernel(decoder.layers[0], jnp.zeros((*tokens.shape, config.width)), caches[0]) is not None
    x, written = run(decoder, tokens, starts, caches)
    with xla_alone(True):
        expected, expected_written = run(decoder, tokens, starts, caches)
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    for made, wanted in zip(written, expected_written, strict=True):
        np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-3 * np.abs(wanted).max())


def test_sequences_of_many_tokens_give_the_same_alone_and_together(quick, tiny):
    config, decoder = wide_network(tiny, LayerKind(), LayerKind())  # one with a window is XLA's beyond it
    tokens = np.random.default_rng(1).integers(0, config.vocabulary, (3, 24))
    caches = filled_caches(config, 3)
    together, _ = run(decoder, tokens, [0, 30, 40], caches)
    for row, start in enumerate((0, 30, 40)):
        alone, _ = run(decoder, tokens[row : row + 1], [start], [layer[row : row + 1] for layer in caches])
        np.testing.assert_array_equal(alone[0], together[row])
