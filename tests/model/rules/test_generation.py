"""A model's generations keep to what they are asked to keep to, with the engine in between."""

from __future__ import annotations

import json

import jsonschema
import pytest

from capibara.model import ConstraintError, JsonSchema, OneOf, Sampling, ThinkingBudget, Tool, tool_call

TOOLS = [
    Tool("add", {"properties": {"left": {"enum": [1, 2]}, "right": {"enum": [3, 4]}}, "required": ["left", "right"]}),
    Tool("now", {}),
]
MARKER = "</think>"


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_model_calls_a_tool_with_arguments_that_it_takes(tiny_model, temperature):
    made = tiny_model.generate("call: ", Sampling(temperature=temperature, seed=1), constraint=tool_call(TOOLS))
    call = json.loads(made.text)
    (tool,) = (tool for tool in TOOLS if tool.name == call["name"])
    jsonschema.validate(call["arguments"], tool.arguments)
    assert made.finish_reason == "stop"
    assert made.usage.completion_tokens == len(made.text)


def test_a_model_thinks_before_it_answers_within_both_bounds(tiny_model):
    thinking = ThinkingBudget(minimum=3, maximum=9, begin_marker="<think>")
    made = tiny_model.generate(
        "why? ", Sampling(temperature=2.0, seed=3), constraint=OneOf(["yes", "no"]), thinking=thinking
    )
    thought, _, answer = made.text.partition(MARKER)
    assert thought.startswith("<think>")
    assert answer in ("yes", "no")
    assert made.usage.completion_tokens == len("<think>") + 9 + len(MARKER) + len(answer)


def test_what_comes_before_the_end_of_an_answer_that_is_cut_is_not_said_to_be_complete(tiny_model):
    made = tiny_model.generate("x", Sampling(max_tokens=4), constraint=JsonSchema({"const": "long text"}))
    assert made.text == '"lon'
    assert made.finish_reason == "length"


def test_a_budget_that_cannot_be_kept_to_is_refused_before_anything_is_generated(tiny_model):
    with pytest.raises(ConstraintError, match="'Wait' has 4 tokens"):
        tiny_model.generate("x", Sampling(), thinking=ThinkingBudget(minimum=5, maximum=5))
