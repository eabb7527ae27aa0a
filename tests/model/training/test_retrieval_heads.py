"""Gates mix full and streaming attention, and training them on pass keys finds the head that fetches these."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.model.architecture import ExpertsConfig, LayerKind
from capibara.model.errors import UnsupportedCheckpoint
from capibara.model.head_gates import HeadGates
from capibara.model.head_pattern import HeadPattern, patterned
from capibara.model.training.errors import BadBatches, InvalidOption, TrainingDiverged
from capibara.model.training.passkeys import PasskeyTexts, passkey_texts
from capibara.model.training.retrieval_heads import GateOptions, find_retrieval_heads
from capibara.model.training.stacked_decoder import Run, hidden_states, stack_weights

EXACT = Run(compute=jnp.float32)
SINKS, WINDOW, TOKENS = 2, 12, 160
H, D = 16, 32
EARLIER = slice(24, 32)
"""Where the first layer leaves what the token before was; embeddings are zero there."""


class Words:
    """One token for each word."""

    def __init__(self):
        self._known = {}

    def __call__(self, text):
        return [self._known.setdefault(word, len(self._known)) for word in text.replace(".", " .").split()]


@pytest.fixture(scope="module")
def texts():
    return passkey_texts(Words(), 4, TOKENS, keys=2, words=6, seed=1)


class TestPasskeyTexts:
    def test_texts_are_as_long_as_asked_for_and_differ(self, texts):
        assert texts.tokens.shape == texts.recalled.shape == (4, TOKENS)
        assert len({tuple(row) for row in texts.tokens.tolist()}) == 4

    def test_one_seed_gives_the_same_texts(self, texts):
        again = passkey_texts(Words(), 4, TOKENS, keys=2, words=6, seed=1)
        np.testing.assert_array_equal(again.tokens, texts.tokens)

    def test_what_is_marked_comes_before_a_token_of_a_key_that_stands_earlier_in_the_text(self, texts):
        for tokens, recalled in zip(texts.tokens.tolist(), texts.recalled, strict=True):
            assert recalled.sum() == 2 * 6
            for place in np.flatnonzero(recalled):
                assert tokens[place + 1] in tokens[: place - 6]

    def test_texts_too_short_for_their_keys_are_refused(self):
        with pytest.raises(InvalidOption, match="take more than 40 tokens"):
            passkey_texts(Words(), 1, 40, keys=2, words=6)


def gated(config, tensors, tokens, shares, sinks=SINKS, window=WINDOW):
    weights = stack_weights(config, tensors, jnp.float32)
    gates = None if shares is None else HeadGates(jnp.asarray(shares), sinks, window)
    return np.asarray(jax.jit(lambda: hidden_states(config, weights, {}, tokens, run=EXACT, gates=gates))())


def test_gates_of_one_are_full_attention_to_the_bit_and_of_zero_streaming_attention(tiny, texts):
    config = tiny.config()
    tensors, tokens = tiny.tensors(config), texts.tokens[:2]
    np.testing.assert_array_equal(gated(config, tensors, tokens, np.ones((2, 2))), gated(config, tensors, tokens, None))
    some = np.array([[0.0, 1.0], [0.0, 0.0]])
    streaming = patterned(config, HeadPattern(tuple(map(tuple, some.tolist())), SINKS, WINDOW))
    expected = gated(streaming, tensors, tokens, None)
    np.testing.assert_allclose(gated(config, tensors, tokens, some), expected, rtol=0, atol=1e-5)
    assert np.abs(expected - gated(config, tensors, tokens, None)).max() > 1e-2


def test_gates_do_nothing_in_layers_with_a_window(tiny, texts):
    config = dataclasses.replace(tiny.config(), layer_kinds=(LayerKind(window=30), LayerKind()))
    tensors, tokens = tiny.tensors(config), texts.tokens[:2]
    closed = gated(config, tensors, tokens, np.array([[0.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_array_equal(closed, gated(config, tensors, tokens, None))


def planted(tiny):
    """A network with an induction head: in layer 0, key head 0 notes what the token before was; in layer 1, key head 1
    looks, however far back, for where the same token stood before, and fetches the one after it. All other heads look
    at their neighbours, by position alone."""
    config = dataclasses.replace(
        tiny.config(heads=2, kv_heads=2), head_width=H, attention_bias=True, rope_frequencies=(1.0, 0.3, 0.1, 0.03)
    )
    rng = np.random.default_rng(0)
    tensors = {name: values.copy() for name, values in tiny.tensors(config).items()}
    for layer in range(2):
        for name, size in (("q", 2 * H), ("k", 2 * H), ("v", 2 * H)):
            tensors[f"model.layers.{layer}.self_attn.{name}_proj.bias"] = np.zeros(size, np.float32)
    for name in tensors:
        if "norm" in name:
            tensors[name][:] = 1.0
        elif "layers" in name:
            tensors[name] *= 0.1 if "mlp" in name else 0.0
    tensors["model.embed_tokens.weight"] = rng.normal(size=(config.vocabulary, D)).astype(np.float32)
    tensors["model.embed_tokens.weight"][:, EARLIER] = 0.0
    for layer, head, back in ((0, 0, 1), (0, 1, 0), (1, 0, 2)):
        angles = back * np.asarray(config.rope_frequencies)
        at = f"model.layers.{layer}.self_attn"
        rows = slice(head * H, head * H + 4), slice(head * H + 4, head * H + 8)
        tensors[f"{at}.q_proj.bias"][rows[0]], tensors[f"{at}.q_proj.bias"][rows[1]] = (
            8 * np.cos(angles),
            -8 * np.sin(angles),
        )
        tensors[f"{at}.k_proj.bias"][rows[0]] = 8.0
        tensors[f"{at}.v_proj.weight"][head * H : head * H + H] = 0.2 * rng.normal(size=(H, D))
        tensors[f"{at}.o_proj.weight"][:24, head * H : head * H + H] = 0.05 * rng.normal(size=(24, H))
    what = rng.normal(size=(8, D)).astype(np.float32) / 24**0.5
    what[:, EARLIER] = 0.0
    first, second = (f"model.layers.{layer}.self_attn" for layer in range(2))
    tensors[f"{first}.v_proj.weight"][:8] = what
    tensors[f"{first}.o_proj.weight"][EARLIER, :8] = 2 * np.eye(8)
    tensors[f"{second}.q_proj.weight"][H + 8 : 2 * H] = 12 * what
    tensors[f"{second}.k_proj.weight"][H + 8 : 2 * H, EARLIER] = np.eye(8)
    tensors[f"{second}.v_proj.weight"][H : 2 * H] = 0.3 * rng.normal(size=(H, D))
    tensors[f"{second}.o_proj.weight"][:24, H : 2 * H] = 0.3 * rng.normal(size=(24, H))
    return tiny.checkpoint(config, tensors)


def test_a_planted_retrieval_head_is_found_and_the_others_stream(tiny, texts):
    losses = []
    options = GateOptions(SINKS, WINDOW, learning_rate=0.1)
    found = find_retrieval_heads(
        planted(tiny), [texts] * 30, options, EXACT, lambda step, loss: losses.append((step, loss))
    )
    assert [found.streaming(layer) for layer in range(2)] == [(0, 1), (0,)]
    assert found.gates[1][1] > 0.8
    assert max(*found.gates[0], found.gates[1][0]) < 0.1
    assert (found.sinks, found.window) == (SINKS, WINDOW)
    assert [step for step, _ in losses] == list(range(1, 31))
    assert losses[-1][1] < losses[0][1]


def test_heads_of_layers_with_a_window_stay_as_they_are(tiny, texts):
    config = dataclasses.replace(tiny.config(), layer_kinds=(LayerKind(window=30), LayerKind()))
    checkpoint = tiny.checkpoint(config, tiny.tensors(config))
    found = find_retrieval_heads(checkpoint, [texts] * 2, GateOptions(SINKS, WINDOW), EXACT)
    assert found.gates[0] == (1.0, 1.0)
    assert max(found.gates[1]) < 1.0
    assert patterned(config, found).layer_kinds[0] == LayerKind(window=30)


def test_weights_that_are_not_finite_end_the_search(tiny, texts):
    config = tiny.config()
    tensors = tiny.tensors(config) | {"model.norm.weight": np.full(config.width, np.nan, np.float32)}
    with pytest.raises(TrainingDiverged, match="update 1 is nan"):
        find_retrieval_heads(tiny.checkpoint(config, tensors), [texts], GateOptions(SINKS, WINDOW), EXACT)


@pytest.mark.parametrize(
    ("batches", "named"),
    [
        ([], "no texts"),
        ([PasskeyTexts(np.zeros((1, 14), np.int32), np.ones((1, 14), bool))], "14 tokens are no longer"),
    ],
    ids=["none", "too-short"],
)
def test_texts_that_show_nothing_are_refused(tiny, batches, named):
    config = tiny.config()
    with pytest.raises(BadBatches, match=named):
        find_retrieval_heads(tiny.checkpoint(config, tiny.tensors(config)), batches, GateOptions(SINKS, WINDOW), EXACT)


def test_a_mixture_of_experts_is_refused(tiny, texts):
    experts = ExpertsConfig(count=2, used=1, hidden_width=8, renormalise=True)
    config = dataclasses.replace(tiny.config(), experts=experts, layer_kinds=(LayerKind(experts=True), LayerKind()))
    with pytest.raises(UnsupportedCheckpoint, match="mixture of experts"):
        find_retrieval_heads(tiny.checkpoint(config, {}), [texts])


@pytest.mark.parametrize("wrong", [{"sinks": -1}, {"window": 0}, {"learning_rate": 0.0}, {"sparsity": float("nan")}])
def test_options_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(InvalidOption, match=next(iter(wrong))):
        GateOptions(**wrong)
