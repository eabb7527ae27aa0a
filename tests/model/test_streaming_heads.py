"""Heads that keep the first and newest tokens alone give what masks over the whole text give, and take less room."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from capibara.model import Sampling
from capibara.model.architecture import LayerKind
from capibara.model.chunks import chunks_of
from capibara.model.engine.options import EngineOptions
from capibara.model.head_groups import cache_bytes
from capibara.model.head_pattern import HeadPattern, patterned
from capibara.model.memory import estimate
from capibara.model.sampling import choice_of

SINKS, WINDOW = 4, 24
GREEDY = choice_of(Sampling(), 0)
PROMPT = np.random.default_rng(5).integers(0, 256, 150).tolist()
STEPS = 40
PATTERNS = {
    "some": ((1.0, 0.0), (0.2, 0.9)),
    "all": ((0.0, 0.0), (0.0, 0.0)),
}


@pytest.fixture(scope="module")
def plain(tiny):
    return tiny.config()


@pytest.fixture(scope="module")
def tensors(tiny, plain):
    return tiny.tensors(plain, seed=3)


def with_gates(config, gates, sinks=SINKS, window=WINDOW):
    return patterned(config, HeadPattern(gates, sinks, window))


@pytest.fixture(scope="module", params=[*PATTERNS, "windows"])
def config(request, plain):
    """Some heads stream, or all of them do, or one layer sees a window."""
    if request.param == "windows":
        return dataclasses.replace(plain, layer_kinds=(LayerKind(window=WINDOW), LayerKind()))
    return with_gates(plain, PATTERNS[request.param])


def masked_logits(config, tensors, tokens) -> np.ndarray:
    """The network by its formulas in float64, all keys and values at hand, each head's masked by what it may see."""
    weights = {name: values.astype(np.float64) for name, values in tensors.items()}
    x_TD, H = weights["model.embed_tokens.weight"][tokens], config.head_width
    angles = np.arange(len(tokens))[:, None] * np.asarray(config.rope_frequencies)
    cos, sin = np.cos(angles), np.sin(angles)

    def normed(x, name):
        return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + config.norm_epsilon) * weights[f"{name}.weight"]

    def turned(x):
        first, second = x[:, : H // 2], x[:, H // 2 :]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    for layer, kind in enumerate(config.layer_kinds):
        at, mixed = f"model.layers.{layer}", []
        n_TD = normed(x_TD, f"{at}.input_layernorm")
        q, k, v = (n_TD @ weights[f"{at}.self_attn.{name}_proj.weight"].T for name in "qkv")
        for head in range(config.heads):
            key_head = head // (config.heads // config.kv_heads)
            q_TH, k_TH, v_TH = (x[:, n * H : (n + 1) * H] for x, n in ((q, head), (k, key_head), (v, key_head)))
            scores_TT = turned(q_TH) @ turned(k_TH).T / H**0.5
            weights_TT = np.exp(scores_TT) * may_see(kind, key_head, len(tokens))
            mixed.append(weights_TT / weights_TT.sum(axis=-1, keepdims=True) @ v_TH)
        x_TD = x_TD + np.concatenate(mixed, axis=-1) @ weights[f"{at}.self_attn.o_proj.weight"].T
        n_TD = normed(x_TD, f"{at}.post_attention_layernorm")
        gates, values = (n_TD @ weights[f"{at}.mlp.{name}_proj.weight"].T for name in ("gate", "up"))
        x_TD = x_TD + (gates / (1 + np.exp(-gates)) * values) @ weights[f"{at}.mlp.down_proj.weight"].T
    return normed(x_TD, "model.norm") @ weights["model.embed_tokens.weight"].T


def may_see(kind, key_head, tokens) -> np.ndarray:
    own, other = np.arange(tokens)[:, None], np.arange(tokens)[None]
    seen = other <= own
    if kind.streaming is not None and key_head in kind.streaming.heads:
        seen &= (other < kind.streaming.sinks) | (other > own - kind.streaming.window)
    if kind.window is not None:
        seen &= other > own - kind.window
    return seen


def prefilled(runner, tokens):
    progress, token = runner.begin(512), 0
    for chunk in chunks_of(len(tokens)):
        progress, token = runner.prefill(progress, tokens, chunk, GREEDY)
    return progress, int(token)


def decoded(runner, progress, token, position, steps) -> list[int]:
    made = [token]
    for ahead in range(steps - 1):
        (progress,), tokens_B = runner.advance([progress], [position + ahead], [GREEDY])
        made.append(int(tokens_B[0]))
    return made


def test_logits_are_those_of_masks_over_the_whole_text(tiny, config, tensors):
    found = tiny.runner(config, tensors).score(PROMPT)
    np.testing.assert_allclose(found, masked_logits(config, tensors, PROMPT), rtol=0, atol=1e-4)


def test_masks_change_what_tokens_get_once_they_hide_something(tiny, plain, config, tensors):
    """What the test above relies on."""
    difference = np.abs(masked_logits(config, tensors, PROMPT) - masked_logits(plain, tensors, PROMPT)).max(axis=-1)
    assert difference[:WINDOW].max() == 0
    assert difference[SINKS + WINDOW :].min() > 1e-3


@pytest.mark.parametrize("length", [3, SINKS + WINDOW, 150], ids=["shorter-than-the-sinks", "as-long", "longer"])
def test_answers_through_the_caches_are_those_of_masks_over_the_whole_text(tiny, config, tensors, length):
    runner, prompt = tiny.runner(config, tensors), PROMPT[:length]
    made = decoded(runner, *prefilled(runner, prompt), length, STEPS)
    logits = masked_logits(config, tensors, prompt + made)[length - 1 : -1]
    assert made == logits.argmax(axis=-1).tolist()
    assert len(set(made)) > 3


def test_heads_that_all_retrieve_give_full_attention_to_the_bit(tiny, plain, tensors):
    runner, full = (tiny.runner(each, tensors) for each in (with_gates(plain, ((1.0, 1.0),) * 2), plain))
    np.testing.assert_array_equal(runner.score(PROMPT), full.score(PROMPT))
    assert decoded(runner, *prefilled(runner, PROMPT), 150, 5) == decoded(full, *prefilled(full, PROMPT), 150, 5)
    caches, of_full = (jax.tree.leaves(prefilled(each, PROMPT)[0].caches) for each in (runner, full))
    for ours, theirs in zip(caches, of_full, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_window_that_shows_everything_changes_nothing(tiny, plain, tensors):
    config = with_gates(plain, PATTERNS["some"], window=512)
    runner, full = tiny.runner(config, tensors), tiny.runner(plain, tensors)
    assert decoded(runner, *prefilled(runner, PROMPT), 150, 8) == decoded(full, *prefilled(full, PROMPT), 150, 8)


@pytest.mark.parametrize("slots", [16, 512, 2048])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_caches_take_as_many_bytes_as_the_formula_says(tiny, config, tensors, slots, compute):
    held = sum(part.nbytes for part in jax.tree.leaves(tiny.runner(config, tensors, compute).begin(slots).caches))
    size = 4 if compute == "float32" else 2
    assert held == cache_bytes(config, slots, size)
    assert slots < 512 or held == estimate(config, compute, slots).cache  # there are no smaller ones in use


def test_the_formula_counts_whole_texts_for_some_heads_and_sinks_and_windows_for_others(plain):
    config = with_gates(plain, PATTERNS["some"])
    assert cache_bytes(config, 1024, 2) == 2 * 8 * 2 * (1024 + 28 + 28 + 1024)


@pytest.mark.parametrize("wrong", [0, 3, 7])
def test_rejected_drafts_push_nothing_out(tiny, config, tensors, wrong):
    runner = tiny.runner(config, tensors)
    made = decoded(runner, *prefilled(runner, PROMPT), 150, 40)
    progress, token = prefilled(runner, PROMPT)
    position, again = 150, [token]
    while len(again) < 30:
        drafts = made[len(again) : len(again) + 7]
        if wrong < 7:
            drafts[wrong] = (drafts[wrong] + 1) % config.vocabulary
        progress, verified = runner.verify(progress, drafts, position, GREEDY)
        accepted = int(verified.accepted)
        assert accepted == wrong
        again += np.asarray(verified.tokens)[: accepted + 1].tolist()
        position += accepted + 1
    assert again == made[: len(again)]


class TestEngine:
    """The techniques of the engine, each of which meets caches that forget."""

    @pytest.fixture
    def make(self, tiny, config, tensors):
        return lambda **options: tiny.model(config, tensors, engine=EngineOptions(**options))

    @pytest.fixture
    def alone(self, make):
        def text(prompt, most=40):
            return make(prefix_bytes=0, speculate=False).generate(prompt, Sampling(max_tokens=most)).text

        return text

    def test_a_batch_says_what_each_prompt_says_alone(self, make, alone):
        prompts = ["abc " * 60, "one", "x" * 130]
        made = make().generate_batch(prompts, Sampling(max_tokens=40))
        assert [each.text for each in made] == [alone(prompt) for prompt in prompts]

    def test_a_prompt_that_begins_like_an_earlier_one_says_what_it_says_alone(self, make, alone):
        model, common = make(), "passage " * 40
        for ending in ("one?", "two?", "two? And"):
            assert model.generate(common + ending, Sampling(max_tokens=40)).text == alone(common + ending)


def test_blocks_that_are_still_whole_are_not_run_again(tiny, plain, tensors):
    config = with_gates(plain, PATTERNS["some"], window=256)
    model = tiny.model(config, tensors)
    common = "passage " * 80
    texts = [model.generate(common + ending, Sampling(max_tokens=24)).text for ending in ("one?", "two?")]
    assert model.metrics.cached_tokens == 640
    fresh = tiny.model(config, tensors, engine=EngineOptions(prefix_bytes=0))
    assert texts[1] == fresh.generate(common + "two?", Sampling(max_tokens=24)).text


@pytest.mark.parametrize(
    ("start", "size", "tokens", "held"),
    [(0, 4, 100, True), (0, 5, 28, True), (0, 5, 29, False), (32, 8, 56, True), (32, 8, 57, False)],
)
def test_a_block_is_held_until_a_token_behind_the_sinks_has_left_the_window(
    plain, start, size, tokens, held, tiny, tensors
):
    runner = tiny.runner(with_gates(plain, PATTERNS["some"]), tensors)
    assert runner.holds(start, size, tokens) == held
