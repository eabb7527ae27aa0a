"""What a request may take after each change."""

from __future__ import annotations

import contextlib
import threading

import pytest

from capibara.assistant import AnswerReady, Assistant, Retrieved
from capibara.assistant.errors import QuestionTooLong

from .observing import PATIENCE, Changes, observes, until
from .test_answers import KEY


@observes("limits.question_characters")
def test_a_question_longer_than_is_set_is_refused(assistant: Assistant, change: Changes):
    assert assistant.ask(KEY).citations
    change(assistant, {"limits.question_characters": 20})
    with pytest.raises(QuestionTooLong, match=r"limits\.question_characters allows 20"):
        assistant.ask(KEY)
    with pytest.raises(QuestionTooLong):
        assistant.search(KEY)


@observes("limits.request_seconds")
def test_a_request_that_takes_longer_than_is_set_is_stopped_and_says_so(assistant: Assistant, change: Changes):
    whole = assistant.ask(KEY)
    change(assistant, {"limits.request_seconds": 1e-6})
    stopped = assistant.ask(KEY)
    assert (whole.finish_reason, stopped.finish_reason) == ("stop", "cancelled")
    assert "stopped after 1e-06 s (limits.request_seconds)" in stopped.degraded


class Looked(threading.Event):
    """A caller's wish to stop, which notes that somebody looks at it."""

    looked_at = False

    def is_set(self) -> bool:
        self.looked_at = True
        return super().is_set()


def test_a_request_that_waits_keeps_the_time_it_began_with(assistant: Assistant, change: Changes):
    change(assistant, {"limits.request_seconds": 0.5, "limits.concurrent_requests": 1})
    first = assistant.stream(KEY)
    next(first)
    answers, cancel = [], Looked()
    second = threading.Thread(target=lambda: answers.append(assistant.ask(KEY, cancel=cancel)))
    second.start()
    until(lambda: cancel.looked_at)
    assistant.revert("limits.request_seconds")
    second.join(PATIENCE)
    first.close()
    assert (answers[0].text, answers[0].finish_reason) == ("", "cancelled")
    assert answers[0].degraded == ("stopped after 0.5 s (limits.request_seconds)",)


@pytest.mark.parametrize("waiting", [1, 3])
def test_requests_that_are_cancelled_while_they_wait_do_no_work(assistant: Assistant, change: Changes, waiting: int):
    change(assistant, {"limits.concurrent_requests": 1})
    conversation = assistant.start_conversation()
    with contextlib.closing(assistant.stream(KEY)) as first:
        next(first)
        counted = assistant.variants()
        cancel, events = Looked(), []
        threads = [
            threading.Thread(
                target=lambda: events.append([*assistant.stream(KEY, conversation=conversation, cancel=cancel)])
            )
            for _ in range(waiting)
        ]
        for thread in threads:
            thread.start()
        until(lambda: cancel.looked_at)
        cancel.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert len(events) == waiting
    for [ready] in events:
        assert isinstance(ready, AnswerReady)
        assert (ready.answer.text, ready.answer.finish_reason) == ("", "cancelled")
        assert (ready.answer.degraded, ready.answer.conversation) == ((), conversation)
        assert set(ready.answer.timings) == {"total"}
    assert assistant.variants() == counted
    assert assistant.conversations.turns(conversation) == []


def test_a_stream_that_is_closed_gives_its_place_back(assistant: Assistant, change: Changes):
    change(assistant, {"limits.concurrent_requests": 1})
    stream = assistant.stream(KEY)
    next(stream)
    stream.close()
    assert assistant.ask(KEY).finish_reason == "stop"


@observes("limits.concurrent_requests")
def test_a_request_beyond_those_that_are_set_waits_until_another_is_over(assistant: Assistant, change: Changes):
    with_room = [assistant.stream(KEY), assistant.stream(KEY)]
    assert [isinstance(next(stream), Retrieved) for stream in with_room] == [True, True]
    for stream in with_room:
        stream.close()
    change(assistant, {"limits.concurrent_requests": 1})
    first = assistant.stream(KEY)
    next(first)
    events = []
    second = threading.Thread(target=lambda: events.extend(assistant.stream(KEY)))
    second.start()
    second.join(0.3)
    assert events == []
    first.close()
    second.join(PATIENCE)
    assert isinstance(events[-1], AnswerReady)
