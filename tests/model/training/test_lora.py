"""Which matrices factors are made for, how they begin, and how joined matrices take them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.model.adapter_files import LoraFactors
from capibara.model.errors import AdapterError, AdapterMismatch
from capibara.model.linear import AdaptedLinear, Int8Linear, Linear, join_factors, quantise_rows
from capibara.model.training.lora import LoraOptions, init_factors, parameter_count, select, taken_up, to_adapter

SHAPES = {"model.layers.0.self_attn.q_proj": (24, 16), "model.layers.0.mlp.up_proj": (40, 16), "other.q_proj": (8, 16)}
KEY = jax.random.key(3)


def factors(outputs: int, inputs: int, rank: int = 3, seed: int = 0) -> LoraFactors:
    down, up = jax.random.split(jax.random.key(seed))
    return LoraFactors(jax.random.normal(down, (rank, inputs)), jax.random.normal(up, (outputs, rank)))


def test_targets_name_matrices_by_their_last_part_or_in_full():
    assert list(select(SHAPES, ["q_proj"])) == ["model.layers.0.self_attn.q_proj", "other.q_proj"]
    assert list(select(SHAPES, ["other.q_proj", "up_proj"])) == ["model.layers.0.mlp.up_proj", "other.q_proj"]


def test_a_target_that_names_nothing_is_refused_with_what_there_is():
    with pytest.raises(AdapterError, match=r"'proj' names no matrix of this model; it has q_proj, up_proj"):
        select(SHAPES, ["proj"])


@pytest.mark.parametrize(("options", "message"), [({"rank": 0}, "rank is 0"), ({"dropout": 1.0}, r"dropout is 1\.0")])
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(AdapterError, match=message):
        LoraOptions(**options)


def test_factors_begin_with_no_change_and_a_uniform_down():
    made = init_factors(SHAPES, 8, KEY)
    for name, (outputs, inputs) in SHAPES.items():
        assert made[name].down.shape == (8, inputs)
        assert made[name].up.shape == (outputs, 8)
        assert not made[name].up.any()
        assert 0.8 * inputs**-0.5 < jnp.abs(made[name].down).max() <= inputs**-0.5
    assert parameter_count(made) == 8 * (24 + 40 + 8 + 3 * 16)


def test_a_module_begins_the_same_whatever_else_is_adapted():
    alone = init_factors({"other.q_proj": (8, 16)}, 8, KEY)["other.q_proj"]
    together = init_factors(SHAPES, 8, KEY)
    np.testing.assert_array_equal(alone.down, together["other.q_proj"].down)
    assert (together["other.q_proj"].down != together["model.layers.0.mlp.up_proj"].down).any()


@pytest.mark.parametrize("missing", [(), (0,), (1,), (0, 2)])
def test_joined_factors_change_each_part_as_its_own_would(missing):
    sizes, x = [24, 8, 40], jax.random.normal(KEY, (5, 16))
    parts = [None if place in missing else factors(size, 16, seed=place) for place, size in enumerate(sizes)]
    joined = join_factors(parts, sizes, 0.5)
    assert joined is not None
    own = [
        jnp.zeros((5, size)) if part is None else 0.5 * (x @ part.down.T) @ part.up.T
        for part, size in zip(parts, sizes, strict=True)
    ]
    np.testing.assert_allclose((x @ joined.down.T) @ joined.up.T, jnp.concatenate(own, axis=1), rtol=0, atol=1e-4)


def test_parts_without_factors_join_to_nothing():
    assert join_factors([None, None], [4, 8], 2.0) is None


def test_an_adapted_product_is_the_base_and_the_change():
    weight, x, change = np.asarray(jax.random.normal(KEY, (24, 16))), jax.random.normal(KEY, (5, 16)), factors(24, 16)
    expected = x @ (weight + change.up @ change.down).T
    np.testing.assert_allclose(AdaptedLinear(Linear(weight), change)(x), expected, rtol=0, atol=1e-4)


def test_an_adapted_product_of_eight_bit_weights_keeps_the_change_exact():
    weight, x, change = np.asarray(jax.random.normal(KEY, (24, 16))), jax.random.normal(KEY, (5, 16)), factors(24, 16)
    base = Int8Linear(*quantise_rows(weight))
    expected = base(x) + (x @ change.down.T) @ change.up.T
    np.testing.assert_allclose(AdaptedLinear(base, change)(x), expected, rtol=0, atol=1e-4)


def test_dropout_leaves_the_base_alone_and_the_change_right_on_average():
    weight, x, change = np.zeros((24, 16), np.float32), jax.random.normal(KEY, (1, 16)), factors(24, 16)

    @jax.jit
    def dropped(key):
        return AdaptedLinear(Linear(weight + 1.0), change, dropout=0.25, key=key)(x)

    seen = jax.vmap(dropped)(jax.random.split(KEY, 4000))
    whole = AdaptedLinear(Linear(weight + 1.0), change)(x)
    spread = seen.std(axis=0)
    assert (spread > 0).all()
    assert (jnp.abs(seen.mean(axis=0) - whole) <= 5 * spread / 4000**0.5).all()
    kept = AdaptedLinear(Linear(weight + 1.0), LoraFactors(0 * change.down, change.up), dropout=0.25, key=KEY)(x)
    np.testing.assert_allclose(kept, jnp.broadcast_to(x.sum(), (1, 24)), rtol=0, atol=1e-5)


def test_trained_factors_become_an_adapter_with_its_options():
    made = to_adapter(init_factors(SHAPES, 4, KEY), LoraOptions(rank=4, alpha=8.0, dropout=0.1), "tiny")
    assert (made.rank, made.scale, made.dropout, made.base_name) == (4, 2.0, 0.1, "tiny")
    assert made.targets == ("q_proj", "up_proj")
    assert all(isinstance(values, np.ndarray) for pair in made.factors.values() for values in pair)


OPTIONS = LoraOptions(rank=4, alpha=8.0)


def test_an_adapter_of_the_same_plan_is_taken_up():
    there = to_adapter(init_factors(SHAPES, 4, jax.random.key(5)), OPTIONS, "tiny")
    taken = taken_up(Path("old"), there, init_factors(SHAPES, 4, KEY), OPTIONS, "gone on from")
    assert all(np.array_equal(taken[name].down, there.factors[name].down) for name in SHAPES)


def without(name):
    return {other: shape for other, shape in SHAPES.items() if other != name}


@pytest.mark.parametrize(
    ("shapes", "change", "message"),
    [
        (SHAPES, {"rank": 2}, "rank 2 and alpha 8, the plan 4 and 8: plan with those"),
        (SHAPES, {"alpha": 16.0}, "rank 4 and alpha 16, the plan 4 and 8: plan with those"),
        (SHAPES | {"more.q_proj": (8, 16)}, {}, r"it changes more\.q_proj, which the plan does not"),
        (without("other.q_proj"), {}, r"it does not change other\.q_proj, which the plan does"),
        (SHAPES | {"other.q_proj": (8, 12)}, {}, r"its factors of other\.q_proj are \(\(4, 12\), \(8, 4\)\)"),
    ],
    ids=["rank", "alpha", "more", "fewer", "shape"],
)
def test_an_adapter_of_another_plan_is_refused_with_what_differs(shapes, change, message):
    there = replace(to_adapter(init_factors(shapes, 4, KEY), OPTIONS, "tiny"), **change)
    with pytest.raises(AdapterMismatch, match=f"old cannot be gone on from: .*{message}"):
        taken_up(Path("old"), there, init_factors(SHAPES, 4, KEY), OPTIONS, "gone on from")
