"""Describes every setting as a Markdown table, for docs/configuration.md: ``python -m capibara.config.reference``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
from pydantic import SecretStr

from .keys import Setting, all_settings
from .load import shown


def settings_table() -> str:
    """One row per setting, in the schema's order: key, what it takes, default, meaning."""
    rows = ["| setting | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for setting in all_settings():
        takes = accepted(setting).replace("|", "\\|")
        rows.append(f"| `{setting.key}` | {takes} | `{shown(setting.default)}` | {setting.description} |")
    return "\n".join(rows) + "\n"


def accepted(setting: Setting) -> str:
    """The values a setting takes, in words: ``integer ≥ 1, or none``."""
    return _words(setting.annotation)


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = [limit for constraint in arguments[1:] for limit in _limits(constraint)]
        return " ".join([_words(arguments[0]), ", ".join(limits)]).strip()
    if origin is Literal:
        return ", ".join(f"`{shown(choice)}`" for choice in arguments)
    if origin is tuple:
        return f"list of {_words(arguments[0])}s"
    if type(None) in arguments:
        [inner] = [part for part in arguments if part is not type(None)]
        return f"{_words(inner)}, or none"
    names = {int: "integer", float: "number", bool: "true or false", str: "text", Path: "path", SecretStr: "secret"}
    return names[annotation]


def _limits(constraint: Any) -> list[str]:
    constraints = getattr(constraint, "metadata", [constraint])
    signs = {annotated_types.Ge: ("≥", "ge"), annotated_types.Gt: (">", "gt"), annotated_types.Le: ("≤", "le")}
    return [
        f"{signs[type(part)][0]} {getattr(part, signs[type(part)][1]):g}" for part in constraints if type(part) in signs
    ]


if __name__ == "__main__":
    sys.stdout.write(settings_table())
