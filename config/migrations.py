"""What settings were called in earlier versions of the schema."""

from __future__ import annotations

RENAMED: dict[int, dict[str, str]] = {2: {"hub_token": "keys.hub"}}
"""By the schema version that renamed them: the dotted key before, and the one since."""


def moved_to(key: str) -> str | None:
    """Today's name of a ``key`` of an earlier version; None: no version had it under this name."""
    found = None
    for version in sorted(RENAMED):
        if (found or key) in RENAMED[version]:
            found = RENAMED[version][found or key]
    return found
