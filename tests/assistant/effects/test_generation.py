"""How the language model decodes the next answer after each change: a real network, of random weights."""

from __future__ import annotations

from typing import Any

import pytest

from capibara.assistant import Answer, Assistant

from .observing import Changes, observes

COST = "How much does a night in Casa Garza cost?"
HOT = {"generation.temperature": 5.0, "generation.seed": 1}
"""So hot that every token is nearly as likely as any other."""


@pytest.fixture(autouse=True)
def composing(assistant: Assistant, change: Changes) -> None:
    """Answers are written by the model."""
    change(assistant, {"assistant.answer_style": "compose", "assistant.evidence_passages": 1})


def written(assistant: Assistant) -> Answer:
    answer = assistant.ask(COST)
    assert answer.degraded == ()
    assert answer.usage.completion_tokens > 0
    return answer


@observes("generation.max_tokens")
def test_no_more_tokens_are_written_than_are_set(assistant: Assistant, change: Changes):
    before = written(assistant)
    change(assistant, {"generation.max_tokens": 3})
    after = written(assistant)
    assert (before.usage.completion_tokens, after.usage.completion_tokens) == (8, 3)
    assert before.finish_reason == after.finish_reason == "length"


@observes("generation.temperature")
def test_without_heat_the_likeliest_tokens_are_written_and_with_it_others(assistant: Assistant, change: Changes):
    change(assistant, {"generation.seed": 1})
    greedy = written(assistant).text
    change(assistant, {"generation.temperature": 5.0})
    assert written(assistant).text != greedy


@observes("generation.top_k", "generation.top_p", "generation.min_p")
@pytest.mark.parametrize(
    ("key", "narrow"), [("generation.top_k", 1), ("generation.top_p", 1e-6), ("generation.min_p", 1.0)]
)
def test_a_filter_that_leaves_one_token_takes_the_heat_away(
    assistant: Assistant, change: Changes, key: str, narrow: float
):
    greedy = written(assistant).text
    change(assistant, HOT)
    assert written(assistant).text != greedy
    change(assistant, {key: narrow})
    assert written(assistant).text == greedy


@observes("generation.repetition_penalty")
def test_a_penalty_keeps_tokens_from_being_written_again(assistant: Assistant, change: Changes):
    change(assistant, {"generation.max_tokens": 40})
    model = assistant.language_model()
    assert model is not None
    before = model.encode(written(assistant).text)
    change(assistant, {"generation.repetition_penalty": 10.0})
    after = model.encode(written(assistant).text)
    assert len(set(after)) / len(after) > len(set(before)) / len(before)


@observes("generation.seed")
def test_a_seed_gives_the_same_text_again_and_another_seed_another(assistant: Assistant, change: Changes):
    change(assistant, {"generation.temperature": 5.0})
    unseeded = {written(assistant).text for _ in range(2)}
    change(assistant, {"generation.seed": 1})
    first = {written(assistant).text for _ in range(2)}
    change(assistant, {"generation.seed": 2})
    second = {written(assistant).text for _ in range(2)}
    assert (len(unseeded), len(first), len(second)) == (2, 1, 1)
    assert first != second


@observes("generation.stop")
def test_a_text_ends_before_the_string_that_is_set(assistant: Assistant, change: Changes):
    before = written(assistant)
    string: Any = before.text[2]
    change(assistant, {"generation.stop": [string]})
    after = written(assistant)
    assert after.text == before.text[: before.text.index(string)]
    assert (before.finish_reason, after.finish_reason) == ("length", "stop")
