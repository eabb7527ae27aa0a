"""What settings, and some of their values, were called in earlier versions of the schema."""

from __future__ import annotations

from typing import Any

RENAMED: dict[int, dict[str, str]] = {2: {"hub_token": "keys.hub"}}
"""By the schema version that renamed them: the dotted key before, and the one since."""

REVALUED: dict[int, dict[str, dict[Any, Any]]] = {3: {"assistant.answer_style": {"evidence": "quote"}}}
"""By the schema version that renamed them: for a dotted key, a value before, and the one since."""


def moved_to(key: str) -> str | None:
    """Today's name of a ``key`` of an earlier version; None: no version had it under this name."""
    found = None
    for version in sorted(RENAMED):
        if (found or key) in RENAMED[version]:
            found = RENAMED[version][found or key]
    return found


def value_now(key: str, value: Any) -> Any:
    """Today's name of a ``value`` of ``key``; itself, where no version renamed it."""
    for version in sorted(REVALUED):
        renamed = REVALUED[version].get(key, {})
        value = renamed.get(value, value) if isinstance(value, str) else value
    return value
