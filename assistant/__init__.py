"""Conversations, and answers with checked citations, over your own documents."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config.load import LoadedSettings
    from ..config.schema import Settings
    from .assistant import Assistant
    from .converse import SpokenConversation
    from .errors import AssistantError
    from .spoken import (
        Answered,
        AnswerFailed,
        Asked,
        ConversationEvent,
        Interrupted,
        Paused,
        Resumed,
        Speaking,
        SpeechFailed,
        Spoken,
        SpokenEvent,
    )
    from .values import Answer, AnswerEvent, AnswerReady, AnswerUsage, Citation, Retrieved, TextDelta

__all__ = [
    "Answer",
    "AnswerEvent",
    "AnswerFailed",
    "AnswerReady",
    "AnswerUsage",
    "Answered",
    "Asked",
    "Assistant",
    "AssistantError",
    "Citation",
    "ConversationEvent",
    "Interrupted",
    "LoadedSettings",
    "Paused",
    "Resumed",
    "Retrieved",
    "Settings",
    "Speaking",
    "SpeechFailed",
    "Spoken",
    "SpokenConversation",
    "SpokenEvent",
    "TextDelta",
]

_MODULES = {
    "Assistant": ".assistant",
    "AssistantError": ".errors",
    "LoadedSettings": "..config.load",
    "Settings": "..config.schema",
    "SpokenConversation": ".converse",
    "Answered": ".spoken",
    "AnswerFailed": ".spoken",
    "Asked": ".spoken",
    "ConversationEvent": ".spoken",
    "Interrupted": ".spoken",
    "Paused": ".spoken",
    "Resumed": ".spoken",
    "Speaking": ".spoken",
    "SpeechFailed": ".spoken",
    "Spoken": ".spoken",
    "SpokenEvent": ".spoken",
}


def __getattr__(name: str) -> object:
    """Import public names when they are first used, so that ``capibara --help`` stays quick."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, ".values"), __name__), name)
