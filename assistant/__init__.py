"""Conversations, and answers with checked citations, over your own documents."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config.generation import Change, GenerationRecord, ReloadResult
    from ..config.generations import UnknownVariant
    from ..config.load import LoadedSettings
    from ..config.schema import Settings
    from ..config.watch import WatchState
    from .assistant import Assistant
    from .converse import SpokenConversation
    from .errors import AssistantError, EmptyQuestion, QuestionTooLong, UnknownConversation
    from .experiment import VariantReport
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
    "Change",
    "Citation",
    "ConversationEvent",
    "EmptyQuestion",
    "GenerationRecord",
    "Interrupted",
    "LoadedSettings",
    "Paused",
    "QuestionTooLong",
    "ReloadResult",
    "Resumed",
    "Retrieved",
    "Settings",
    "Speaking",
    "SpeechFailed",
    "Spoken",
    "SpokenConversation",
    "SpokenEvent",
    "TextDelta",
    "UnknownConversation",
    "UnknownVariant",
    "VariantReport",
    "WatchState",
]

_MODULES = {
    "Assistant": ".assistant",
    "AssistantError": ".errors",
    "Change": "..config.generation",
    "EmptyQuestion": ".errors",
    "GenerationRecord": "..config.generation",
    "LoadedSettings": "..config.load",
    "QuestionTooLong": ".errors",
    "ReloadResult": "..config.generation",
    "Settings": "..config.schema",
    "SpokenConversation": ".converse",
    "UnknownConversation": ".errors",
    "UnknownVariant": "..config.generations",
    "VariantReport": ".experiment",
    "WatchState": "..config.watch",
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
