"""Shows a spoken conversation: on a terminal as it goes on, or one JSON document for each event."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from ...voice.values import Final, Partial, seconds
from ..spoken import AnswerFailed, Asked, ConversationEvent, Interrupted, SpeechFailed
from ..values import AnswerReady, Retrieved, TextDelta
from .answers import ShownAnswer
from .live import LiveLine
from .output import note, plain, write_line
from .transcripts import metrics_document, rounded, words_document

if TYPE_CHECKING:
    from ..converse import SpokenConversation

_SAMPLES = ("sample", "start", "end", "speech_end")


class View(Protocol):
    """Where a conversation is shown."""

    heard_words: bool
    """Somebody spoke, and was understood."""

    def show(self, event: ConversationEvent) -> None: ...

    def end(self, conversation: SpokenConversation) -> None: ...


class TerminalView:
    """The question as it was asked, on a terminal also as it is understood; its answer as it is written; citations."""

    def __init__(self) -> None:
        self.heard_words = False
        self._live = LiveLine(in_pipe=False)
        self._answer: ShownAnswer | None = None
        self._any = False

    def show(self, event: ConversationEvent) -> None:
        if isinstance(event, Partial):
            if self._answer is None:  # its words would stand within those of the answer
                self._live.show(event.text)
        elif isinstance(event, Final):
            self.heard_words |= bool(event.words)
            if self._answer is None:
                self._live.clear()
        elif isinstance(event, Asked):
            self._end_answer(None)
            self._live.clear()
            if self._any:
                write_line()
            write_line(f"> {event.question}")
            self._any = True
        elif isinstance(event, TextDelta):
            self._answer = self._answer or ShownAnswer()
            self._answer.add(event.text)
        elif isinstance(event, AnswerReady):
            self._end_answer(event)
        elif isinstance(event, Interrupted):
            self._end_answer(None)
            self._live.clear()
            note("(interrupted)")
        elif isinstance(event, SpeechFailed):
            note(f"capibara: answers are shown, not spoken: {event.reason}")
        elif isinstance(event, AnswerFailed):
            self._end_answer(None)
            note(f"capibara: {event.reason}")

    def end(self, conversation: SpokenConversation) -> None:  # noqa: ARG002 -- its figures are for programs
        self._end_answer(None)
        self._live.clear()

    def _end_answer(self, ready: AnswerReady | None) -> None:
        if self._answer is not None or ready is not None:
            (self._answer or ShownAnswer()).finish(ready and ready.answer)
        self._answer = None


class JsonView:
    """Each event on a line: its kind as ``event``, times in seconds of the audio."""

    def __init__(self, stream: TextIO, conversation: str) -> None:
        self.heard_words = False
        self._stream, self._conversation = stream, conversation

    def show(self, event: ConversationEvent) -> None:
        if isinstance(event, Final):
            self.heard_words |= bool(event.words)
        if isinstance(event, AnswerReady):  # the answer itself does not know where it will be kept
            event = AnswerReady(dataclasses.replace(event.answer, conversation=self._conversation))
        self._write({"event": _kind(event), **_fields(event)})

    def end(self, conversation: SpokenConversation) -> None:
        metrics = conversation.metrics
        self._write(
            {
                "event": "end",
                "conversation": conversation.conversation,
                "metrics": None if metrics is None else metrics_document(metrics),
            }
        )

    def _write(self, document: dict[str, Any]) -> None:
        self._stream.write(json.dumps(rounded(document), ensure_ascii=False) + "\n")
        self._stream.flush()


def _kind(event: ConversationEvent) -> str:
    """``speech_started`` for `SpeechStarted`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()


def _fields(event: ConversationEvent) -> dict[str, Any]:
    if isinstance(event, Retrieved):
        return {"question": event.question, "passages": len(event.passages)}
    if isinstance(event, AnswerReady):
        return plain(event.answer)
    fields = plain(event)
    if isinstance(event, Partial | Final):
        fields["text"] = event.text
        for name in ("words", "committed", "tentative"):
            if name in fields:
                fields[name] = words_document(getattr(event, name))
    return {
        "at" if name == "sample" else name: seconds(value) if name in _SAMPLES else value
        for name, value in fields.items()
    }
