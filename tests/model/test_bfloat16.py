"""In bfloat16 a network gives what it gives in float32, but for the rounding of weights and activations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.config.schema import ModelSettings
from capibara.model import Sampling, open_model
from capibara.model.chunks import SMALLEST_CACHE, Chunk
from capibara.model.memory import estimate
from capibara.model.runner_loading import compute_for
from capibara.model.sampling import choice_of
from capibara.model.training.stacked_decoder import weight_shapes

from . import meshes
from .test_folder import write_folder

TOKENS = np.random.default_rng(2).integers(0, 256, 32).tolist()
NETWORKS = {
    "plain": meshes.random_network(meshes.EVEN),
    "odd-sized, tied": meshes.random_network(meshes.UNEVEN),
    "mixture": meshes.random_network(meshes.MIXTURE),
    "adapted": meshes.adapted(meshes.random_network(meshes.EVEN)),
}


def in_bfloat16(network: meshes.Network) -> meshes.Network:
    """As `pack` makes it: all matrices but the routers."""
    packed = {
        name: values.astype(jnp.bfloat16) if name.endswith(".weight") and "router" not in name else values
        for name, values in network.packed.items()
    }
    return meshes.Network(network.config, packed, network.factors)


def with_rounded_weights(network: meshes.Network) -> meshes.Network:
    """The weights of `in_bfloat16`, with which float32 reckons."""
    packed = {name: values.astype(np.float32) for name, values in in_bfloat16(network).packed.items()}
    return meshes.Network(network.config, packed, network.factors)


def error(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - exact) ** 2)))


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_as_near_to_float32_as_rounding_lets_them(name):
    network = NETWORKS[name]
    exact = network.over("none").score(TOKENS)
    weights_alone = error(with_rounded_weights(network).over("none").score(TOKENS), exact)
    assert 0 < error(in_bfloat16(network).over("none").score(TOKENS), exact) < 3 * weights_alone < 0.05 * exact.std()


def test_greedy_decoding_through_the_cache_chooses_what_the_whole_sequence_does():
    network = in_bfloat16(NETWORKS["plain"])
    runner, greedy = network.over("none"), choice_of(Sampling(), 0)
    progress, token = runner.prefill(runner.begin(SMALLEST_CACHE), TOKENS, Chunk(0, 32, 32), greedy)
    made = [int(token)]
    for _ in range(7):
        (progress,), tokens = runner.advance([progress], [len(TOKENS) + len(made) - 1], [greedy])
        made.append(int(tokens[0]))
    logits = network.over("none").score([*TOKENS, *made])[len(TOKENS) - 1 : -1]
    short_of_best = logits.max(axis=-1) - logits[np.arange(len(made)), made]
    assert short_of_best.max() <= 0.05 * logits.std()  # two that are as good as one another may change places
    assert len(set(made)) > 3


def test_matrices_and_caches_are_bfloat16_and_norms_routers_and_logits_float32(tiny):
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.normal(0, 0.2, size).astype(np.float32) for name, size in weight_shapes(meshes.MIXTURE).items()
    }
    runner = tiny.runner(meshes.MIXTURE, tensors, "bfloat16")
    kinds = dict(zip(runner.names, (weight.dtype for weight in runner.weights), strict=True))
    exact = {name for name, kind in kinds.items() if kind == np.float32}
    assert exact == {name for name in kinds if "router" in name or name.endswith("norm")} != set()
    assert {kind for name, kind in kinds.items() if name not in exact} == {jnp.dtype(jnp.bfloat16)}
    assert {part.dtype for part in jax.tree.leaves(runner.begin(64).caches)} == {jnp.dtype(jnp.bfloat16)}
    logits = runner.score([1, 2, 3])
    assert logits.dtype == np.float32
    assert (logits != logits.astype(jnp.bfloat16).astype(np.float32)).any()


def test_a_folder_is_opened_in_it_and_nothing_is_kept_that_is_quickly_read_anew(tiny, tmp_path):
    write_folder(tmp_path / "m", tiny)
    model = open_model(ModelSettings(path=str(tmp_path / "m"), compute="bfloat16"), cache=tmp_path / "cache")
    assert model.generate("hello", Sampling(max_tokens=10)).finish_reason == "length"
    assert not (tmp_path / "cache" / "weights").exists()


def test_weights_and_caches_take_half_the_memory(tiny):
    config = tiny.config()
    full, half = estimate(config, "float32"), estimate(config, "bfloat16")
    assert (half.weights, half.cache) == (full.weights / 2, full.cache / 2)
    tensors = tiny.tensors(config)
    blocks = [tiny.runner(config, tensors, compute).block_bytes(32) for compute in ("float32", "bfloat16")]
    assert blocks[1] == blocks[0] / 2


class Accelerator:
    platform = "gpu"


def test_it_is_what_accelerators_are_given_and_processors_8_bits(monkeypatch):
    assert compute_for(ModelSettings(device="cpu")) == "int8"
    monkeypatch.setattr(jax, "devices", lambda kind=None: [Accelerator()])
    assert compute_for(ModelSettings(device="gpu")) == "bfloat16"
    assert compute_for(ModelSettings(device="gpu", compute="float32")) == "float32"
