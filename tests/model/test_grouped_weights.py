"""Weights in 8 or 4 bits, rounded in groups: how far off they are, what they give, and what they take."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.config.schema import ModelSettings
from capibara.model import Sampling, open_model
from capibara.model.ggml_types import tensor_type
from capibara.model.grouped_weights import GROUP, Bits, GroupedLinear, GroupedWeight, grouped_bytes, quantise_groups
from capibara.model.memory import estimate
from capibara.model.weight_cache import packed_weights
from capibara.model.weights import pack

from . import meshes
from .engine.generating import PLAIN
from .test_folder import write_folder

SHAPES = [(1, 1), (3, 31), (5, 32), (2, 33), (4, 100)]
"""Outputs and inputs: less than a group, whole groups, and some more."""
KINDS = ["int8-weights", "int4-weights"]
TOKENS = np.random.default_rng(2).integers(0, 256, 32).tolist()
NETWORKS = {
    "plain": meshes.random_network(meshes.EVEN),
    "odd-sized, tied": meshes.random_network(meshes.UNEVEN),
    "mixture": meshes.random_network(meshes.MIXTURE),
    "adapted": meshes.adapted(meshes.random_network(meshes.EVEN)),
}


def random_weight(outputs: int, inputs: int, scale: float = 0.05) -> np.ndarray:
    return np.random.default_rng(outputs * inputs).normal(0.01, scale, (outputs, inputs)).astype(np.float32)


def values_of(weight: GroupedWeight, inputs: int) -> np.ndarray:
    return np.asarray(GroupedLinear(*weight).rows(jnp.arange(len(weight.weight))))[:, :inputs]


def most_off(weight_NK: np.ndarray, bits: Bits) -> np.ndarray:
    """Of each weight, by its group: half a step, and the rounding of scale and least value to 11 bits."""
    off = np.empty_like(weight_NK)
    for start in range(0, weight_NK.shape[1], GROUP):
        group = weight_NK[:, start : start + GROUP]
        least, largest = group.min(axis=1, keepdims=True), group.max(axis=1, keepdims=True)
        magnitude = np.maximum(np.abs(least), np.abs(largest))
        step = magnitude / 127 if bits == 8 else (largest - least) / 15
        off[:, start : start + GROUP] = 0.51 * step + 2**-10 * magnitude + 2**-24
    return off


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
def test_a_weight_is_no_further_off_than_half_a_step_and_its_groups_numbers(outputs, inputs, bits):
    weight = random_weight(outputs, inputs)
    off = np.abs(values_of(quantise_groups(weight, bits), inputs) - weight)
    assert (off <= most_off(weight, bits)).all()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
@pytest.mark.parametrize("rows", [1, 20])
def test_a_product_is_that_of_the_weight_but_for_its_rounding(rows, outputs, inputs, bits):
    weight = random_weight(outputs, inputs)
    x = np.random.default_rng(1).normal(size=(rows, inputs)).astype(np.float32)
    made = GroupedLinear(*quantise_groups(weight, bits))(jnp.asarray(x))
    assert made.shape == (rows, outputs)
    assert (np.abs(np.asarray(made) - x @ weight.T) <= np.abs(x) @ most_off(weight, bits).T + 1e-5).all()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_a_weight_that_is_the_same_everywhere_is_kept(bits, value):
    weight = np.full((2, 40), value, np.float32)
    np.testing.assert_allclose(values_of(quantise_groups(weight, bits), 40), weight, rtol=1e-3)


def test_activations_in_bfloat16_stay_so():
    product = GroupedLinear(*quantise_groups(random_weight(4, 40), 4))
    assert product(jnp.ones((2, 40), jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize(("name", "number", "bits"), [("Q8_0", 8, 8), ("Q4_1", 3, 4)])
def test_what_a_gguf_file_has_in_such_groups_is_not_rounded_again_where_they_reach_the_outermost_steps(
    name, number, bits
):
    rng, stored = np.random.default_rng(4), tensor_type(number, "x")
    assert stored.name == name
    blocks = rng.integers(0, 256, (6, stored.block_bytes), np.uint8)
    blocks[blocks == 0x80] = 0x81  # -128 is none of llama.cpp's steps
    numbers = stored.block_bytes - GROUP * bits // 8
    blocks[:, :numbers] = np.abs(rng.normal(0, 0.01, (6, numbers // 2))).astype(np.float16).view(np.uint8)
    # As llama.cpp rounds a group: its outermost weights take the outermost steps.
    blocks[:, numbers] = 127 if bits == 8 else 0xF0
    weight = stored.dequantise(blocks.reshape(-1), (2, 96))
    np.testing.assert_array_equal(values_of(quantise_groups(weight, bits), 96), weight)


@pytest.mark.parametrize(("number", "bits", "least", "most"), [(8, 8, -96, 96), (3, 4, 2, 13)])
def test_what_a_gguf_file_has_in_groups_that_do_not_reach_them_is_rounded_again_by_half_a_step(
    number, bits, least, most
):
    rng, stored = np.random.default_rng(4), tensor_type(number, "x")
    steps = rng.integers(least, most + 1, (6, GROUP))
    steps[:, :2] = least, most
    packed = (
        steps.astype(np.int8).view(np.uint8) if bits == 8 else (steps[:, :16] | steps[:, 16:] << 4).astype(np.uint8)
    )
    numbers = np.full((6, 1 if bits == 8 else 2), 0.01, np.float16).view(np.uint8)
    weight = stored.dequantise(np.concatenate([numbers, packed], axis=1).reshape(-1), (2, 96))
    off = np.abs(values_of(quantise_groups(weight, bits), 96) - weight).max()
    assert 0 < off <= 0.51 * 0.01


def with_rounded_weights(network: meshes.Network, bits: Bits) -> meshes.Network:
    """The weights that a network in groups has, in float32."""
    packed = dict(network.packed)
    for matrix in meshes.matrices(network.config):
        if not matrix.exact:
            weight = quantise_groups(packed[f"{matrix.name}.weight"], bits)
            packed[f"{matrix.name}.weight"] = values_of(weight, matrix.columns)
    return meshes.Network(network.config, packed, network.factors)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_in_groups_is_that_of_its_rounded_weights(name, bits):
    network = NETWORKS[name]
    made = meshes.in_groups(network, bits).over("none").score(TOKENS)
    expected = with_rounded_weights(network, bits).over("none").score(TOKENS)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("compute", "most"), [("int8-weights", 0.03), ("int4-weights", 0.4)])
def test_logits_stay_close_to_float32(tiny, compute, most):
    config = tiny.config()
    tensors = tiny.tensors(config)
    exact, rounded = (tiny.runner(config, tensors, kind).score(TOKENS) for kind in ("float32", compute))
    error = np.sqrt(np.mean((exact - rounded) ** 2)) / exact.std()
    assert 0 < error <= most


@pytest.mark.parametrize("compute", KINDS)
def test_weights_take_what_is_estimated(tiny, compute):
    config = tiny.config(tied=False)
    packed = pack(tiny.checkpoint(config, tiny.tensors(config)), compute)
    assert sum(part.nbytes for part in packed.values() if part.ndim > 1) == estimate(config, compute).weights


@pytest.mark.parametrize(("bits", "taken"), [(8, 34), (4, 20)])
def test_a_group_takes_the_bytes_of_its_steps_and_numbers(bits, taken):
    assert grouped_bytes(3, 64, bits) == 3 * 2 * taken
    assert grouped_bytes(3, 65, bits) == 3 * 3 * taken
    assert grouped_bytes(10, 60, bits) == sum(
        part.nbytes for part in quantise_groups(random_weight(10, 60), bits) if part is not None
    )


def test_in_4_bits_embedding_and_head_keep_8(tiny):
    config = tiny.config(tied=False)
    packed = pack(tiny.checkpoint(config, tiny.tensors(config)), "int4-weights")
    kinds = {name: packed[f"{name}.weight"].dtype for name in ("embedding", "head", "layers.0.feed.inputs")}
    assert kinds == {"embedding": np.int8, "head": np.int8, "layers.0.feed.inputs": np.uint8}


@pytest.mark.parametrize("compute", KINDS)
def test_a_folder_is_opened_in_groups_and_answers_the_same_from_what_was_kept(tmp_path, tiny, compute):
    config, tensors = write_folder(tmp_path / "folder", tiny)
    settings, ten = ModelSettings(path=str(tmp_path / "folder"), compute=compute), Sampling(max_tokens=10)
    first, again = (open_model(settings, cache=tmp_path / "cache").generate("hello", ten).text for _ in range(2))
    assert len(list((tmp_path / "cache" / "weights").iterdir())) == 1
    assert first == again != ""
    kept = packed_weights(tiny.checkpoint(config, tensors), compute, tmp_path / "other")
    again_kept = packed_weights(tiny.checkpoint(config, {}), compute, tmp_path / "other")
    assert {name: (part.dtype, part.shape) for name, part in kept.items()} == {
        name: (part.dtype, part.shape) for name, part in again_kept.items()
    }
    assert all(np.array_equal(part, again_kept[name]) for name, part in kept.items())


@pytest.mark.parametrize("compute", KINDS)
def test_the_engine_answers_what_the_rounded_weights_answer(tiny, compute):
    config = tiny.config()
    tensors = tiny.tensors(config)
    text = tiny.model(config, tensors, compute, engine=PLAIN).generate("the river", Sampling(max_tokens=16)).text
    for name, weight in tensors.items():
        if weight.ndim == 2:
            bits = 8 if compute == "int8-weights" or "embed" in name else 4
            tensors[name] = values_of(quantise_groups(weight, bits), weight.shape[1])
    assert text == tiny.model(config, tensors, engine=PLAIN).generate("the river", Sampling(max_tokens=16)).text


def test_products_in_groups_can_be_mapped():
    product, x = GroupedLinear(*quantise_groups(random_weight(8, 40), 4)), jnp.ones((3, 2, 40))
    np.testing.assert_allclose(jax.vmap(product)(x), jnp.stack([product(each) for each in x]), rtol=1e-6)
