"""Settings that change during a conversation, in virtual time: what is under way ends as it began, what follows is new.

The latest setup is looked at before each block of 50 ms, so that a change can be made at a moment of the audio.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator

import pytest

from capibara.assistant import Assistant, SpokenConversation
from capibara.assistant.spoken import Answered, Asked, Interrupted, Paused, Resumed, Speaking, SpeechFailed, Spoken
from capibara.assistant.values import AnswerReady
from capibara.assistant.voice_setup import VoiceSetup
from capibara.voice import AudioFormat, EndOfTurn, Final, SharedTranscription, Speaker, Transcriber
from capibara.voice.playback import VirtualSink
from capibara.voice.protocols import Synthesizer

from ..voice.beeper import Beeper
from ..voice.recorded import KnownRecordings, audio
from .test_converse import ANSWER, COST, KEY, NOTE, SETTINGS, STOP, Sound, only

BLOCK = 0.05
KEY_ANSWER = "“The key of the dry store hangs behind the kitchen door.”"
IN_QUESTION, IN_ANSWER = 1.5, 4.5
"""Moments of ``0.5, COST, 2.5``: the first within the question, the second within its answer."""


@pytest.fixture(scope="module")
def assistant(tmp_path_factory) -> Iterator[Assistant]:
    folder = tmp_path_factory.mktemp("talk")
    (folder / "note.txt").write_text(NOTE)
    with Assistant.open(folder / "data", overrides=SETTINGS) as assistant:
        assistant.ingest(folder / "note.txt")
        yield assistant


class Noted(Beeper):
    """A voice that notes what it says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def synthesize(self, text, language):
        self.said.append(text)
        yield from super().synthesize(text, language)


class Listener(KnownRecordings):
    """Notes the words it was told to listen for."""

    def __init__(self, *knows: str) -> None:
        super().__init__(*knows)
        self.hotwords: list[tuple[str, ...]] = []

    def transcribe(self, audio, options):
        self.hotwords.append(options.hotwords)
        return super().transcribe(audio, options)


def setup(
    assistant: Assistant, transcriber: Transcriber, synthesizer: Synthesizer | None = None, **voice: object
) -> VoiceSetup:
    settings = assistant.settings
    changed = settings.voice.model_copy(update=voice)
    return VoiceSetup(settings.model_copy(update={"voice": changed}), transcriber, synthesizer)


def switching(first: VoiceSetup, second: VoiceSetup, at: float) -> Callable[[], VoiceSetup]:
    """``second`` from ``at`` seconds of the audio on."""
    asked = 0

    def latest() -> VoiceSetup:
        nonlocal asked
        asked += 1
        return second if asked * BLOCK > at else first

    return latest


def converse(assistant: Assistant, latest: Callable[[], VoiceSetup], *parts: str | float, shared: bool = False):
    """The events of a conversation over ``parts``; ``shared``: its audio is live, and comes as fast as it is taken."""

    async def run() -> list:
        service = SharedTranscription()
        talk = SpokenConversation(
            assistant,
            Sound(audio(*parts)),
            AudioFormat(),
            service if shared else KnownRecordings(),
            Speaker(None, VirtualSink()),
            latest=latest,
        )
        try:
            return [event async for event in talk]
        finally:
            await asyncio.to_thread(service.close)

    return asyncio.run(run())


def test_an_answer_under_way_cannot_be_interrupted_where_only_the_next_one_may_be(assistant):
    voice, model = Beeper(), KnownRecordings(COST, KEY, STOP)
    latest = switching(
        setup(assistant, model, voice, barge_in=False), setup(assistant, model, voice, barge_in=True), IN_ANSWER
    )
    events = converse(assistant, latest, 0.5, COST, 2.5, STOP, 3.0, KEY, 2.5, STOP, 9.0)
    assert only(events, Answered)[0].turn == 1
    assert [paused.turn for paused in only(events, Paused)] == [only(events, Asked)[1].turn]
    assert [interrupted.turn for interrupted in only(events, Interrupted)] == [only(events, Asked)[1].turn]


def test_an_answer_under_way_can_be_interrupted_where_only_the_next_one_may_not(assistant):
    voice, model = Beeper(), KnownRecordings(COST, STOP)
    latest = switching(
        setup(assistant, model, voice, barge_in=True), setup(assistant, model, voice, barge_in=False), IN_ANSWER
    )
    events = converse(assistant, latest, 0.5, COST, 2.5, STOP, 9.0)
    assert [event.turn for event in only(events, Paused, Interrupted)] == [1, 1]


def test_speech_during_an_answer_that_may_not_be_interrupted_asks_nothing_although_the_next_one_may_be(assistant):
    voice, model = Beeper(), KnownRecordings(COST, STOP)
    latest = switching(
        setup(assistant, model, voice, barge_in=False), setup(assistant, model, voice, barge_in=True), IN_ANSWER
    )
    events = converse(assistant, latest, 0.5, COST, 2.5, STOP, 9.0)
    assert len(only(events, Asked)) == 1
    assert only(events, Paused, Resumed, Interrupted) == []


