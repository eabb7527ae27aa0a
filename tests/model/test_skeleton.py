"""Networks put together from weights alone are those that building gives."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from capibara.config.schema import ModelSettings
from capibara.model import skeleton
from capibara.model.chunks import SMALLEST_CACHE
from capibara.model.compiled_steps import StepShape
from capibara.model.runner import DecoderRunner
from capibara.model.sharding import placement_for
from capibara.model.skeleton import assembled, split
from capibara.model.weights import build, pack

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.mark.parametrize("compute", ["float32", "int8"])
@pytest.mark.parametrize("tied", [True, False])
def test_it_is_what_building_and_splitting_gives_with_every_weight_in_its_place(tiny, tied, compute):
    config = tiny.config(tied=tied)
    packed = pack(tiny.checkpoint(config, tiny.tensors(config)), compute)
    built, put_together = split(build(config, packed)), assembled(config, packed)
    assert put_together[:3] == built[:3]
    for ours, theirs in zip(put_together.weights, built.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert all(any(weight is own for own in packed.values()) for weight in put_together.weights)


def test_it_runs_with_the_steps_that_were_compiled_for_a_built_one(tiny):
    config = tiny.config()
    packed = pack(tiny.checkpoint(config, tiny.tensors(config)), "float32")
    built, put_together = DecoderRunner(build(config, packed)), DecoderRunner(assembled(config, packed))
    built.make_ready([StepShape(1, SMALLEST_CACHE)])
    assert put_together.shapes == built.shapes != frozenset()
    np.testing.assert_array_equal(put_together.score(TOKENS), built.score(TOKENS))


def test_a_second_network_of_a_shape_is_not_built(tiny, monkeypatch):
    config = tiny.config()
    first, second = (pack(tiny.checkpoint(config, tiny.tensors(config, seed=seed)), "int8") for seed in (1, 2))
    assembled(config, first)
    monkeypatch.setattr(skeleton, "build", None)
    assert any(weight is second["embedding.weight"] for weight in assembled(config, second).weights)


def test_a_network_of_more_than_ten_layers_that_is_placed_keeps_every_weight_where_it_belongs(tiny):
    """By their names as text, the tenth layer comes before the second."""
    config = dataclasses.replace(tiny.config(), layers=12, layer_kinds=())
    packed = pack(tiny.checkpoint(config, tiny.tensors(config)), "float32")
    free = DecoderRunner(build(config, packed))
    placed = DecoderRunner(assembled(config, packed), placement_for(ModelSettings()))
    np.testing.assert_allclose(placed.score(TOKENS), free.score(TOKENS), atol=1e-5)
