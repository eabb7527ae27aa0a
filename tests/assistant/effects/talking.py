"""Spoken conversations whose settings change at a moment of the audio, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import numpy as np

from capibara.assistant import Assistant
from capibara.assistant.spoken import ConversationEvent
from capibara.voice.values import samples

from ...voice.recorded import FOLDER

SPEECH_MODEL = FOLDER.parent / "model"
Step = np.ndarray | float | Callable[[], object]
"""Audio, seconds of silence, or something to do between two blocks of audio."""
Kind = TypeVar("Kind")


def talk(assistant: Assistant, *steps: Step, **options: Any) -> list[ConversationEvent]:
    """The events of a conversation over ``steps``; ``options`` are those of `Assistant.converse`."""

    async def audio() -> AsyncIterator[np.ndarray]:
        for step in steps:
            if callable(step):
                await asyncio.to_thread(step)
            elif isinstance(step, np.ndarray):
                yield step
            else:
                yield np.zeros(samples(float(step)), np.float32)

    async def run() -> list[ConversationEvent]:
        return [event async for event in assistant.converse(audio(), **{"live": False, **options})]

    return asyncio.run(run())


def only(kind: type[Kind], events: list[ConversationEvent]) -> list[Kind]:
    return [event for event in events if isinstance(event, kind)]
