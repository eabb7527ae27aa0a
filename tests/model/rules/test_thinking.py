"""Thoughts are as long as their budget says, to the token, and answers keep to their constraint behind them."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capibara.model.constraints import JsonSchema
from capibara.model.errors import ConstraintError
from capibara.model.masks import unpack
from capibara.model.thinking import ThinkingBudget

from .rule_loop import OUTPUTS, Logits, one_hot, random_logits

MARKER = "</think>"
SCHEMA = {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3}


@pytest.fixture(scope="module")
def whole(make_rules):
    """The marker is one token; so is one that goes on behind it."""
    return make_rules(MARKER, MARKER + "\n")


@pytest.fixture(scope="module")
def spelled(make_rules):
    """The marker is eight tokens; one token reaches into it from before."""
    return make_rules(".</")


def wants(rules, *texts: str) -> Logits:
    """Logits that prefer the one token of each text, in this order, at every step."""
    return lambda tokens: one_hot(*(token_of(rules, text) for text in texts))


def token_of(rules, text: str) -> int:
    (token,) = rules.tokenizer.encode(text)
    return token


def thinker(rules, thoughts: list[str], *, then: str = "<|end|>", instead: str = "z") -> Logits:
    """Logits of a model that has these thoughts, each up to an end marker, and then wants ``then`` at every step.

    Where it may not have the token it wants, it has ``instead``.
    """
    script = iter([token for thought in thoughts for token in rules.tokenizer.encode(thought + MARKER)])
    last, other = token_of(rules, then), token_of(rules, instead)
    return lambda tokens: one_hot(next(script, last), other)


def think(rules, logits, *, constraint=None, most: int = 400, **budget):
    rule = rules.rulebook.rule(constraint, ThinkingBudget(**budget))
    output = rules.follow(rule, logits, most=most)
    return rules.text(output), rule, output


def test_an_end_before_the_minimum_becomes_wait(whole):
    text, rule, output = think(whole, thinker(whole, ["ab", "cde"]), minimum=8, waits=2)
    assert text == "abWaitcde</think>"
    assert (rule.thought_tokens, rule.waits, output.dropped) == (9, 1, 1)


def test_an_end_at_the_minimum_is_let_through_and_one_token_before_it_is_not(whole):
    assert think(whole, thinker(whole, ["abc"]), minimum=3)[0] == "abc</think>"
    assert think(whole, thinker(whole, ["ab", "c"]), minimum=3)[0] == "abWaitc</think>"


@pytest.mark.parametrize("waits", [0, 1, 2, 3])
def test_once_all_waits_are_used_the_marker_cannot_be_chosen_before_the_minimum(whole, waits):
    text, rule, output = think(whole, thinker(whole, ["a"] * 12), minimum=20, waits=waits)
    assert text.count("Wait") == rule.waits == output.dropped == waits
    assert rule.thought_tokens == len(whole.tokenizer.encode(text.partition(MARKER)[0]))
    assert rule.thought_tokens in (20, 21)


def test_a_model_that_only_wants_to_end_thinks_exactly_the_minimum(whole):
    text, rule, _ = think(whole, wants(whole, MARKER, "z"), minimum=11, waits=2, maximum=30, most=13)
    assert text.startswith("WaitWaitzzz</think>")
    assert (rule.thought_tokens, rule.waits) == (11, 2)


@pytest.mark.parametrize("maximum", [0, 1, 7])
def test_at_the_maximum_the_end_marker_is_written(whole, maximum):
    text, rule, output = think(whole, lambda tokens: one_hot(token_of(whole, "x")), maximum=maximum, most=maximum + 4)
    assert text == "x" * maximum + MARKER + "xxx"
    assert rule.thought_tokens == maximum
    assert not output.complete


def test_a_wait_may_fill_the_thought_up_to_the_maximum(whole):
    text, rule, _ = think(whole, thinker(whole, ["ab"]), minimum=3, maximum=6)
    assert text == "abWait</think>"
    assert rule.thought_tokens == 6


def test_an_end_token_cannot_be_chosen_while_the_model_thinks(whole):
    text, _, output = think(whole, wants(whole, "<|end|>", "x"), maximum=5)
    assert text == "xxxxx</think>"
    assert output.complete


def test_a_token_that_goes_on_behind_the_marker_cannot_be_chosen(whole):
    text = think(whole, wants(whole, MARKER + "\n", MARKER), most=2)[0]
    assert text == MARKER + MARKER + "\n"


def test_what_begins_a_thought_is_written_and_not_counted(whole):
    text, rule, _ = think(whole, thinker(whole, ["abc"]), begin_marker="<think>", minimum=3, maximum=4, waits=0)
    assert text == "<think>abc</think>"
    assert rule.thought_tokens == 3


def test_a_marker_of_several_tokens_is_held_back_at_its_last(spelled):
    text, rule, output = think(spelled, thinker(spelled, ["ab", "c"]), minimum=12, waits=2)
    assert text == "ab</thinkWaitc</think>"
    assert (rule.waits, output.dropped) == (1, 1)
    assert rule.thought_tokens == len("ab</thinkWaitc</think")


def test_a_marker_of_several_tokens_cannot_be_completed_before_the_minimum_without_waits(spelled):
    text, rule, _ = think(spelled, thinker(spelled, ["ab", ""]), minimum=12, waits=0)
    assert text == "ab</thinkz</think>"
    assert rule.waits == 0


def test_a_marker_that_is_half_written_at_the_maximum_is_completed(spelled):
    text, rule, _ = think(spelled, thinker(spelled, ["ab"]), maximum=6, most=10)
    assert text == "ab</think>"
    assert rule.thought_tokens == 6


def test_a_marker_is_found_however_it_is_cut_into_tokens(spelled):
    encoded = spelled.tokenizer.encode("a.</think>")
    assert len(encoded) == len("a.</think>") - 2
    assert think(spelled, thinker(spelled, ["a.", "b"]), minimum=9)[0] == "a.</thinkWaitb</think>"


def test_what_only_looks_like_the_marker_is_thought(spelled):
    assert think(spelled, thinker(spelled, ["</thi</th<<"]))[0] == "</thi</th<<</think>"


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    one_token=st.booleans(),
    eager=st.floats(0, 1),
    minimum=st.integers(0, 30),
    room=st.integers(4, 30) | st.none(),
    waits=st.integers(0, 4),
)
def test_thoughts_keep_to_any_budget(whole, spelled, seed, one_token, eager, minimum, room, waits):
    rules, rng, noise = (whole if one_token else spelled), np.random.default_rng(seed), random_logits(seed)
    marker, written = rules.tokenizer.encode(MARKER), []

    def logits(tokens):
        """Random but for a wish to write the marker, which comes up at random and is followed to its end."""
        if not written and (rng.random() < eager / len(marker) or len(tokens) > 80):
            written.extend(marker)
        return noise(tokens) + 10 * one_hot(written.pop(0)) if written else noise(tokens)

    maximum = None if room is None else minimum + room
    answer = JsonSchema({"const": 7})
    _, rule, output = think(rules, logits, constraint=answer, minimum=minimum, maximum=maximum, waits=waits)
    completing = next(
        count for count in range(1, len(output.tokens) + 1) if MARKER in rules.tokenizer.decode(output.tokens[:count])
    )
    assert minimum <= rule.thought_tokens
    if maximum is None or rule.thought_tokens < maximum:
        assert completing == rule.thought_tokens + 1
    else:
        assert rule.thought_tokens == maximum
        assert maximum < completing <= maximum + len(marker)
    assert rule.waits == output.dropped <= waits
    assert not rules.tokenizer.end_tokens & set(output.tokens[:completing])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), one_token=st.booleans(), minimum=st.integers(0, 10))
def test_the_answer_behind_a_thought_keeps_to_its_constraint(whole, spelled, seed, one_token, minimum):
    rules = whole if one_token else spelled
    text, _, output = think(
        rules, random_logits(seed), constraint=JsonSchema(SCHEMA), minimum=minimum, maximum=minimum + 4
    )
    thought, found, answer = text.partition(MARKER)
    assert output.complete
    assert found
    assert len(rules.tokenizer.encode(thought)) >= minimum
    jsonschema.validate(json.loads(answer), SCHEMA)


def test_a_constraint_does_not_bind_the_thought_before_it(whole):
    text = think(whole, thinker(whole, ["not json"]), constraint=JsonSchema({"const": 7}))[0]
    assert text == "not json</think>7"


def test_while_a_token_is_forced_no_other_is_allowed(whole):
    rule = whole.rulebook.rule(None, ThinkingBudget(maximum=0))
    (end,) = rule.forced()
    np.testing.assert_array_equal(np.flatnonzero(unpack(rule.allowed(), OUTPUTS)), [end])


def test_a_token_that_comes_in_place_of_a_forced_one_is_an_error(whole):
    rule = whole.rulebook.rule(None, ThinkingBudget(maximum=0))
    with pytest.raises(ConstraintError, match="was forced"):
        rule.accept(token_of(whole, "x"))


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"minimum": -1}, "minimum is -1"),
        ({"minimum": 5, "maximum": 4}, "maximum is 4; .* minimum of 5"),
        ({"maximum": -1}, "maximum is -1"),
        ({"waits": -1}, "waits is -1"),
        ({"maximum": 10.5}, "maximum is 10.5; it must be a whole number"),
        ({"minimum": "1", "waits": None}, "minimum is '1'; .*waits is None; it must be a whole number"),
        ({"waits": True}, "waits is True"),
        ({"end_marker": "\ud800"}, r"end_marker is '\\ud800'; it must be a text"),
        ({"wait_text": None, "begin_marker": "\udfff"}, "wait_text is None; .*begin_marker is"),
        ({"end_marker": ""}, "end_marker is empty"),
        ({"wait_text": ""}, "wait_text is empty"),
        ({"wait_text": "no </think> yet"}, "would complete the end marker"),
        ({"wait_text": "> wait"}, "would complete the end marker"),
    ],
)
def test_a_budget_out_of_range_is_an_error_that_names_the_value(wrong, what):
    with pytest.raises(ConstraintError, match=what):
        ThinkingBudget(**wrong)


def test_a_wait_that_does_not_fit_between_the_bounds_is_an_error_with_the_numbers(whole):
    with pytest.raises(ConstraintError, match=r"'Wait' has 4 tokens.*minimum of 10.*maximum of 12"):
        whole.rulebook.rule(None, ThinkingBudget(minimum=10, maximum=12))
