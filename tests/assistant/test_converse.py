"""The conversation in virtual time: real gate, endpoint, retrieval and answers; recordings, and a voice of beeps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from capibara.assistant import Assistant
from capibara.assistant.spoken import (
    Answered,
    Asked,
    Interrupted,
    Paused,
    Resumed,
    Speaking,
    SpeechFailed,
    Spoken,
)
from capibara.assistant.values import AnswerReady, TextDelta
from capibara.assistant.wording import after_stopping
from capibara.voice.errors import AudioError
from capibara.voice.playback import VirtualSink
from capibara.voice.values import EndOfTurn, Final, Partial, samples

from ..voice.beeper import Beeper
from ..voice.recorded import KnownRecordings, audio, seconds_of

COST = "How much does a night in Casa Garza"
LIMIT = "What is the speed limit"
KEY = "Where does the key"
TIDE = "The tide covers"
STOP = "Stop, I want"
ANSWER = "“A night in Casa Garza costs 1,850 pesos per person, with breakfast.”"
SETTINGS = {"model.path": "/nowhere/model.gguf", "assistant.evidence_sentences": 1, "assistant.least_support": 0.3}
NOTE = """\
A night in Casa Garza costs 1,850 pesos per person, with breakfast.

The speed limit on El Terraplén is twenty because the tide covers the causeway in the evening, so nobody may drive to
the village before nine.

The key of the dry store hangs behind the kitchen door.

Ines Vega keeps the notebooks of the founder in the old workshop.
"""


@pytest.fixture(scope="module")
def assistant(tmp_path_factory) -> Iterator[Assistant]:
    folder = tmp_path_factory.mktemp("talk")
    (folder / "note.txt").write_text(NOTE)
    with Assistant.open(folder / "data", overrides=SETTINGS) as assistant:
        assistant.ingest(folder / "note.txt")
        yield assistant


class Sound:
    """A source of 16-bit samples; it may break off."""

    def __init__(self, samples: np.ndarray, breaks: bool = False) -> None:
        from capibara.voice.values import AudioFormat

        self.audio_format = AudioFormat()
        self._samples, self._breaks = samples, breaks
        self.closed = False

    def blocks(self):
        yield self._samples.tobytes()
        if self._breaks:
            raise AudioError("the microphone went away")

    def close(self) -> None:
        self.closed = True


def converse(assistant: Assistant, *parts, knows=(COST, LIMIT, KEY, TIDE, STOP), sink=None, **options):
    """The events of a conversation over ``parts``, and what the conversation's store holds of it afterwards."""
    talk = assistant.converse(
        Sound(audio(*parts)),
        sink if sink is not None else VirtualSink(),
        synthesizer=options.pop("synthesizer", None) or Beeper(),
        listening=KnownRecordings(*knows),
        **options,
    )

    async def run():
        return [event async for event in talk]

    events = asyncio.run(run())
    return events, assistant.conversations.turns(talk.conversation)


def only(events, *kinds):
    return [event for event in events if isinstance(event, kinds)]


def test_a_question_is_understood_answered_and_spoken(assistant):
    events, turns = converse(assistant, 0.5, COST, 8.0)
    [asked], [ready], [answered] = (only(events, kind) for kind in (Asked, AnswerReady, Answered))
    assert asked.question == "How much does a night in Casa Garza cost?"
    assert [spoken.text for spoken in only(events, Spoken)] == [ANSWER]
    assert "".join(delta.text for delta in only(events, TextDelta)) == ready.answer.text
    assert [citation.quote for citation in ready.answer.citations] == [NOTE.split("\n\n")[0]]
    [speaking], [end] = only(events, Speaking), only(events, EndOfTurn)
    assert speaking.sample - end.sample <= samples(0.2)
    assert answered.sample > speaking.sample
    assert [(turn.question, turn.answer, turn.interrupted) for turn in turns] == [
        (asked.question, ready.answer.text, False)
    ]


