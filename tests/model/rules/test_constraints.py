"""Output under a constraint keeps to it, whatever the network prefers; constraints that cannot be kept to are named."""

from __future__ import annotations

import json
import re
from types import MappingProxyType

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capibara.model.constraints import Grammar, JsonSchema, OneOf, Regex
from capibara.model.errors import ConstraintError
from capibara.model.masks import unpack
from capibara.model.rulebook import Rulebook
from capibara.model.rules import FreeRule
from capibara.model.tool_calls import Tool, tool_call

from .rule_loop import OUTPUTS, one_hot, random_logits

NESTED = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["é", 'b"c', None]}, "maxItems": 3},
        "next": {"$ref": "#/$defs/place"},
    },
    "required": ["name", "age", "tags", "next"],
    "additionalProperties": False,
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"here": {"type": "boolean"}},
            "required": ["here"],
            "additionalProperties": False,
        }
    },
}
SCHEMAS = [
    NESTED,
    {"type": "boolean"},
    {"const": {"a": [1, "x"]}},
    {"type": "string", "pattern": "^[a-c]{2,5}$"},
    {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": -3, "maximum": 12}]},
    {"type": "array", "prefixItems": [{"type": "boolean"}], "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 4},
]
PLACE = {"type": "object", "properties": {"place": {"type": "string", "maxLength": 6}}, "required": ["place"]}
TOOLS = [
    Tool("weather", PLACE),
    Tool(
        "add",
        {
            "properties": {"left": {"$ref": "#/$defs/n"}, "right": {"$ref": "#/$defs/n"}},
            "required": ["left", "right"],
            "$defs": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
        },
    ),
    Tool("now", {}),
]
BY_NAME = {tool.name: tool for tool in TOOLS}
EXAMPLES = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
TEMPERATURES = st.sampled_from([0.0, 0.7, 5.0])


@EXAMPLES
@given(schema=st.sampled_from(SCHEMAS), seed=SEEDS, temperature=TEMPERATURES)
def test_output_is_always_json_of_the_schema(rules, schema, seed, temperature):
    output = rules.output(random_logits(seed), constraint=JsonSchema(schema), temperature=temperature, seed=seed)
    assert output.complete
    jsonschema.validate(json.loads(rules.text(output)), schema)


@EXAMPLES
@given(seed=SEEDS, temperature=TEMPERATURES)
def test_a_tool_call_always_names_a_tool_and_has_arguments_that_it_takes(rules, seed, temperature):
    output = rules.output(random_logits(seed), constraint=tool_call(TOOLS), temperature=temperature, seed=seed)
    assert output.complete
    call = json.loads(rules.text(output))
    assert list(call) == ["name", "arguments"]
    jsonschema.validate(call["arguments"], BY_NAME[call["name"]].arguments)


def test_each_of_several_tools_can_be_called(rules):
    for name, arguments in {"weather": {"place": "Oslo"}, "add": {"left": 3, "right": 4}, "now": {}}.items():
        written = json.dumps({"name": name, "arguments": arguments})
        assert rules.text(rules.output(rules.writes(written), constraint=tool_call(TOOLS))) == written


def test_a_tool_that_must_be_called_is_called(rules):
    wanted = json.dumps({"name": "weather", "arguments": {"place": "Oslo"}})
    output = rules.output(rules.writes(wanted), constraint=tool_call(TOOLS, "now"))
    assert json.loads(rules.text(output)) == {"name": "now", "arguments": {}}


def test_a_network_writes_tool_calls_that_parse(tiny, rules):
    config = tiny.config()
    runner, longest = tiny.runner(config, tiny.tensors(config)), 128
    prompt = rules.tokenizer.encode("call a tool: ")

    def logits(tokens):
        known = [*prompt, *tokens]
        scored = runner.score([*known, *[0] * (longest - len(known))])[len(known) - 1]
        return np.pad(scored, (0, OUTPUTS - config.vocabulary), constant_values=-100.0)

    for seed in range(4):
        output = rules.output(logits, constraint=tool_call(TOOLS), temperature=1.5, seed=seed)
        assert output.complete
        call = json.loads(rules.text(output))
        jsonschema.validate(call["arguments"], BY_NAME[call["name"]].arguments)


@EXAMPLES
@given(seed=SEEDS, options=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4))
def test_output_is_always_one_of_the_options(rules, seed, options):
    output = rules.output(random_logits(seed), constraint=OneOf(options), temperature=1.0, seed=seed)
    assert output.complete
    assert rules.text(output) in options


@pytest.mark.parametrize("pattern", [r"[0-9]{4}-[0-9]{2}", r"(yes|no), because [a-z ]{3,9}\.", r"a{2,3}|ü"])
def test_output_always_matches_the_pattern_as_a_whole(rules, pattern):
    for seed in range(5):
        output = rules.output(random_logits(seed), constraint=Regex(pattern), temperature=1.0, seed=seed)
        assert output.complete
        assert re.fullmatch(pattern, rules.text(output))


def test_output_is_text_of_the_grammar(rules):
    grammar = Grammar('start: "(" start ")" | DIGIT\nDIGIT: /[0-9]/')
    for seed in range(5):
        text = rules.text(rules.output(random_logits(seed), constraint=grammar, temperature=1.0, seed=seed))
        digits = text.count("(")
        assert re.fullmatch(rf"\({{{digits}}}[0-9]\){{{digits}}}", text)


def test_a_network_that_would_end_at_once_ends_where_the_grammar_may(rules):
    (end,) = rules.tokenizer.end_tokens
    output = rules.output(lambda tokens: one_hot(end), constraint=Regex("ab?c*"))
    assert rules.text(output) == "a"
    assert output.complete


def test_an_end_token_is_allowed_only_where_the_grammar_may_end(rules):
    (end,) = rules.tokenizer.end_tokens
    rule, endings = rules.rulebook.rule(Regex("ab?c")), []
    assert rule is not None
    for token in rules.tokenizer.encode("abc"):
        endings.append(unpack(rule.allowed(), OUTPUTS)[end])
        assert not rule.finished
        rule.accept(token)
    assert not any(endings)
    assert rule.finished


def test_what_leaves_no_choice_is_forced_and_not_chosen(rules):
    output = rules.output(random_logits(0), constraint=JsonSchema({"const": {"a long name": True}}))
    assert rules.text(output) == '{"a long name": true}'
    assert output.chosen == 0


def test_outputs_without_tokens_are_never_allowed(rules):
    """Networks are often wider than their tokenizers."""
    rule = rules.rulebook.rule(Regex("(?s:.*)"))
    assert rule is not None
    np.testing.assert_array_equal(unpack(rule.allowed(), OUTPUTS)[[256, 259, 260, OUTPUTS - 1]], [True, *[False] * 3])


def test_generations_with_one_constraint_do_not_touch_each_other(rules):
    first, second = rules.rulebook.rule(Regex("ab")), rules.rulebook.rule(Regex("ab"))
    assert first is not None
    assert second is not None
    first.accept(rules.tokenizer.encode("a")[0])
    assert list(first.forced()) == rules.tokenizer.encode("b")
    assert list(second.forced()) == rules.tokenizer.encode("ab")


def test_a_token_that_breaks_the_constraint_is_an_error(rules):
    rule = rules.rulebook.rule(Regex("ab"))
    assert rule is not None
    with pytest.raises(ConstraintError, match="cannot be kept to its constraint"):
        rule.accept(rules.tokenizer.encode("x")[0])


def test_a_request_that_asks_for_nothing_has_no_rule(rules):
    assert rules.rulebook.rule(None) is None


def test_text_without_a_constraint_ends_with_an_end_token(rules):
    rule = FreeRule(rules.tokenizer.end_tokens)
    assert rules.text(rules.follow(rule, rules.writes("any text"))) == "any text"
    assert rule.finished


def test_a_schema_may_be_given_as_text_and_is_not_changed_behind_the_back():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    made = JsonSchema(schema)
    assert made == JsonSchema(json.dumps(schema))
    schema["properties"] = {}
    assert json.loads(made.schema)["properties"] == {"a": {"type": "integer"}}


@pytest.mark.parametrize(
    ("schema", "where", "what"),
    [
        ({"type": "strnig"}, "#", "strnig"),
        ({"properties": {"a": {"items": {"type": "integr"}, "type": "array"}}}, "#/properties/a/items", "integr"),
        ({"properties": {"a/b": {"not": {}}}}, "#/properties/a~1b", "not"),
        ({"anyOf": [{"minLength": 5, "maxLength": 2, "type": "string"}]}, "#/anyOf/0", "minLength"),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"pattern": "("}}}, "#/$defs/x", "unclosed"),
        ({"$ref": "#/$defs/x"}, "#", r"\$defs/x"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {}}, "#/properties/a", r"\$defs/b"),
        ({"enum": []}, "#", "empty"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "#", "5.*3"),
    ],
)
def test_an_invalid_schema_is_an_error_that_says_what_and_where(schema, where, what):
    with pytest.raises(ConstraintError, match=f"at {re.escape(where)}: .*{what}") as raised:
        JsonSchema(schema)
    assert "\n" not in str(raised.value)


