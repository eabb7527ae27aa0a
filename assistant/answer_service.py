"""Serves questions: a place among those at work, one snapshot of settings, an answer, its turn in the conversation."""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections.abc import Generator

from ..config.generation import Snapshot
from ..config.live import LiveSettings
from ..rag.library import Library
from .conversations import ConversationStore
from .errors import AssistantError
from .experiment import Experiment
from .limits import ConcurrencyLimit, StopSignal, words_of
from .values import Answer, AnswerEvent, AnswerReady


class AnswerService:
    """Answers questions over one library with the settings of the moment each begins. Thread-safe."""

    def __init__(
        self, library: Library, conversations: ConversationStore, live: LiveSettings, experiment: Experiment
    ) -> None:
        """``experiment`` counts the requests that got a place."""
        self._library, self._conversations = library, conversations
        self._live = live
        self._experiment = experiment
        self._places = ConcurrencyLimit(lambda: live.snapshot.settings.limits.concurrent_requests)

    def stream(
        self,
        question: str,
        collection: str | None,
        *,
        conversation: str | None,
        keep: bool,
        variant: str | None,
        cancel: threading.Event | None,
    ) -> Generator[AnswerEvent]:
        """See `Assistant.stream`."""
        began = time.perf_counter()
        stop = StopSignal(cancel, self._live.snapshot.settings.limits.request_seconds)
        with self._places.entered(stop) as entered:
            if not entered:
                timings = {"total": time.perf_counter() - began}
                kept_in = conversation if keep else None
                answer = Answer("", question, finish_reason="cancelled", timings=timings, conversation=kept_in)
                yield AnswerReady(_with_time_noted(answer, stop))
                return
            with self._live.pin(conversation, variant) as seen:
                self._experiment.began(seen.variant)
                try:
                    for event in self._answered(question, collection, conversation, seen, stop):
                        if isinstance(event, AnswerReady):
                            self._experiment.answered(seen.variant, event.answer)
                            if conversation and keep:
                                event = self._kept(conversation, question, event.answer)
                        yield event
                except Exception:
                    self._experiment.failed(seen.variant)
                    raise

    def _answered(
        self, question: str, collection: str | None, conversation: str | None, seen: Snapshot, stop: StopSignal
    ) -> Generator[AnswerEvent]:
        from .answering import Answerer
        from .extraction import answers_alone

        settings = seen.settings
        words = words_of(question, settings.limits)
        history = self._conversations.turns(conversation, settings.assistant.history_turns) if conversation else []
        model = functools.cache(seen.parts["language"].request)  # one answer, one try at loading
        parts = seen.parts["search"].open()
        if history or not answers_alone(settings, parts):
            model()  # loads while passages are searched for; the answerer waits only where it needs it
        answerer = Answerer(self._library, parts, model, settings)
        if collection is None:
            collection = self._conversations.collection(conversation) if conversation else settings.assistant.collection
        for event in answerer.stream(words, collection, history, stop):
            yield AnswerReady(_with_time_noted(event.answer, stop)) if isinstance(event, AnswerReady) else event

    def _kept(self, conversation: str, question: str, answer: Answer) -> AnswerReady:
        """Add the turn to its conversation; an answer is given even where it cannot be kept."""
        answer = dataclasses.replace(answer, conversation=conversation)
        if answer.finish_reason == "cancelled":
            return AnswerReady(answer)
        try:
            self._conversations.append(conversation, question, answer)
        except AssistantError as error:
            answer = dataclasses.replace(answer, degraded=(*answer.degraded, str(error)))
        return AnswerReady(answer)


def _with_time_noted(answer: Answer, stop: StopSignal) -> Answer:
    if not stop.out_of_time:
        return answer
    note = f"stopped after {stop.seconds:g} s (limits.request_seconds)"
    return dataclasses.replace(answer, degraded=(*answer.degraded, note))
