"""Who speaks: questions become answers, answers become speech, and speech during an answer may end it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ..model.errors import ModelError
from ..rag.analysis import detect_language
from ..rag.errors import RagError
from ..voice.barge_in import BargeIn, own_words
from ..voice.speakable import Sentence, SpeakableSentences
from ..voice.speaking import Speaker
from ..voice.values import EndOfTurn, Final, Partial, SpeechStarted, VoiceEvent, samples
from .errors import AssistantError
from .spoken import (
    Answered,
    AnswerFailed,
    Asked,
    ConversationEvent,
    Exchange,
    Interrupted,
    Paused,
    Resumed,
    Speaking,
    SpeechFailed,
    Spoken,
)
from .values import AnswerReady, Retrieved, TextDelta
from .voice_setup import VoiceSetup
from .wording import after_stopping

if TYPE_CHECKING:
    from .assistant import Assistant

_ECHO_BEFORE = 4.0
"""What was said in so many seconds, and is said in the next one, may come back through the microphone."""
_ECHO_BEHIND = 1.0
_LANGUAGE_WORDS = 6
"""In fewer words than these no language is recognised; they are spoken in that of the question."""


class TurnTaking:
    """Heeds the events of one stream and the time that passes in it. To be used in one event loop.

    ``emit`` is given every event of the conversation, in order, and an exception where an answer failed unexpectedly.
    """

    def __init__(
        self,
        assistant: Assistant,
        setup: VoiceSetup,
        speaker: Speaker | None,
        collection: str | None,
        conversation: str,
        emit: Callable[[ConversationEvent | BaseException], None],
    ) -> None:
        self._assistant, self._speaker = assistant, speaker
        self._setup = self._next_setup = setup
        """Of the latest answer, which keeps it, and of the next one."""
        self._collection, self._conversation = collection, conversation
        self._emit = emit
        self._policy = BargeIn(setup.settings.voice)
        self._exchange: Exchange | None = None
        self._answer_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping = asyncio.Lock()
        self._now = 0
        self._finals: dict[int, str] = {}
        self._meanwhile: dict[int, bool] = {}
        """Utterances that began during an answer and go on, and whether it may be interrupted."""
        self._dismissed: set[int] = set()
        """Those of them that nobody meant for the assistant."""
        self._unanswered: Exchange | None = None
        """The last exchange, if it was interrupted before anything of its answer was heard."""
        self._leaving = False

    @property
    def answering(self) -> bool:
        """An answer is being written or spoken."""
        return self._exchange is not None and not self._exchange.over

    @property
    def _voice(self) -> Speaker | None:
        """The speaker, where the latest answer is spoken."""
        return self._speaker if self._setup.synthesizer is not None else None

    def adopt(self, setup: VoiceSetup) -> None:
        """The next answer goes by ``setup``: when it may be interrupted, and what speaks it."""
        self._next_setup = setup

    def heed(self, event: VoiceEvent) -> None:
        """Something was heard."""
        self._emit(event)
        if isinstance(event, SpeechStarted):
            if self.answering:
                self._meanwhile[event.utterance] = self._setup.settings.voice.barge_in
                if self._policy.heard_speech(event) == "pause":
                    self._pause()
        elif isinstance(event, Partial | Final):
            self._heed_words(event)
        elif isinstance(event, EndOfTurn):
            self._end_turn(event)

    def pass_time(self, count: int) -> None:
        """``count`` samples of the stream have passed."""
        self._now += count
        if self._speaker is not None:
            self._speaker.advance(count)
        self._progress()
        if self.answering and self._policy.at(self._now) == "resume":
            self._resume()

    def stop(self) -> None:
        """End the answer under way, if there is one, where it was heard to."""
        exchange = self._exchange
        if exchange is None or exchange.over:
            return
        self._progress()
        heard = len(exchange.text)
        if self._voice is not None:
            spoken = not self._voice.failed
            position = self._voice.stop()
            heard = position if spoken else heard
        exchange.stop(heard)
        soon = self._now - exchange.speech_end <= samples(self._setup.settings.voice.endpoint_max_seconds)
        self._unanswered = exchange if heard == 0 and soon else None
        self._policy.began()
        self._emit(Interrupted(exchange.turn, self._now, exchange.text[:heard].rstrip()))
        self._start(self._keep(exchange))

    async def until_ready(self, count: int) -> None:
        """Wait until the answer under way has speech for ``count`` samples, as if to make it took no time."""
        while (exchange := self._exchange) is not None and not exchange.over:
            if self._voice is None or self._voice.failed:
                ready = exchange.written
            else:
                owed = not exchange.written and not self._voice.holds(count)
                ready = not owed and await asyncio.to_thread(self._voice.wait_until_ready, count, 1.0)
            if ready:
                return
            await asyncio.sleep(0.002)

    async def leave(self) -> None:
        """End the answer under way, begin no other, and wait for what is kept of it."""
        self._leaving = True
        self.stop()
        await self.settle()

    async def settle(self) -> None:
        """Wait until nothing is being written any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    # What is heard

    def _heed_words(self, event: Partial | Final) -> None:
        spoken = self._voice.around(_ECHO_BEFORE, _ECHO_BEHIND) if self._voice is not None else ""
        if isinstance(event, Final):
            self._finals[event.utterance] = event.text
            if event.utterance in self._meanwhile:
                may_interrupt = self._meanwhile.pop(event.utterance)
                own = own_words([word.text for word in event.words], spoken)
                if not (own and may_interrupt):
                    self._dismissed.add(event.utterance)
        if self.answering:
            decision = self._policy.heard_words(event, spoken)
            if decision == "stop":
                self.stop()
            elif decision == "resume":
                self._resume()

    def _end_turn(self, event: EndOfTurn) -> None:
        """Ask what was said, unless nobody meant it for the assistant or it only ends an answer."""
        said = [(utterance, self._finals.pop(utterance, "")) for utterance in event.utterances]
        question = event.text
        if self._dismissed.intersection(event.utterances):
            question = " ".join(text for utterance, text in said if text and utterance not in self._dismissed)
        self._dismissed.difference_update(event.utterances)
        question = after_stopping(question)
        if self._leaving or not question:
            return
        self.stop()
        if (before := self._unanswered) is not None:
            # The speaker had only paused for breath, and nothing of the answer has been heard.
            question = f"{before.question} {question}"
        exchange = Exchange(event.turn, question, event.language, event.speech_end)
        self._unanswered, self._exchange, self._setup = None, exchange, self._next_setup
        self._policy = BargeIn(self._setup.settings.voice)
        self._answer_task = self._start(self._answer(exchange, self._answer_task))

    # Answering

    async def _answer(self, exchange: Exchange, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        if exchange.over:
            return
        self._policy.began()
        if self._speaker is not None:
            self._speaker.adopt(self._setup.synthesizer, self._setup.settings.voice.speech_ahead_seconds)
            self._speaker.begin()
        self._emit(Asked(exchange.turn, exchange.question, exchange.language))
        try:
            await self._write(exchange)
        except (AssistantError, RagError, ModelError) as error:
            self._emit(AnswerFailed(exchange.turn, str(error)))
        finally:
            exchange.written = True
            if self._voice is not None and not exchange.over:
                self._voice.finish()
            self._progress()

    async def _write(self, exchange: Exchange) -> None:
        sentences = SpeakableSentences()
        stream = self._assistant.stream_async(
            exchange.question, self._collection, conversation=self._conversation, keep=False, cancel=exchange.cancel
        )
        async for event in stream:
            if isinstance(event, Retrieved):
                exchange.searched = event.question
            if isinstance(event, AnswerReady):
                await self._keep(exchange, event)
            if exchange.over:
                continue
            self._emit(event)
            if isinstance(event, TextDelta):
                exchange.text += event.text
                self._say(sentences.push(event.text), exchange)
        if not exchange.over:
            self._say(sentences.finish(), exchange)

    def _say(self, sentences: list[Sentence], exchange: Exchange) -> None:
        if self._voice is None:
            return
        for sentence in sentences:
            own = detect_language(sentence.text) if len(sentence.words) >= _LANGUAGE_WORDS else None
            self._voice.say(sentence, own or exchange.language or self._setup.settings.voice.language or "en")

    def _progress(self) -> None:
        """Tell what of the answer was heard by now."""
        exchange = self._exchange
        if exchange is None or exchange.over:
            return
        if self._voice is not None:
            if not exchange.sounding and self._voice.sounding:
                exchange.sounding = True
                self._emit(Speaking(exchange.turn, self._now))
            for sentence in self._voice.take_heard():
                self._emit(Spoken(exchange.turn, self._now, sentence.text))
            if (reason := self._voice.take_failure()) is not None:
                self._emit(SpeechFailed(reason))
        if exchange.written and (self._voice is None or self._voice.done):
            exchange.over = True
            self._emit(Answered(exchange.turn, self._now))

    def _pause(self) -> None:
        if self._voice is not None and self._exchange is not None:
            self._voice.pause()
            self._emit(Paused(self._exchange.turn, self._now))

    def _resume(self) -> None:
        if self._voice is not None and self._exchange is not None:
            self._voice.resume()
            self._emit(Resumed(self._exchange.turn, self._now))

    async def _keep(self, exchange: Exchange, ready: AnswerReady | None = None) -> None:
        """Write the exchange to the conversation's store; an answer is given even where that fails."""
        async with self._keeping:
            store = self._assistant.conversations
            try:
                await asyncio.to_thread(exchange.keep, store, self._conversation, ready and ready.answer)
            except AssistantError as error:
                self._emit(AnswerFailed(exchange.turn, str(error)))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` beside everything else; should it fail, that is told."""

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._emit(error)

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(done)
        return task
