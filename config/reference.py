"""Describes every setting as a Markdown table, for docs/configuration.md: ``python -m capibara.config.reference``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import SecretStr

from .keys import Setting, all_settings
from .values import shown


def settings_table() -> str:
    """One row per setting, in the schema's order: key, what it takes, default, when a change applies, meaning."""
    rows = ["| setting | takes | default | applies | meaning |", "| --- | --- | --- | --- | --- |"]
    for setting in all_settings():
        takes = accepted(setting).replace("|", "\\|")
        default = f"`{shown(setting.default)}`"
        rows.append(f"| `{setting.key}` | {takes} | {default} | {setting.applies} | {setting.description} |")
    return "\n".join(rows) + "\n"


def accepted(setting: Setting) -> str:
    """The values a setting takes, in words: ``integer ≥ 1 tokens, or none``."""
    words = [_words(setting.annotation), setting.unit, f"({setting.takes})" if setting.takes != "value" else ""]
    return " ".join(filter(None, words)) + (", or none" if setting.optional else "")


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
        return _words(inner)
    names = {int: "integer", float: "number", bool: "true or false", str: "text", Path: "path", SecretStr: "secret"}
    return names[annotation]


def _limits(constraint: Any) -> list[str]:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return [
        f"{sign} {getattr(part, name):g}"
        for part in getattr(constraint, "metadata", [constraint])
        for name, sign in signs.items()
        if hasattr(part, name)
    ]


if __name__ == "__main__":
    sys.stdout.write(settings_table())
