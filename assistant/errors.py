"""What can go wrong in this room; every message is one line that names the thing and the way out."""

from __future__ import annotations


class AssistantError(Exception):
    """Base of the room's errors."""


class EmptyQuestion(AssistantError):
    """The question holds no words."""


class QuestionTooLong(AssistantError):
    """The question is longer than the settings allow."""


class UnknownConversation(AssistantError):
    """No conversation has this id."""
