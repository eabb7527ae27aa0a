"""Keys and values in 8 bits: near to what they were, and the same whichever way the steps are cut."""

from __future__ import annotations

import dataclasses
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.model import Sampling
from capibara.model.architecture import LayerKind
from capibara.model.cached_attention import after_step
from capibara.model.chunks import Chunk, chunks_of
from capibara.model.engine.options import EngineOptions
from capibara.model.head_groups import CacheKind, cache_bytes, head_groups
from capibara.model.head_pattern import HeadPattern, patterned
from capibara.model.language_model import JaxLanguageModel
from capibara.model.memory import estimate
from capibara.model.rounded_cache import as_floats, rounded
from capibara.model.runner import DecoderRunner
from capibara.model.sampling import choice_of
from capibara.model.weights import build, pack

GREEDY = choice_of(Sampling(), 0)
PROMPT = np.random.default_rng(5).integers(0, 256, 100).tolist()
NETWORKS = ("plain", "streaming")


@pytest.fixture(scope="module", params=NETWORKS)
def config(request, tiny):
    plain = tiny.config()
    return plain if request.param == "plain" else patterned(plain, HeadPattern(((1.0, 0.0), (0.0, 1.0)), 4, 24))


@pytest.fixture(scope="module")
def tensors(tiny, config):
    return tiny.tensors(config, seed=3)


@pytest.fixture(scope="module")
def make(tiny, config, tensors):
    def make(cache: CacheKind = "int8", compute="float32") -> DecoderRunner:
        return DecoderRunner(build(config, pack(tiny.checkpoint(config, tensors), compute)), cache=cache)

    return make


def decoded(runner, progress, token, position, steps) -> list[int]:
    made = [int(token)]
    for ahead in range(steps - 1):
        (progress,), tokens_B = runner.advance([progress], [position + ahead], [GREEDY])
        made.append(int(tokens_B[0]))
    return made


def prefilled(runner, chunks):
    progress, token = runner.begin(512), None
    for chunk in chunks:
        progress, token = runner.prefill(progress, PROMPT, chunk, GREEDY)
    return progress, token


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_number_is_off_by_at_most_half_of_its_tokens_scale(dtype):
    exact = jax.random.normal(jax.random.key(0), (2, 50, 8)).astype(dtype) * jnp.logspace(-3, 3, 50)[:, None].astype(
        dtype
    )
    found = rounded(exact)
    assert (found.whole.dtype, found.scale.dtype) == (jnp.int8, jnp.float32)
    error = np.abs(np.asarray(as_floats(found, jnp.float32)) - np.asarray(exact, np.float32))
    assert (error <= 0.501 * np.asarray(found.scale)).all()
    np.testing.assert_allclose(found.scale[..., 0] * 127, jnp.abs(exact.astype(jnp.float32)).max(axis=-1), rtol=1e-6)


def test_zeros_stay_zeros():
    assert not np.asarray(as_floats(rounded(jnp.zeros((1, 3, 4))), jnp.float32)).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_so_and_spoils_its_own_token_alone(bad):
    found = as_floats(rounded(jnp.ones((1, 3, 4)).at[0, 1, 2].set(bad)), jnp.float32)
    assert np.isfinite(found[0, ::2]).all()
    assert not np.isfinite(found[0, 1]).any()


@pytest.mark.parametrize("slots", [16, 512])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_caches_take_as_many_bytes_as_the_formula_says(make, config, slots, compute):
    held = sum(part.nbytes for part in jax.tree.leaves(make(compute=compute).begin(slots).caches))
    tokens = sum(len(group.heads) * group.slots(slots) for layer in head_groups(config) for group in layer)
    assert held == 2 * tokens * (config.head_width + 4)
    assert held == cache_bytes(config, slots, 4, "int8")
    assert slots < 512 or held == estimate(config, compute, slots, kind="int8").cache