def test_speech_pauses_the_answer_and_words_end_it_where_it_was_heard(assistant):
    events, turns = converse(assistant, 0.5, COST, 2.5, STOP, 9.0)
    [paused], [interrupted] = only(events, Paused), only(events, Interrupted)
    confirmed = next(
        event
        for event in events[events.index(paused) :]
        if isinstance(event, Partial | Final) and len(event.words) >= 2
    )
    assert interrupted.sample - confirmed.sample <= samples(0.3)
    assert events.index(paused) < events.index(confirmed) < events.index(interrupted)
    assert turns[0].interrupted
    assert turns[0].answer == interrupted.heard
    assert ANSWER.startswith(turns[0].answer)
    assert 0 < len(turns[0].answer.split()) < 11
    assert turns[0].citations == ()
    assert turns[1].question == "I want to know who keeps the notebooks of the founder."
    assert "Ines Vega" in turns[1].answer
    assert not turns[1].interrupted


def test_what_was_heard_is_the_sound_that_was_played(assistant):
    events, turns = converse(assistant, 0.5, COST, 2.5, STOP, 9.0)
    [speaking, *_], [paused] = only(events, Speaking), only(events, Paused)
    played = (paused.sample - speaking.sample) / 16_000
    words = ANSWER.split()
    ends = np.cumsum([0.05 * (len(word) + 1) for word in words])
    assert len(turns[0].answer.split()) == pytest.approx(np.searchsorted(ends, played), abs=1)


def test_a_false_alarm_lets_the_answer_go_on_to_its_end(assistant):
    events, turns = converse(assistant, 0.5, COST, 2.5, KEY, 9.0, knows=(COST,))
    [paused], [resumed] = only(events, Paused), only(events, Resumed)
    assert 0 < resumed.sample - paused.sample <= samples(2.1)
    assert only(events, Interrupted) == []
    assert len(only(events, Spoken)) == len(only(events, Answered)) == 1
    assert [(len(turns), turns[0].interrupted)] == [(1, False)]


def test_a_paused_answer_takes_as_much_longer_as_it_was_paused(assistant):
    plain, _ = converse(assistant, 0.5, COST, 9.0)
    disturbed, _ = converse(assistant, 0.5, COST, 2.5, KEY, 9.0, knows=(COST,))
    [paused], [resumed] = only(disturbed, Paused), only(disturbed, Resumed)
    [one], [other] = only(plain, Answered), only(disturbed, Answered)
    assert other.sample - one.sample == pytest.approx(resumed.sample - paused.sample, abs=samples(0.11))


def test_the_assistants_own_words_in_the_microphone_end_nothing_and_ask_nothing(assistant):
    events, turns = converse(assistant, 0.5, LIMIT, 3.5, TIDE, 12.0)
    assert len(only(events, Paused)) == len(only(events, Resumed)) == 1
    assert only(events, Interrupted) == []
    assert [turn.question for turn in turns] == ["What is the speed limit on El Terraplén?"]
    assert not turns[0].interrupted


def test_the_same_words_after_the_answer_are_a_turn_of_the_speaker(assistant):
    events, _ = converse(assistant, 0.5, COST, 8.0, TIDE, 2.0)
    assert len(only(events, Asked)) == 2


def test_where_interrupting_is_off_speech_changes_nothing(tmp_path, assistant):
    (tmp_path / "note.txt").write_text(NOTE)
    with Assistant.open(tmp_path / "data", overrides=SETTINGS | {"voice.barge_in": False}) as other:
        other.ingest(tmp_path / "note.txt")
        events, turns = converse(other, 0.5, COST, 2.5, STOP, 6.0)
    assert only(events, Paused, Interrupted, Resumed) == []
    assert [turn.interrupted for turn in turns] == [False]


def test_a_question_that_goes_on_before_anything_was_heard_is_asked_whole(assistant):
    class Slow(Beeper):
        def synthesize(self, text, language):
            yield np.zeros(samples(5.0), np.float32)
            yield from super().synthesize(text, language)

    events, turns = converse(assistant, 0.5, COST, 1.2, KEY, 12.0, synthesizer=Slow())
    questions = [asked.question for asked in only(events, Asked)]
    assert questions == [
        "How much does a night in Casa Garza cost?",
        "How much does a night in Casa Garza cost? Where does the key of the dry store hang?",
    ]
    assert turns[0].answer == ""


