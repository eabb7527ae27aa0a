"""Brings a value of an old file into the range of today's setting, or says why it cannot be carried over."""

from __future__ import annotations

import math
from typing import Any

from pydantic import ValidationError

from .keys import Setting
from .migrate_legacy import Lost
from .sources import Entry, Origin
from .values import checked, shown, value_problems

_LIMITS = {"greater_than_equal": ("ge", "smallest"), "less_than_equal": ("le", "largest")}


def fitted(path: tuple[str, ...], value: Any, setting: Setting) -> tuple[Any, str]:
    """The value to write, and what had to be done to it ("" where nothing had).

    Raises:
        Lost: it has the wrong type, or lies beyond a limit that is itself not allowed.
    """
    try:
        return value, _check(path, value, setting)
    except ValidationError as error:
        if setting.number_or_flag and isinstance(value, str):
            return _from_text(path, value, setting)
        if isinstance(value, float) and value.is_integer() and _is_type_error(error):
            return fitted(path, int(value), setting)[0], f"was {shown(value)}: a whole number today"
        return _clamped(path, value, setting, error)


def _check(path: tuple[str, ...], value: Any, setting: Setting, *, is_text: bool = False) -> str:
    checked(Entry(path, value, Origin("file"), is_text=is_text), setting)
    return ""


def _from_text(path: tuple[str, ...], text: str, setting: Setting) -> tuple[Any, str]:
    entry = Entry(path, text, Origin("file"), is_text=True)
    try:
        return checked(entry, setting), "was text"
    except ValidationError as error:
        return _clamped(path, text, setting, error)


def _clamped(path: tuple[str, ...], value: Any, setting: Setting, error: ValidationError) -> tuple[Any, str]:
    detail = error.errors(include_url=False)[0]
    limit = _LIMITS.get(detail["type"])
    number = math.nan if setting.structured else _number(value)
    if limit is None or math.isnan(number):
        problem = value_problems(Entry(path, value, Origin("file")), setting, error)[0]
        raise Lost(problem.message)
    name, word = limit
    allowed = detail.get("ctx", {})[name]
    return allowed, f"was {shown(value)}: {shown(allowed)} is the {word} allowed"


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _is_type_error(error: ValidationError) -> bool:
    return error.errors()[0]["type"] == "int_type"
