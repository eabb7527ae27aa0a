"""What the text of a generation must be, as values that a request carries: JSON of a schema, a pattern, one of some
texts, or a grammar.

Each is checked when it is made. `grammar` is the form that `llguidance` (MIT) reads; what it understands of JSON
Schema, of regular expressions (Rust's) and of Lark grammars is what can be asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .errors import ConstraintError
from .schema_faults import fault_in

_SPACING: Mapping[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As Python writes JSON on one line. With white space at will a model may write nothing else for a long time."""


class Constraint(Protocol):
    """Something a text can be made to keep to from its first character to its last."""

    @property
    def grammar(self) -> str:
        """The form that `llguidance` reads."""
        ...


@dataclass(frozen=True)
class JsonSchema:
    """JSON that is valid under ``schema``, on one line; properties come in the schema's order.

    ``schema`` may be given as JSON text, and is kept as such. Strings, arrays, numbers and objects without bounds
    may go on until ``max_tokens``; what was cut there is not yet JSON.

    Raises:
        ConstraintError: the schema is none, cannot be satisfied, or asks for something that is not understood; says
            what and where.
    """

    schema: Mapping[str, Any] | str

    def __post_init__(self) -> None:
        try:
            self._check()
        except RecursionError as error:
            raise ConstraintError("the JSON schema is nested too deeply to be followed: flatten it") from error

    def _check(self) -> None:
        try:
            given = json.loads(self.schema) if isinstance(self.schema, str) else self.schema
            text = json.dumps(given, allow_nan=False, default=_plain)
            schema = json.loads(text)
        except (TypeError, ValueError) as error:
            raise ConstraintError(f"the JSON schema is no JSON: {error}") from error
        object.__setattr__(self, "schema", text)
        if not isinstance(schema, Mapping):
            raise ConstraintError(f"the JSON schema must be an object, and is {text}")
        if fault := fault_in(schema, lambda part: _complaint_of_schema(json.dumps(part))):
            raise ConstraintError(f"the JSON schema cannot be kept to at {fault.where}: {fault.what}")

    @property
    def grammar(self) -> str:
        return _json_grammar(str(self.schema))


@dataclass(frozen=True)
class Regex:
    """Text that ``pattern`` matches as a whole, in the syntax of Rust's `regex`, without look-around or ``\\b``.

    Raises:
        ConstraintError: the pattern is no text, empty, or cannot be read; says what and where.
    """

    pattern: str

    def __post_init__(self) -> None:
        if not is_text(self.pattern):
            raise ConstraintError(f"the pattern is {self.pattern!r}: it must be a text")
        if not self.pattern:
            raise ConstraintError("the pattern is empty: it would allow no text")
        if complaint := _complaint(self.grammar):
            raise ConstraintError(f"the pattern {self.pattern!r} cannot be used: {_of_pattern(complaint)}")

    @property
    def grammar(self) -> str:
        from llguidance import LLMatcher

        return LLMatcher.grammar_from_regex(self.pattern)


@dataclass(frozen=True)
class OneOf:
    """One of these texts.

    Raises:
        ConstraintError: there are none, or one of them is empty or no text.
    """

    options: Sequence[str]

    def __post_init__(self) -> None:
        given: object = self.options
        if isinstance(given, str):
            raise ConstraintError(f"the options are one text, {given!r}: give a list of texts")
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options:
            raise ConstraintError("there are no options to choose from: give at least one")
        for index, option in enumerate(self.options):
            if not is_text(option) or not option:
                raise ConstraintError(f"option {index} is {option!r}: it must be a text of at least one character")
        if complaint := _complaint(self.grammar):
            raise ConstraintError(f"the options cannot be used: {_first_line(complaint)}")

    @property
    def grammar(self) -> str:
        from llguidance import LLMatcher

        # Lark's strings are JSON's but for one character, which they want spelled out.
        quoted = (json.dumps(option, ensure_ascii=False).replace("\x7f", r"\u007f") for option in self.options)
        return LLMatcher.grammar_from_lark(f"start: {' | '.join(quoted)}")


@dataclass(frozen=True)
class Grammar:
    """Text of a context-free grammar, from ``start``, in the Lark syntax that `llguidance` documents.

    Raises:
        ConstraintError: the grammar is no text, or cannot be read; says what and where.
    """

    lark: str

    def __post_init__(self) -> None:
        if not is_text(self.lark):
            raise ConstraintError(f"the grammar is {self.lark!r}: it must be a text")
        if complaint := _complaint(self.grammar):
            raise ConstraintError(f"the grammar cannot be used: {_of_grammar(complaint)}")

    @property
    def grammar(self) -> str:
        from llguidance import LLMatcher

        return LLMatcher.grammar_from_lark(self.lark)


def is_text(value: object) -> bool:
    """UTF-8, in which tokens are spelled, can write it: half of a surrogate pair it cannot."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _plain(part: object) -> dict[Any, Any]:
    """Of a mapping that is no dict, which `json` knows alone."""
    if isinstance(part, Mapping):
        return dict(part)
    raise TypeError(f"Object of type {type(part).__name__} is not JSON serializable")


def _json_grammar(schema: str) -> str:
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(schema, defaults={**_SPACING})  # pyright: ignore[reportArgumentType]


def _complaint_of_schema(schema: str) -> str:
    """As `_complaint`; some schemas are refused even as JSON."""
    try:
        return _complaint(_json_grammar(schema))
    except ValueError as error:
        return str(error)


def _complaint(grammar: str) -> str:
    """Why `llguidance` cannot use a grammar; empty if it can."""
    from llguidance import LLMatcher

    return LLMatcher.validate_grammar(grammar)


def _first_line(complaint: str) -> str:
    return complaint.strip().splitlines()[0]


def _of_grammar(complaint: str) -> str:
    """``at 1(8): unknown name: "x"`` and a drawing of the place, as one line."""
    found = re.match(r"(?:at )?(\d+)\((\d+)\): (.*)", complaint)
    return f"line {found[1]}, column {found[2]}: {found[3]}" if found else _first_line(complaint)


def _of_pattern(complaint: str) -> str:
    """The reason and the column of a complaint that draws the pattern with a mark under the place."""
    reason = re.search(r"^error: (.*)$", complaint, re.MULTILINE)
    mark = re.search(r"^ {4}( *)\^", complaint, re.MULTILINE)
    if reason is None:
        if "lookarounds not supported" in complaint:  # which names its own kinds of them
            return r"borders of words (\b, \B) are not supported, ^ and $ at its ends alone"
        return re.sub(r"^(?:at )?\d+\(\d+\): invalid regex .* \(in regex\): ", "", _first_line(complaint))
    return reason[1] if mark is None else f"{reason[1]} at character {len(mark[1]) + 1}"
