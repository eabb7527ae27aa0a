"""Conversations, and answers with checked citations, over your own documents."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config.load import LoadedSettings
    from ..config.schema import Settings
    from .assistant import Assistant
    from .errors import AssistantError
    from .values import Answer, AnswerEvent, AnswerReady, AnswerUsage, Citation, Retrieved, TextDelta

__all__ = [
    "Answer",
    "AnswerEvent",
    "AnswerReady",
    "AnswerUsage",
    "Assistant",
    "AssistantError",
    "Citation",
    "LoadedSettings",
    "Retrieved",
    "Settings",
    "TextDelta",
]

_MODULES = {
    "Assistant": ".assistant",
    "AssistantError": ".errors",
    "LoadedSettings": "..config.load",
    "Settings": "..config.schema",
}


def __getattr__(name: str) -> object:
    """Import public names when they are first used, so that ``capibara --help`` stays quick."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, ".values"), __name__), name)
