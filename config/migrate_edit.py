"""Writes what a migration found: into the old text, comments and order kept, or as a new file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .keys import dotted
from .positions import key_lines
from .schema import SCHEMA_VERSION
from .toml_edit import with_value, without_key

if TYPE_CHECKING:
    from .migrate import Step


def fresh(source: str, steps: Sequence[Step]) -> str:
    """A new file with what ``steps`` carry over, in their order."""
    text = f"# Made from {source} by `capibara config migrate`.\nschema_version = {SCHEMA_VERSION}\n"
    for step in steps:
        if step.path is not None:
            text = with_value(text, step.path, step.new)
    return text


def edited(text: str, steps: Sequence[Step]) -> str:
    """``text`` with what ``steps`` change."""
    for step in steps:
        if step.path is None:
            text = without_key(text, step.source) if _has(text, step.source) else text
        elif step.path != step.source:
            text = _moved(_renamed(text, step), step)
        elif step.new != step.old:
            text = with_value(text, step.path, step.new)
    return text if _has(text, ("schema_version",)) else _with_version(text)


def _with_version(text: str) -> str:
    """``text`` with the schema's version on top, where it comes between no comment and what that is about."""
    first, newline, rest = text.partition("\n")
    version = f"schema_version = {SCHEMA_VERSION}\n"
    return f"{first}\n{version}{rest}" if newline and first.startswith("#:") else f"{version}{text}"


def _renamed(text: str, step: Step) -> str:
    """``text`` with another name for a key of the top level, on its line, where TOML allows a dotted one there."""
    assert step.path is not None
    if step.path == step.source or len(step.source) != 1 or step.path[0] in tomllib.loads(text):
        return text
    lines = text.split("\n")
    at = key_lines(text)[step.source] - 1
    name = re.escape(step.source[0])
    lines[at], found = re.subn(
        rf"^(\s*)(?:{name}|\"{name}\"|'{name}')(\s*=)", rf"\g<1>{dotted(step.path)}\2", lines[at]
    )
    return "\n".join(lines) if found else text


def _moved(text: str, step: Step) -> str:
    """``text`` with the key in its new table, unless it has got there by its new name."""
    assert step.path is not None
    if _has(text, step.source):
        text = without_key(text, step.source)
    elif step.new == step.old:
        return text
    return with_value(text, step.path, step.new)


def _has(text: str, path: Sequence[str]) -> bool:
    tree: Any = tomllib.loads(text)
    for name in path:
        if not isinstance(tree, dict) or name not in tree:
            return False
        tree = tree[name]
    return True
