"""What adapters cost: steps that are compiled for them, weights in memory and in the cache folder, and its estimate."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from capibara.model import AdapterSource, Sampling
from capibara.model.memory import estimate

from .adapter_workshop import ATTENTION, MODES, PROMPT, TWELVE, Workshop, random_adapter


@pytest.fixture
def workshop(tiny, tmp_path) -> Workshop:
    return Workshop(tiny, tmp_path)


def test_a_merged_network_runs_on_the_steps_compiled_for_the_plain_one(tiny, workshop):
    config = tiny.config(context=1907)  # networks of one structure share their steps; no other is like this
    folder = workshop.written("a", random_adapter(config))
    model = workshop.model(config, {"a": AdapterSource(folder, "merged")})
    model.warm_up()
    model.generate(PROMPT, TWELVE)
    before = model.runner.compiled_steps()
    model.generate(PROMPT, TWELVE, adapter="a")
    assert model.runner_with("a").compiled_steps() == before == 4


def test_low_rank_networks_share_their_steps_where_rank_and_targets_are_the_same(tiny, workshop):
    config = tiny.config()
    made = {  # no other test has these ranks
        "one": random_adapter(config, seed=1, rank=3),
        "alike": random_adapter(config, seed=2, rank=3),
        "wider": random_adapter(config, seed=3, rank=5),
    }
    sources = {name: AdapterSource(workshop.written(name, adapter), "low-rank") for name, adapter in made.items()}
    model, first_token = workshop.model(config, sources), Sampling(max_tokens=1)
    for name in sources:
        model.generate(PROMPT, first_token, adapter=name)
    model.generate("of another chunk", first_token, adapter="alike")
    steps = {name: model.runner_with(name).compiled_steps() for name in sources}
    assert steps == {"one": 2, "alike": 2, "wider": 1}


def places(runner) -> set[int]:
    return {leaf.unsafe_buffer_pointer() for leaf in runner.weights}


def test_weights_that_an_adapter_leaves_as_they_are_lie_in_memory_once(tiny, workshop):
    config = tiny.config()
    attention = workshop.written("attention", random_adapter(config, ATTENTION))
    every = workshop.written("every", random_adapter(config))
    networks = workshop.networks(config)
    plain = places(networks.plain())
    merged = places(networks.adapted(AdapterSource(attention, "merged")))
    # Two layers, in each two matrices of the attention.
    assert len(merged) == len(plain)
    assert len(merged - plain) == 4
    low_rank = places(networks.adapted(AdapterSource(every, "low-rank")))
    assert plain < low_rank
    assert len(low_rank - plain) == 2 * 4 * 2


def test_weights_with_adapters_go_with_their_model_and_wait_for_no_collection_of_garbage(tiny, workshop):
    config = tiny.config()
    folder = workshop.written("a", random_adapter(config))
    model = workshop.model(config, {mode: AdapterSource(folder, mode) for mode in MODES})
    weights = [weakref.ref(weight) for mode in MODES for weight in model.runner_with(mode).weights]
    gc.collect()
    gc.disable()
    try:
        del model
        assert not any(weight() is not None for weight in weights)
    finally:
        gc.enable()


def test_quantised_weights_of_a_merged_adapter_are_kept_beside_those_of_its_base(tiny, workshop):
    config = tiny.config()
    source = AdapterSource(workshop.written("a", random_adapter(config, ("q_proj",))), "merged")
    tokens = list(range(40))
    made = workshop.networks(config, compute="int8").adapted(source).score(tokens)
    base, adapted = sorted((workshop.folder / "cache" / "weights").iterdir(), key=lambda file: -file.stat().st_size)
    assert adapted.stat().st_size < base.stat().st_size / 4
    kept = workshop.networks(config, tensors={}, compute="int8").adapted(source).score(tokens)
    np.testing.assert_array_equal(kept, made)
    workshop.written("a", random_adapter(config, ("q_proj",), seed=9))
    other = workshop.networks(config, compute="int8").adapted(source).score(tokens)
    assert np.abs(other - made).max() > 0.1


def test_what_the_replaced_model_ran_with_an_adapter_is_made_ready(tiny, workshop):
    config = tiny.config()
    old_folder = workshop.written("old", random_adapter(config))
    new_folder = workshop.written("new", random_adapter(config, rank=2))  # no other test has this rank
    old = workshop.model(config, {"a": AdapterSource(old_folder, "low-rank")})
    old.generate("x" * 200, TWELVE, adapter="a")
    new = workshop.model(config, {"a": AdapterSource(new_folder, "low-rank")})
    new.warm_up(old, adapters=["a"])
    compiled = new.runner_with("a").compiled_steps()
    new.generate("y" * 200, TWELVE, adapter="a")
    assert new.runner_with("a").compiled_steps() == compiled


@pytest.mark.parametrize("compute", ["float32", "int8"])
def test_the_memory_estimate_counts_what_adapters_add(tiny, compute):
    config = tiny.config()
    every, few = random_adapter(config), random_adapter(config, ("k_proj",))
    plain = estimate(config, compute)
    embedding = config.vocabulary * (config.width * 4 if compute == "float32" else config.width + 4)
    assert estimate(config, compute, adapters=[(every, "merged")]).adapters == plain.weights - embedding
    of_few = estimate(config, compute, adapters=[(few, "merged")])
    assert 0 < of_few.adapters < plain.weights - embedding
    assert of_few.peak - plain.peak == of_few.adapters
    # Two layers; rank 4; queries, keys and values together have 64 outputs and 32 inputs.
    assert estimate(config, compute, adapters=[(few, "low-rank")]).adapters == 2 * 4 * 4 * (64 + 32)
    kinds = [(every, "merged"), (few, "low-rank"), (few, "low-rank"), (every, "low-rank")]
    assert estimate(config, compute, adapters=kinds).programs == 3
