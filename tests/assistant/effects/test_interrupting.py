"""When speech interrupts the next answer after each change: recordings, and a voice of beeps, in virtual time."""

from __future__ import annotations

import pytest

from capibara.assistant import Assistant
from capibara.assistant.spoken import Answered, ConversationEvent, Interrupted, Paused, Resumed
from capibara.voice import VirtualSink

from ...voice.beeper import Beeper
from ...voice.recorded import KnownRecordings, audio
from .observing import Changes, observes
from .talking import only, talk

COST = "How much does a night in Casa Garza"
STOP = "Stop, I want"
KEY = "Where does the key"
SECOND = 16_000


def disturbed(assistant: Assistant, change, by: str, *knows: str) -> list[ConversationEvent]:
    """A question whose answer is disturbed, once before and once after ``change``."""
    sound = audio(0.5, COST, 2.5, by, 9.0)
    return talk(
        assistant,
        *(sound, change, sound),
        sink=VirtualSink(),
        synthesizer=Beeper(),
        listening=KnownRecordings(COST, *knows),
    )


def pauses(events: list[ConversationEvent], end: type[Interrupted] | type[Resumed]) -> list[float]:
    """Seconds from each pause to what ended it."""
    return [
        (ended.sample - paused.sample) / SECOND
        for paused, ended in zip(only(Paused, events), only(end, events), strict=True)
    ]


@observes("voice.barge_in")
def test_an_answer_is_interrupted_only_where_that_is_set(assistant: Assistant, change: Changes):
    """What interrupts it is a question too, which is answered, unless nobody may interrupt."""
    events = disturbed(assistant, lambda: change(assistant, {"voice.barge_in": False}), STOP, STOP)
    assert len(only(Paused, events)) == len(only(Interrupted, events)) == 1
    assert only(Interrupted, events)[0].turn == 1
    assert len(only(Answered, events)) == 2


@observes("voice.barge_in_wait_seconds")
def test_a_paused_answer_goes_on_when_no_words_came_for_so_long(assistant: Assistant, change: Changes):
    events = disturbed(assistant, lambda: change(assistant, {"voice.barge_in_wait_seconds": 0.5}), KEY)
    assert pauses(events, Resumed) == pytest.approx([2.0, 0.5], abs=0.06)


@observes("voice.barge_in_words", "voice.barge_in_speech_seconds")
@pytest.mark.parametrize(("key", "value"), [("voice.barge_in_words", 2), ("voice.barge_in_speech_seconds", 0.3)])
def test_an_answer_ends_after_so_many_words_or_so_much_speech(
    assistant: Assistant, change: Changes, key: str, value: float
):
    change(assistant, {"voice.barge_in_words": 10, "voice.barge_in_speech_seconds": 10.0})
    events = disturbed(assistant, lambda: change(assistant, {key: value}), STOP, STOP)
    late, soon = pauses(events, Interrupted)
    assert late > 1.5
    assert soon < 1.0
