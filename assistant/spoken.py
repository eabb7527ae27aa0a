"""The events of a spoken conversation beside those of listening and answering, and one exchange of it."""

from __future__ import annotations

import dataclasses
import re
import threading
from dataclasses import dataclass

from ..voice.values import VoiceEvent
from .conversations import ConversationStore
from .values import Answer, AnswerEvent, Citation

_MARKER = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Asked:
    """What was said is a question, and is being answered. ``turn`` numbers what the speaker said."""

    turn: int
    question: str
    language: str


@dataclass(frozen=True, slots=True)
class Speaking:
    """The answer to ``turn`` begins to be heard. ``sample``: of the stream, as in the events of listening."""

    turn: int
    sample: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence of the answer was heard to its end; ``text`` is what was said."""

    turn: int
    sample: int
    text: str


@dataclass(frozen=True, slots=True)
class Paused:
    """Somebody speaks: the answer waits."""

    turn: int
    sample: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """Nobody meant to interrupt: the answer goes on."""

    turn: int
    sample: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The answer has ended early; ``heard`` is what was heard of it, and all that the conversation keeps."""

    turn: int
    sample: int
    heard: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer was given, and heard, to its end."""

    turn: int
    sample: int


@dataclass(frozen=True, slots=True)
class AnswerFailed:
    """The question cannot be answered; the conversation goes on."""

    turn: int
    reason: str


@dataclass(frozen=True, slots=True)
class SpeechFailed:
    """The answer, or the rest of it, is not spoken; its text comes all the same."""

    reason: str


SpokenEvent = Asked | Speaking | Spoken | Paused | Resumed | Interrupted | Answered | AnswerFailed | SpeechFailed
ConversationEvent = VoiceEvent | AnswerEvent | SpokenEvent


class Exchange:
    """One question, and of its answer what was written, heard and kept."""

    def __init__(self, turn: int, question: str, language: str, speech_end: int) -> None:
        self.turn = turn
        self.question = question
        self.language = language
        self.speech_end = speech_end
        self.cancel = threading.Event()
        self.text = ""
        self.searched = question
        self.written = False
        """The answer is written to its end, or will not be."""
        self.sounding = False
        self.heard: int | None = None
        """Characters heard, where it was interrupted."""
        self.over = False
        self._answer: Answer | None = None
        self._number: int | None = None

    def stop(self, heard: int) -> None:
        """It was interrupted when so many characters were heard."""
        self.heard = heard
        self.over = True
        self.cancel.set()

    def keep(self, store: ConversationStore, conversation: str, answer: Answer | None = None) -> None:
        """Write to ``store`` what was heard, once the ``answer`` is there or has been cut short.

        Raises:
            AssistantError: it cannot be written.
        """
        self._answer = answer or self._answer
        if self.heard is None and self._answer is None:
            return
        whole = self._answer or Answer(self.text, self.searched, finish_reason="cancelled")
        text = whole.text if self.heard is None else self.text[: self.heard].rstrip()
        citations = whole.citations if self.heard is None else _cited_in(text, whole.citations)
        if self._number is None:
            heard = dataclasses.replace(whole, text=text, citations=citations)
            self._number = store.append(conversation, self.question, heard, interrupted=self.heard is not None)
        elif self.heard is not None:
            store.cut_short(conversation, self._number, text, citations)


def _cited_in(text: str, citations: tuple[Citation, ...]) -> tuple[Citation, ...]:
    markers = {int(marker) for marker in _MARKER.findall(text)}
    return tuple(citation for citation in citations if citation.marker in markers)
