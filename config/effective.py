"""Every effective setting with where it came from, fit to be shown: secrets are masked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from .keys import dotted
from .load import LoadedSettings, key_paths, value_at
from .sources import Origin
from .values import shown


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """One row: ``value`` fits into JSON, ``text`` is the value as TOML would have it."""

    key: str
    value: Any
    text: str
    origin: Origin


def effective(loaded: LoadedSettings) -> tuple[EffectiveSetting, ...]:
    """All settings in the schema's order."""
    rows = []
    for path in key_paths(loaded.settings):
        value = value_at(loaded.settings, path)
        rows.append(EffectiveSetting(dotted(path), _plain(value), shown(value), loaded.origins[dotted(path)]))
    return tuple(rows)


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return "**********"
    if isinstance(value, tuple):
        return [_plain(element) for element in value]
    return str(value) if isinstance(value, Path) else value
