"""What is heard in the next utterance after each change: tones for words, and recordings, in virtual time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from capibara.assistant import Assistant
from capibara.assistant.spoken import ConversationEvent
from capibara.voice import EndOfTurn, Final, Partial, Transcriber
from capibara.voice.values import DecodeOptions

from ...voice.recorded import KnownRecordings, audio
from ...voice.tones import ToneTranscriber, spoken, stream
from .observing import Changes, observes
from .talking import only, talk

SECOND = 16_000
FRAME = 512 / SECOND
TALK = stream(1.0, "one two three", 1.58)
"""Of a whole number of frames, so that it falls into them the same way wherever it stands."""
COST = "How much does a night in Casa Garza"
LONG = stream(1.0, "one three five seven nine eleven " * 3, 1.5)


class Words(ToneTranscriber):
    """Notes how each utterance was decoded in the end: the seconds of audio, and the options."""

    def __init__(self) -> None:
        super().__init__()
        self.finals: list[tuple[float, DecodeOptions]] = []

    def transcribe(self, audio, options):
        if options.final:
            self.finals.append((len(audio) / SECOND, options))
        return super().transcribe(audio, options)


class Hesitant(ToneTranscriber):
    """Hears "and" for the third word, after which more may come."""

    def _word(self, audio, start, end):
        word = super()._word(audio, start, end)
        return replace(word, text="and") if word.text == "three" else word


def heard(
    assistant: Assistant,
    change: Changes,
    values: dict[str, Any],
    sound: np.ndarray,
    by: Transcriber | None = None,
) -> list[ConversationEvent]:
    """The events of a conversation over the same sound twice, with a change in between."""
    return talk(assistant, sound, lambda: change(assistant, values), sound, listening=by or ToneTranscriber())


def texts(events: list[ConversationEvent]) -> list[str]:
    return [final.text for final in only(Final, events)]


def delays(events: list[ConversationEvent]) -> list[float]:
    """Seconds from the end of the speech to that of the turn."""
    return [(turn.sample - turn.speech_end) / SECOND for turn in only(EndOfTurn, events)]


# Where an utterance begins and ends


@observes("voice.hangover_seconds")
def test_so_much_silence_ends_an_utterance(assistant: Assistant, change: Changes):
    finals = only(Final, heard(assistant, change, {"voice.hangover_seconds": 1.0}, TALK))
    assert [(final.sample - final.end) / SECOND for final in finals] == pytest.approx([0.45, 1.0], abs=FRAME)


@observes("voice.pre_roll_seconds", "voice.tail_seconds")
@pytest.mark.parametrize(
    ("key", "value", "longer"), [("voice.pre_roll_seconds", 0.8, 0.5), ("voice.tail_seconds", 0.4, 0.15)]
)
def test_so_much_audio_around_the_speech_is_decoded(
    assistant: Assistant, change: Changes, key: str, value: float, longer: float
):
    words = Words()
    assert texts(heard(assistant, change, {key: value}, TALK, by=words)) == ["one two three"] * 2
    [before, after] = [seconds for seconds, _ in words.finals]
    assert after - before == pytest.approx(longer, abs=FRAME)


@observes("voice.min_voiced_seconds")
def test_less_speech_than_is_set_opens_nothing(assistant: Assistant, change: Changes):
    events = heard(assistant, change, {"voice.min_voiced_seconds": 1.0}, stream(1.0, "one", 1.5))
    assert texts(events) == ["one"]


@observes("voice.rms_floor_db")
def test_what_is_quieter_than_is_set_is_silence(assistant: Assistant, change: Changes):
    quiet = stream(1.0, spoken("one two three", level=0.02), 1.5)
    assert texts(heard(assistant, change, {"voice.rms_floor_db": -30.0}, quiet)) == ["one two three"]


@observes("voice.max_utterance_seconds")
def test_a_longer_utterance_is_cut(assistant: Assistant, change: Changes):
    finals = only(Final, heard(assistant, change, {"voice.max_utterance_seconds": 5.0}, LONG))
    assert [final.reason for final in finals] == ["silence", "maximum", "silence"]
    assert finals[0].end - finals[0].start > 6 * SECOND
    assert finals[1].end - finals[1].start == pytest.approx(5 * SECOND, abs=2 * SECOND)
    assert f"{finals[1].text} {finals[2].text}" == finals[0].text


@observes("voice.vad")
def test_another_detector_listens(assistant: Assistant, change: Changes):
    """Silero takes no tone for speech."""
    assert texts(heard(assistant, change, {"voice.vad": "silero"}, TALK)) == ["one two three"]


@observes("voice.aggressiveness")
def test_a_more_reluctant_detector_opens_later(assistant: Assistant, change: Changes):
    """At its most reluctant webrtcvad misses the first tone of each utterance."""
    first, second = only(Final, heard(assistant, change, {"voice.aggressiveness": 3}, TALK))
    assert first.start == pytest.approx(SECOND, abs=512)
    assert second.start > len(TALK) + 1.3 * SECOND


@observes("voice.opening_threshold")
def test_what_is_less_likely_speech_than_is_set_opens_nothing(assistant: Assistant, change: Changes):
    change(assistant, {"voice.vad": "silero"})
    events = heard(assistant, change, {"voice.opening_threshold": 1.0}, audio(1.0, COST, 1.5), KnownRecordings(COST))
    assert texts(events) == ["How much does a night in Casa Garza cost?"]


@observes("voice.closing_threshold")
def test_what_is_more_likely_speech_than_is_set_keeps_an_utterance_open(assistant: Assistant, change: Changes):
    """Noise after the speech, which Silero takes for speech with hardly any probability: more than none."""
    change(assistant, {"voice.vad": "silero"})
    noise = np.random.default_rng(0).normal(0, 60, 3 * SECOND).astype(np.int16)
    sound = np.concatenate([audio(1.0, COST), noise, audio(1.5)])
    events = heard(assistant, change, {"voice.closing_threshold": 0.0}, sound, KnownRecordings(COST))
    first, second = only(Final, events)
    assert (second.end - second.start) - (first.end - first.start) > 2 * SECOND


# What is decoded, and how


@observes("voice.partial_seconds")
def test_partial_transcripts_come_as_often_as_is_set(assistant: Assistant, change: Changes):
    partials = only(Partial, heard(assistant, change, {"voice.partial_seconds": 2.0}, LONG))
    counts = [sum(partial.utterance == number for partial in partials) for number in (1, 2)]
    assert counts[0] > 10
    assert 0 < counts[1] < 5


@observes("voice.window_seconds")
def test_no_more_audio_is_decoded_again_and_again_than_is_set(assistant: Assistant, change: Changes):
    def longest() -> float:
        transcriber = ToneTranscriber()
        talk(assistant, LONG, listening=transcriber)
        return max(length for length, _ in transcriber.calls) / SECOND

    before = longest()
    change(assistant, {"voice.window_seconds": 3.0})
    assert before > 6
    assert longest() < 5


@observes("voice.beam")
def test_a_final_is_decoded_with_as_many_beams_as_are_set(assistant: Assistant, change: Changes):
    words = Words()
    heard(assistant, change, {"voice.beam": 2}, TALK, by=words)
    assert [options.beam for _, options in words.finals] == [5, 2]


@observes("voice.language")
def test_the_language_that_is_set_is_not_detected(assistant: Assistant, change: Changes):
    events = heard(assistant, change, {"voice.language": "es"}, TALK)
    assert [final.language for final in only(Final, events)] == ["en", "es"]


@observes("voice.hotwords")
def test_the_words_that_are_set_are_listened_for(assistant: Assistant, change: Changes):
    words = Words()
    heard(assistant, change, {"voice.hotwords": ["Terraplén"]}, TALK, by=words)
    assert [options.hotwords for _, options in words.finals] == [(), ("Terraplén",)]


@observes("voice.hotwords_from_titles")
def test_titles_are_listened_for_where_that_is_set(assistant: Assistant, change: Changes):
    words = Words()
    heard(assistant, change, {"voice.hotwords_from_titles": True}, TALK, by=words)
    before, after = (set(options.hotwords) for _, options in words.finals)
    assert (before, after) == (set(), {document.title for document in assistant.documents("default")})


# Where a turn ends


@observes("voice.endpoint_seconds")
def test_so_much_silence_ends_a_turn(assistant: Assistant, change: Changes):
    events = heard(assistant, change, {"voice.endpoint_seconds": 1.2}, TALK)
    assert delays(events) == pytest.approx([0.6, 1.2], abs=FRAME)


@observes("voice.unfinished_factor", "voice.endpoint_max_seconds")
@pytest.mark.parametrize(
    ("key", "value", "delay"), [("voice.unfinished_factor", 1.0, 0.6), ("voice.endpoint_max_seconds", 0.8, 0.8)]
)
def test_a_sentence_that_sounds_unfinished_is_waited_for_as_long_as_is_set(
    assistant: Assistant, change: Changes, key: str, value: float, delay: float
):
    events = heard(assistant, change, {key: value}, stream(1.0, "one two three", 2.0), by=Hesitant())
    assert delays(events) == pytest.approx([1.5, delay], abs=FRAME)


@observes("voice.endpoint_adaptive")
def test_long_pauses_are_learned_from_where_that_is_set(assistant: Assistant, change: Changes):
    change(assistant, {"voice.hangover_seconds": 0.3})
    patient = stream(1.0, *(["one two three", 0.9, "four five six", 3.5] * 4))
    events = heard(assistant, change, {"voice.endpoint_adaptive": True}, patient)
    assert delays(events)[0] == pytest.approx(0.6, abs=FRAME)
    assert delays(events)[-1] > 0.7
