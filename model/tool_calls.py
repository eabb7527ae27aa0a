"""The constraint under which a model writes a call of one of several tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .constraints import JsonSchema
from .errors import ConstraintError

_COMPOSED = frozenset(("$ref", "allOf", "anyOf", "oneOf", "patternProperties", "additionalProperties"))


@dataclass(frozen=True)
class Tool:
    """Something a model can call: ``parameters`` is the JSON schema of the object it takes; {} for one that takes none.

    Raises:
        ConstraintError: there is no name, or the schema is not one of objects, or cannot be kept to.
    """

    name: str
    parameters: Mapping[str, Any]
    description: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ConstraintError("a tool has no name: give it one")
        if self.parameters.get("type", "object") != "object":
            raise ConstraintError(f"tool {self.name!r} takes a {self.parameters['type']!r}: it must be an 'object'")
        try:
            JsonSchema(self.arguments)
        except ConstraintError as error:
            raise ConstraintError(f"tool {self.name!r}: {error}") from error

    @property
    def arguments(self) -> dict[str, Any]:
        """The schema of the arguments; where the parameters do not say otherwise, there are no others than theirs."""
        closed: dict[str, Any] = {} if _COMPOSED & self.parameters.keys() else {"additionalProperties": False}
        return {**self.parameters, "type": "object", **closed}


def tool_call(tools: Sequence[Tool], name: str | None = None) -> JsonSchema:
    """The constraint to ``{"name": ..., "arguments": {...}}`` with a tool's name and arguments that it takes.

    ``name`` is the one tool that must be called; None leaves the choice to the model.

    Raises:
        ConstraintError: there are no tools, two of one name, or none of ``name``; says which there are.
    """
    names = [tool.name for tool in tools]
    if not tools:
        raise ConstraintError("there are no tools to call: give at least one")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConstraintError(f"two tools are named {twice[0]!r}: give each a name of its own")
    if name is not None and name not in names:
        raise ConstraintError(f"there is no tool {name!r}: there are {', '.join(names)}")
    wanted = [tool for tool in tools if name in (None, tool.name)]
    return JsonSchema({"anyOf": [_call(tool, index) for index, tool in enumerate(wanted)]})


def _call(tool: Tool, index: int) -> dict[str, Any]:
    # With an identity of its own each schema's references are to itself, wherever it stands.
    arguments = {**tool.arguments, "$id": f"urn:capibara:tool:{index}"}
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
