"""Finds where in a JSON schema a complaint about the whole of it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_DEFINITIONS = ("$defs", "definitions")
_NAMED = (*_DEFINITIONS, "properties", "patternProperties")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_SINGLE = ("items", "additionalProperties", "additionalItems", "not")


class Fault(NamedTuple):
    """A complaint, and the JSON pointer of the smallest part of the schema that raises it."""

    where: str
    what: str


def fault_in(schema: Mapping[str, Any], complaint: Callable[[Mapping[str, Any]], str]) -> Fault | None:
    """What ``complaint`` says of the schema and of which part; None where it says nothing.

    The part is found by asking about smaller and smaller ones, with the schema's definitions beside them: those who
    read schemas seldom say where they stood.
    """
    what = complaint(schema)
    if not what:
        return None
    shared, what = {key: schema[key] for key in _DEFINITIONS if key in schema}, _reason(what)
    return Fault(_smallest("#", schema, lambda part: _reason(complaint({**shared, **part})) == what), what)


def _smallest(where: str, schema: Mapping[str, Any], faulty: Callable[[Mapping[str, Any]], bool]) -> str:
    for step, part in _parts(schema):
        if isinstance(part, Mapping) and faulty(part):
            return _smallest(f"{where}/{step}", part, faulty)
    return where


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The schemas in a schema, with the steps of a JSON pointer to them; definitions first."""
    for key in _NAMED:
        if isinstance(named := schema.get(key), Mapping):
            yield from ((f"{key}/{_escaped(str(name))}", part) for name, part in named.items())
    for key in _LISTED:
        if isinstance(listed := schema.get(key), Sequence) and not isinstance(listed, str):
            yield from ((f"{key}/{index}", part) for index, part in enumerate(listed))
    yield from ((key, schema[key]) for key in _SINGLE if key in schema)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _reason(complaint: str) -> str:
    """On one line, and without the references that were followed."""
    return " ".join(complaint.partition("while processing")[0].split())
