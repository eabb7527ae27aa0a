"""The choice of a token, against transformers' own filters and against what the settings promise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.model import NumericalError, Sampling
from capibara.model.chunks import chunks_of
from capibara.model.sampling import choice_of
from capibara.model.sampling import choose as choose_eagerly
from capibara.model.sampling import filtered as filtered_eagerly

choose, filtered = jax.jit(choose_eagerly), jax.jit(filtered_eagerly)
LOGITS = np.random.default_rng(0).normal(0, 3, (4, 500)).astype(np.float32)


def reference(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    import torch
    from transformers.generation.logits_process import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    scores = TemperatureLogitsWarper(sampling.temperature)(None, torch.from_numpy(logits.copy()))
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(None, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(None, scores)
    if sampling.min_p:
        scores = MinPLogitsWarper(sampling.min_p)(None, scores)
    return scores.numpy()


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"temperature": 0.5},
        {"top_k": 1},
        {"top_k": 40},
        {"top_k": 9999},
        {"top_p": 0.1},
        {"top_p": 0.9},
        {"min_p": 0.05},
        {"min_p": 1.0},
        {"temperature": 1.7, "top_k": 50, "top_p": 0.8, "min_p": 0.02},
    ],
    ids=str,
)
def test_filters_keep_the_tokens_the_reference_keeps(chosen):
    sampling = Sampling(**{"temperature": 1.0, **chosen})
    ours = np.asarray(filtered(jnp.asarray(LOGITS), choice_of(sampling, 0)))
    theirs = reference(LOGITS, sampling)
    np.testing.assert_allclose(ours, theirs - theirs.max(axis=1, keepdims=True), rtol=1e-5, atol=1e-5)


def test_a_temperature_next_to_nothing_draws_what_greedy_takes():
    almost = choice_of(Sampling(temperature=1e-45, seed=1), 0)
    tokens = choose(jnp.asarray(LOGITS * 1e3), jnp.zeros(LOGITS.shape, bool), almost, jnp.int32(0))
    np.testing.assert_array_equal(tokens, LOGITS.argmax(axis=1))


def test_tokens_are_drawn_as_often_as_they_are_likely():
    odds = np.array([0.5, 0.3, 0.15, 0.05], np.float32)
    logits, seen = jnp.log(odds)[None], jnp.zeros((1, 4), bool)
    choice = choice_of(Sampling(temperature=1.0, seed=7), 0)
    drawn = [int(choose(logits, seen, choice, jnp.int32(position))[0]) for position in range(400)]
    assert np.bincount(drawn, minlength=4) / 400 == pytest.approx(odds, abs=0.08)


def test_the_repetition_penalty_is_the_references():
    import torch
    from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

    seen_tokens = [3, 5, 400]
    seen = jnp.zeros((1, 500), bool).at[0, jnp.array(seen_tokens)].set(True)
    for penalty in (0.5, 1.0, 1.3, 4.0):
        expected = RepetitionPenaltyLogitsProcessor(penalty)(
            torch.tensor([seen_tokens]), torch.from_numpy(LOGITS[:1].copy())
        )
        chosen = choose(jnp.asarray(LOGITS[:1]), seen, choice_of(Sampling(repetition_penalty=penalty), 0), jnp.int32(0))
        assert int(chosen[0]) == int(expected.argmax())


def test_a_strong_penalty_keeps_a_generation_from_repeating_tokens(tiny):
    config = tiny.config()
    runner, prompt = tiny.runner(config, tiny.tensors(config)), [7, 8, 9, 7, 8, 9]
    choice = choice_of(Sampling(repetition_penalty=1000.0), 0)
    progress, token = runner.prefill(runner.begin(512), prompt, chunks_of(len(prompt))[0], choice)
    made = [int(token)]
    for position in range(len(prompt), len(prompt) + 40):
        (progress,), tokens_B = runner.advance([progress], [position], [choice])
        made.append(int(tokens_B[0]))
    assert len({7, 8, 9, *made}) == 3 + len(made)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_never_chosen_from(bad):
    logits = LOGITS[:1].copy()
    logits[0, 17] = bad
    for temperature in (0.0, 1.0):
        chosen = choose(
            jnp.asarray(logits),
            jnp.zeros((1, 500), bool),
            choice_of(Sampling(temperature=temperature), 0),
            jnp.int32(0),
        )
        assert int(chosen[0]) == -1


def test_weights_that_are_not_finite_are_an_error_and_not_a_text(tiny):
    config = tiny.config()
    tensors = tiny.tensors(config)
    tensors["model.norm.weight"][3] = np.nan
    with pytest.raises(NumericalError, match="not finite"):
        tiny.model(config, tensors).generate("hello", Sampling())


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"max_tokens": 10.0},
        {"top_k": 2.5},
        {"seed": "7"},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 2.0},
        {"repetition_penalty": 0.0},
        {"seed": -1},
        {"stop": ("",)},
    ],
    ids=str,
)
def test_a_value_out_of_range_is_named(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Sampling(**wrong)