def test_blocks_of_earlier_prompts_take_as_many_bytes_as_they_are_counted_with(make):
    for kind in get_args(CacheKind):
        runner = make(kind)
        block = runner.read_block(prefilled(runner, chunks_of(100))[0], 64, 32)
        assert sum(part.nbytes for part in jax.tree.leaves(block)) == runner.block_bytes(32)


def test_logits_are_near_to_those_over_exact_caches(tiny, config, tensors, make):
    """Each token sees those before it through the caches; a step of 20 tokens sees what a ring of 28 forgets."""
    decoder, tokens = build(config, pack(tiny.checkpoint(config, tensors), "float32")), jnp.asarray([PROMPT])
    groups = head_groups(config)

    @jax.jit
    def step(caches, start, tokens):
        x, made = decoder(tokens, start[None], [[layer] for layer in caches])
        after = [
            tuple(after_step(*each, start, jnp.asarray(20)) for each in zip(of_layer, old, new, strict=True))
            for of_layer, old, (new,) in zip(groups, caches, made, strict=True)
        ]
        return decoder.logits(x)[0], after

    found = {}
    for kind in get_args(CacheKind):
        caches, logits = make(kind).begin(512).caches, []
        for start in range(0, 100, 20):
            each, caches = step(caches, jnp.asarray(start), tokens[:, start : start + 20])
            logits.append(np.asarray(each))
        found[kind] = np.concatenate(logits)
    error = np.abs(found["int8"] - found["float"])
    assert 0 < error.max() <= 0.05 * np.abs(found["float"]).max()
    assert np.sqrt((error**2).mean()) <= 0.02 * found["float"].std()


def test_pieces_of_a_prompt_may_be_cut_anywhere(make):
    runner = make()
    one = decoded(runner, *prefilled(runner, [Chunk(0, 100, 128)]), 100, 20)
    several = [Chunk(0, 32, 32), Chunk(32, 5, 32), Chunk(37, 63, 64)]
    assert decoded(runner, *prefilled(runner, several), 100, 20) == one
    assert len(set(one)) > 3


@pytest.mark.parametrize("wrong", [0, 4, 7])
def test_drafts_are_checked_as_steps_decode(make, config, wrong):
    runner = make()
    made = decoded(runner, *prefilled(runner, chunks_of(100)), 100, 20)
    progress, _ = prefilled(runner, chunks_of(100))
    drafts = made[1:8]
    if wrong < 7:
        drafts[wrong] = (drafts[wrong] + 1) % config.vocabulary
    progress, verified = runner.verify(progress, drafts, 100, GREEDY)
    assert int(verified.accepted) == wrong
    rest = decoded(runner, progress, np.asarray(verified.tokens)[wrong], 101 + wrong, 10)
    assert rest == made[1 + wrong : 11 + wrong]


def test_batches_and_beginnings_that_were_kept_say_what_is_said_alone(tiny, config, tensors, make):
    def model(**options) -> JaxLanguageModel:
        return JaxLanguageModel(tiny.checkpoint(config, tensors), make, engine=EngineOptions(**options))

    common, sampling = "abcd" * 20, Sampling(max_tokens=24)
    prompts = [common + "one?", "x", common + "two?"]
    alone = [model(prefix_bytes=0, speculate=False).generate(prompt, sampling).text for prompt in prompts]
    together = model()
    assert [made.text for made in together.generate_batch(prompts, sampling)] == alone
    assert [together.generate(prompt, sampling).text for prompt in prompts] == alone


def test_a_beginning_is_kept_in_8_bits_and_not_run_again(tiny):
    config = dataclasses.replace(tiny.config(), layer_kinds=(LayerKind(), LayerKind(window=256)))
    checkpoint = tiny.checkpoint(config, tiny.tensors(config))
    model = JaxLanguageModel(
        checkpoint, lambda: DecoderRunner(build(config, pack(checkpoint, "float32")), cache="int8")
    )
    for ending in ("one?", "two?"):
        model.generate("passage " * 12 + ending, Sampling(max_tokens=2))
    assert model.metrics.cached_tokens == 96
