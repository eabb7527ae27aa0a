"""Values set while the program runs: kept flat, by dotted key, so that each can be undone alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import ConfigError, Problem
from .generation import is_under
from .keys import dotted
from .sources import leaves, split_key


def merged(overrides: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """``overrides`` with ``values`` over them; these may be nested or have dotted keys.

    Raises:
        ConfigError: a key is not written as one.
    """
    flat = dict(overrides)
    for key, value in values.items():
        try:
            path = split_key(key)
        except ValueError as error:
            raise ConfigError([Problem(f"runtime {key}", str(error))]) from error
        for leaf, given in leaves(value, path):
            flat[dotted(leaf)] = given
    return flat


def without(overrides: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """``overrides`` less those under ``keys``."""
    return {key: value for key, value in overrides.items() if not is_under(key, tuple(keys))}