def test_the_last_answer_is_heard_to_its_end_after_the_audio_has_ended(assistant):
    events, turns = converse(assistant, 0.5, COST)
    assert len(only(events, Answered)) == 1
    assert not turns[0].interrupted


def test_a_broken_source_is_raised_after_what_was_said_has_been_answered(assistant):
    sound = Sound(audio(0.5, COST), breaks=True)
    talk = assistant.converse(sound, VirtualSink(), synthesizer=Beeper(), listening=KnownRecordings(COST))
    events = []

    async def run():
        async for event in talk:
            events.append(event)

    with pytest.raises(AudioError, match="went away"):
        asyncio.run(run())
    assert len(only(events, Answered)) == 1
    assert len(assistant.conversations.turns(talk.conversation)) == 1
    assert sound.closed


def test_without_a_sink_answers_are_text_and_words_still_end_nothing_that_is_over(assistant):
    talk = assistant.converse(Sound(audio(0.5, COST, 1.0, KEY, 1.0)), listening=KnownRecordings(COST, KEY))

    async def run():
        return [event async for event in talk]

    events = asyncio.run(run())
    assert len(only(events, AnswerReady)) == 2
    assert only(events, Spoken, Speaking, Paused, SpeechFailed) == []
    assert [turn.interrupted for turn in assistant.conversations.turns(talk.conversation)] == [False, False]


def test_a_voice_that_fails_leaves_the_text(assistant):
    class Mute(Beeper):
        def synthesize(self, text, language):
            raise AudioError("no voice today")

    events, turns = converse(assistant, 0.5, COST, 3.0, synthesizer=Mute())
    assert [failed.reason for failed in only(events, SpeechFailed)] == ["no voice today"]
    assert len(only(events, Answered)) == 1
    assert not turns[0].interrupted


def test_leaving_early_ends_the_answer_and_keeps_what_was_heard(assistant):
    sound = Sound(audio(0.5, COST, 30.0))
    talk = assistant.converse(sound, VirtualSink(), synthesizer=Beeper(), listening=KnownRecordings(COST))

    async def run():
        events = talk.__aiter__()
        async for event in events:
            if isinstance(event, Speaking):
                break
        await events.aclose()

    asyncio.run(run())
    [turn] = assistant.conversations.turns(talk.conversation)
    assert turn.interrupted
    assert sound.closed


def test_an_answer_can_be_interrupted_by_hand(assistant):
    talk = assistant.converse(
        Sound(audio(0.5, COST, 6.0, KEY, 8.0)),
        VirtualSink(),
        synthesizer=Beeper(),
        listening=KnownRecordings(COST, KEY),
    )
    events = []

    async def run():
        assert not talk.interrupt()
        async for event in talk:
            events.append(event)
            if isinstance(event, Speaking) and event.turn == 1:
                assert talk.interrupt()
                assert not talk.interrupt()

    asyncio.run(run())
    assert [turn.interrupted for turn in assistant.conversations.turns(talk.conversation)] == [True, False]
    assert len(only(events, Interrupted)) == 1


@pytest.mark.parametrize("seconds", [0.0, 3.0])
def test_silence_asks_nothing_and_calls_no_model(assistant, seconds):
    events, turns = converse(assistant, seconds)
    assert (events, turns) == ([], [])


def test_the_same_audio_gives_the_same_conversation(assistant):
    runs = [converse(assistant, 0.5, COST, 2.5, STOP, 9.0) for _ in range(2)]
    first, second = (
        [event for event in events if not isinstance(event, TextDelta | AnswerReady)] for events, _ in runs
    )
    kinds = (Asked, Speaking, Spoken, Paused, Interrupted, Answered, Partial, Final, EndOfTurn)
    assert only(first, *kinds) == only(second, *kinds)
    assert seconds_of(COST) > 2


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("Stop.", ""),
        ("Wait, wait, please.", ""),
        ("¡Para, por favor!", ""),
        ("Stop, I want more.", "I want more."),
        ("Espera. ¿quién fue?", "¿quién fue?"),
        ("Wait times at the pier?", "Wait times at the pier?"),
        ("In June, what happened?", "In June, what happened?"),
        ("Who was it?", "Who was it?"),
    ],
)
def test_words_that_only_end_an_answer_are_no_question(said, asked):
    assert after_stopping(said) == asked