@pytest.mark.parametrize(("at", "by_old"), [(IN_QUESTION, []), (IN_ANSWER, [ANSWER])])
def test_a_new_voice_speaks_from_the_next_answer_on(assistant, at, by_old):
    old, new, model = Noted(), Noted(), KnownRecordings(COST, KEY)
    latest = switching(setup(assistant, model, old), setup(assistant, model, new), at)
    events = converse(assistant, latest, 0.5, COST, 7.0, KEY, 7.0)
    assert old.said == by_old
    assert old.said + new.said == [spoken.text for spoken in only(events, Spoken)] == [ANSWER, KEY_ANSWER]


def test_without_a_voice_the_next_answer_is_text_alone(assistant):
    voice, model = Noted(), KnownRecordings(COST, KEY)
    latest = switching(setup(assistant, model, voice), setup(assistant, model, None), IN_ANSWER)
    events = converse(assistant, latest, 0.5, COST, 7.0, KEY, 7.0)
    assert [spoken.text for spoken in only(events, Spoken)] == voice.said == [ANSWER]
    assert len(only(events, AnswerReady)) == len(only(events, Answered)) == 2
    assert len(only(events, Speaking)) == 1


def test_with_a_voice_at_last_the_next_answer_is_spoken(assistant):
    voice, model = Noted(), KnownRecordings(COST, KEY)
    latest = switching(setup(assistant, model, None), setup(assistant, model, voice), IN_ANSWER)
    events = converse(assistant, latest, 0.5, COST, 7.0, KEY, 7.0)
    assert [spoken.text for spoken in only(events, Spoken)] == voice.said == [KEY_ANSWER]
    assert len(only(events, Answered)) == 2
    assert only(events, SpeechFailed) == []


@pytest.mark.parametrize("shared", [False, True], ids=["stepwise", "live"])
def test_a_question_is_heard_to_its_end_by_its_own_model_and_the_next_one_by_the_new(assistant, shared):
    old, new = KnownRecordings(COST), KnownRecordings(KEY)
    latest = switching(setup(assistant, old), setup(assistant, new), IN_QUESTION)
    events = converse(assistant, latest, 0.5, COST, 3.0, KEY, 3.0, shared=shared)
    assert [final.text for final in only(events, Final)] == [
        "How much does a night in Casa Garza cost?",
        "Where does the key of the dry store hang?",
    ]


def test_the_titles_to_listen_for_are_looked_up_anew(assistant):
    model = Listener(COST, KEY)
    latest = switching(
        setup(assistant, model, hotwords=("Tero",)),
        setup(assistant, model, hotwords=("Tero",), hotwords_from_titles=True),
        IN_QUESTION,
    )
    converse(assistant, latest, 0.5, COST, 3.0, KEY, 3.0)
    [title] = {document.title for document in assistant.documents()}
    assert list(dict.fromkeys(model.hotwords)) == [("Tero",), ("Tero", title)]


def test_how_long_a_pause_ends_a_question_is_new_with_the_next_question(assistant):
    model = KnownRecordings(COST, KEY)
    latest = switching(
        setup(assistant, model, endpoint_adaptive=False),
        setup(assistant, model, endpoint_adaptive=False, endpoint_seconds=1.5),
        IN_QUESTION,
    )
    events = converse(assistant, latest, 0.5, COST, 4.0, KEY, 4.0)
    delays = [(turn.sample - turn.speech_end) / 16_000 for turn in only(events, EndOfTurn)]
    assert delays == pytest.approx([0.6, 1.5], abs=0.05)


def test_a_source_of_settings_that_fails_is_reported_once_and_the_conversation_goes_on(assistant, caplog):
    good = setup(assistant, KnownRecordings(COST), Beeper())
    asked = 0

    def latest() -> VoiceSetup:
        nonlocal asked
        asked += 1
        if asked > 5:
            raise RuntimeError("no settings today")
        return good

    with caplog.at_level(logging.WARNING, "capibara.assistant.converse"):
        events = converse(assistant, latest, 0.5, COST, 8.0)
    assert [spoken.text for spoken in only(events, Spoken)] == [ANSWER]
    assert [record.getMessage() for record in caplog.records] == [
        "the conversation goes on with the settings it has: RuntimeError: no settings today"
    ]


def test_settings_that_cannot_be_had_here_are_reported_and_change_nothing(assistant, caplog, monkeypatch):
    old, new, model = Noted(), Noted(), KnownRecordings(COST, KEY)
    change = switching(setup(assistant, model, old), setup(assistant, model, new, vad="webrtc"), IN_QUESTION)

    def latest() -> VoiceSetup:
        latest_setup = change()
        if latest_setup.synthesizer is new:
            monkeypatch.setitem(sys.modules, "webrtcvad", None)
        return latest_setup

    with caplog.at_level(logging.WARNING, "capibara.assistant.converse"):
        events = converse(assistant, latest, 0.5, COST, 7.0, KEY, 7.0)
    assert [spoken.text for spoken in only(events, Spoken)] == old.said == [ANSWER, KEY_ANSWER]
    assert new.said == []
    assert len(caplog.records) == 1
    assert "webrtcvad-wheels" in caplog.text


def test_a_conversation_for_which_no_model_is_named_is_refused(assistant):
    service = SharedTranscription()
    with pytest.raises(ValueError, match="no speech model"):
        SpokenConversation(assistant, Sound(audio(0.1)), AudioFormat(), service, None)
    service.close()
