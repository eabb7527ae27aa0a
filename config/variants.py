"""Assigns requests to the variants of the settings, so that two of them can be served side by side and compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from .schema import VariantSettings

DEFAULT = "default"
"""The variant of those who get no other."""


def assign(variants: Mapping[str, VariantSettings], unit: str) -> str:
    """The variant of ``unit``, such as a conversation's id: always the same one while the shares stay."""
    drawn = int.from_bytes(hashlib.sha256(unit.encode()).digest()[:8]) / 2**64
    for name, variant in sorted(variants.items()):
        if drawn < variant.share:
            return name
        drawn -= variant.share
    return DEFAULT
