"""One value: checked against its setting, and shown as TOML would have it, with secrets masked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr, TypeAdapter, ValidationError

from .errors import Problem
from .keys import Setting, dotted
from .sources import Entry

_LONGEST_TOLD = 100
_MOST_BITS = 1000


def checked(entry: Entry, setting: Setting) -> Any:
    """The entry's value in the setting's type; text is converted, everything else must have the right type.

    Raises:
        pydantic.ValidationError: it does not fit; see `value_problems`.
    """
    if setting.optional and entry.value in ("none", None):
        return None
    strict = setting.number_or_flag and not entry.is_text
    value = TypeAdapter(setting.annotation).validate_python(entry.value, strict=strict)
    if isinstance(value, Path):
        value = value.expanduser()
        return entry.folder / value if entry.folder else value
    if setting.takes == "file or name" and value.startswith(("./", "../", "~/")):
        path = Path(value).expanduser()
        return str(entry.folder / path if entry.folder else path)
    return value


def value_problems(entry: Entry, setting: Setting, error: ValidationError) -> list[Problem]:
    """What is wrong with the entry's value, in the words of a TOML file; a secret is not shown."""
    problems = []
    for detail in error.errors(include_url=False):
        element = tuple(part for part in detail["loc"] if isinstance(part, int))
        name = dotted(entry.path) + "".join(f"[{index}]" for index in element)
        if detail["type"] == "literal_error":
            rule = _choice_rule(setting, entry.value)
        else:
            rule = detail["msg"].replace("Input should be", "must be").split(", unable to")[0]
            rule = rule.removeprefix("Value error, ").replace("a valid tuple", "a list")
            rule += "" if setting.secret else f", not {_cut(shown(detail['input']))}"
        problems.append(Problem(entry.place(element), f"{name} {rule}"))
    return problems


def shown(value: Any) -> str:
    """``value`` as it would be written in TOML; a secret is masked, and nothing at all is ``none``."""
    match value:
        case None:
            return "none"
        case SecretStr():
            return '"**********"'
        case bool():
            return str(value).lower()
        case str() | Path():
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        case list() | tuple():
            return "[" + ", ".join(map(shown, value)) + "]"
        case Mapping():
            return "a table"
        case int() if value.bit_length() > _MOST_BITS:  # Python refuses to write it out
            return "a number of more than 300 digits"
    return str(value)


def _cut(text: str) -> str:
    """A value is told to be recognised, not to be read."""
    return text if len(text) <= _LONGEST_TOLD else text[: _LONGEST_TOLD - 1] + "…"


def _choice_rule(setting: Setting, given: Any) -> str:
    choices = [str(choice) for choice in get_args(setting.annotation)]
    close = difflib.get_close_matches(str(given), choices, n=1)
    *others, last = map(shown, choices)
    rule = f"must be {', '.join(others)} or {last}, not {_cut(shown(given))}"
    return rule + (f"; did you mean {shown(close[0])}?" if close else "")
