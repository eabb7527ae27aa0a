"""The settings file as a JSON Schema (draft 2020-12), from which editors complete, explain and check it.

It is made from the pydantic models. Besides the standard's keywords it has ``x-unit`` and ``x-applies``: a setting's
unit, and when a change of it takes effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from .fields import Section
from .keys import all_settings
from .load import may_differ
from .schema import SCHEMA_VERSION, Settings

_NONE = {"const": "none"}
"""TOML has no null; settings that may be left out take this word."""


def json_schema() -> dict[str, Any]:
    """The schema, fit to be written as JSON."""
    whole = Settings.model_json_schema()
    definitions = whole.pop("$defs")
    sections = {"Settings": whole, **definitions}
    for model in _sections(Settings):
        _finish(sections[model.__name__], model)
    definitions["VariantSettings"]["properties"]["set"] |= _variant_set(whole["properties"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole,
        "title": "Capibara settings",
        "properties": {**_file_keys(), **whole["properties"]},
        "$defs": definitions,
    }


def _sections(model: type[Section]) -> Iterator[type[Section]]:
    """``model`` and every section below it."""
    yield model
    for field in model.model_fields.values():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Section):
                yield from _sections(part)


def _finish(section: dict[str, Any], model: type[Section]) -> None:
    """Take pydantic's schema of ``model`` to what a TOML file may hold."""
    section.pop("title")
    for described in section["properties"].values():
        described.pop("title", None)
        if "$ref" in described or described.get("type") == "object":
            described.pop("default", None)  # a table's settings have their own
            continue
        if "anyOf" in described:
            described["anyOf"] = [_NONE if option == {"type": "null"} else option for option in described["anyOf"]]
            described["default"] = "none" if described["default"] is None else described["default"]
        described.setdefault("x-applies", model.APPLIES)


def _file_keys() -> dict[str, Any]:
    """The keys of a file that are no settings; see `files.FILE_KEYS`."""
    name = {"type": "string", "minLength": 1}
    return {
        "extends": {
            "description": "presets, or files relative to this one, whose settings hold where this file says nothing",
            "anyOf": [name, {"type": "array", "items": name}],
            "examples": ["laptop", ["server-gpu", "./team.toml"]],
        },
        "schema_version": {
            "description": "version of the settings' names that the file is written for",
            "type": "integer",
            "minimum": 1,
            "maximum": SCHEMA_VERSION,
            "default": SCHEMA_VERSION,
        },
    }


def _variant_set(root: dict[str, Any]) -> dict[str, Any]:
    """The settings of the root's sections, less those that all variants share."""
    properties: dict[str, Any] = {}
    for name in (name for name, described in root.items() if "$ref" in described):
        inside = [setting.path for setting in all_settings() if setting.path[0] == name]
        if allowed := [path for path in inside if may_differ(path)]:
            shared = {path[1]: False for path in inside if path not in allowed}
            properties[name] = root[name] | ({"properties": shared} if shared else {})
    return {"properties": properties, "additionalProperties": False}