def test_a_schema_may_be_given_in_mappings_of_any_kind():
    place = MappingProxyType({"type": "object", "properties": MappingProxyType({"a": {"type": "boolean"}})})
    assert JsonSchema(place) == JsonSchema({"type": "object", "properties": {"a": {"type": "boolean"}}})


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: JsonSchema("{bad"), "no JSON: .*column 2"),
        (lambda: JsonSchema({"const": float("nan")}), "no JSON"),
        (lambda: JsonSchema({"enum": {1, 2}}), "no JSON: .*set"),
        (lambda: JsonSchema("[1]"), r"must be an object, and is \[1\]"),
        (lambda: JsonSchema('{"a":' * 100_000), "nested too deeply"),
        (lambda: JsonSchema('{"not":' * 500 + "{}" + "}" * 500), "cannot be kept to at #/not/not"),
        (lambda: JsonSchema({"const": "\ud800"}), "cannot be kept to at #"),
        (lambda: Regex("\ud800"), r"the pattern is '\\ud800': it must be a text"),
        (lambda: Regex(b"a"), "the pattern is b'a': it must be a text"),
        (lambda: Grammar('start: "\ud800"'), "the grammar is .*ud800.*: it must be a text"),
        (lambda: Grammar(None), "the grammar is None: it must be a text"),
        (lambda: Regex("ab(c"), "'ab\\(c' .*unclosed group at character 3"),
        (lambda: Regex("a(?=b)"), "look-around.* at character 2"),
        (lambda: Regex("a^b"), r"cannot be used: borders of words .* are not supported, \^ and \$ at its ends alone$"),
        (lambda: Regex(r"\bab"), r"cannot be used: borders of words .* are not supported"),
        (lambda: Regex(""), "empty"),
        (lambda: OneOf([]), "no options"),
        (lambda: OneOf(["a", ""]), "option 1 is ''"),
        (lambda: OneOf("yes"), "'yes': give a list"),
        (lambda: OneOf(["\ud800"]), "option 0"),
        (lambda: Grammar('start: "a" there'), 'line 1, column 8: unknown name: "there"'),
        (lambda: Grammar('a: "b"'), "no start"),
        (lambda: Tool("", {}), "no name"),
        (lambda: Tool("t", {"type": "string"}), "'t' takes a 'string'"),
        (lambda: Tool("t", {"properties": {"x": {"type": "?"}}}), "'t': .*at #/properties/x"),
        (lambda: tool_call([]), "no tools"),
        (lambda: tool_call(TOOLS, "fly"), "no tool 'fly': there are weather, add, now"),
        (lambda: tool_call([*TOOLS, Tool("add", {})]), "two tools are named 'add'"),
    ],
)
def test_a_constraint_that_cannot_be_kept_to_is_an_error_that_names_what_is_wrong(make, what):
    with pytest.raises(ConstraintError, match=what) as raised:
        make()
    assert "\n" not in str(raised.value)


def test_a_tokenizer_whose_tokens_are_no_bytes_is_an_error(rules):
    from dataclasses import replace

    from tokenizers import Tokenizer, models

    words = replace(rules.tokenizer, backend=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(ConstraintError, match="tokenizer does not suit"):
        Rulebook(words, OUTPUTS).rule(Regex("a"))


def test_a_pattern_that_no_text_matches_is_an_error(rules):
    rule = rules.rulebook.rule(Regex(r"[^\x00-\x{10FFFF}]"))
    assert rule is not None
    with pytest.raises(ConstraintError):
        rule.allowed()
