"""Settings that change in a stream: the utterance that is open ends as it began, the next one goes by the new ones."""

from __future__ import annotations

import itertools
import sys

import pytest

from capibara.config.schema import VoiceSettings
from capibara.voice import (
    EndOfTurn,
    Final,
    Partial,
    SpeechStarted,
    StreamingTranscriber,
    VoiceUnavailable,
    WhisperTranscriber,
)

from .changing import FIRST, LATER, SECOND, SECOND_HALF, Change, Loud, change, fed, only, opened, texts
from .recorded import FOLDER, audio
from .tones import ToneTranscriber, silence, spoken, stream

# The speech model


def test_an_utterance_that_is_open_is_heard_to_its_end_by_the_model_that_it_began_with():
    events = fed(opened(), FIRST, change(to=Loud()), SECOND_HALF, LATER)
    assert texts(events) == ["one two three four five six", "SEVEN EIGHT NINE"]
    assert [p.text.isupper() for p in only(Partial, events)] == [p.utterance == 2 for p in only(Partial, events)]


def test_between_utterances_the_next_one_is_heard_by_the_new_model_alone():
    old, undisturbed = ToneTranscriber(), ToneTranscriber()
    fed(opened(undisturbed), FIRST, SECOND_HALF)
    events = fed(opened(old), FIRST, SECOND_HALF, change(to=Loud()), LATER)
    assert texts(events) == ["one two three four five six", "SEVEN EIGHT NINE"]
    assert old.calls == undisturbed.calls


def test_before_any_audio_the_first_utterance_is_heard_by_the_new_model():
    assert texts(fed(opened(), change(to=Loud()), FIRST, SECOND_HALF)) == ["ONE TWO THREE FOUR FIVE SIX"]


def test_a_model_that_is_not_named_stays_also_where_a_change_was_replaced_by_another():
    steps = (FIRST, change(to=Loud()), change(partial_seconds=1.0), SECOND_HALF, LATER)
    assert texts(fed(opened(), *steps))[1] == "SEVEN EIGHT NINE"


def test_speech_that_never_pauses_goes_over_where_it_is_cut_and_no_word_is_lost_or_told_twice():
    said = " ".join(["one three five seven nine eleven"] * 6)
    sound = stream(0.5, said, 1.0)
    events = fed(
        opened(max_utterance_seconds=5),
        sound[: 2 * SECOND],
        change(to=Loud(), max_utterance_seconds=5),
        sound[2 * SECOND :],
    )
    first, *others = texts(events)
    assert first.islower()
    assert others
    assert all(text.isupper() for text in others)
    assert " ".join([first, *others]).lower() == said


def test_two_folders_of_one_trained_model_are_told_apart_by_what_each_was_asked():
    calls: list[tuple[str, bool]] = []

    class Counted:
        """A real model under a name, whose calls are counted."""

        languages = ("en", "es")

        def __init__(self, name: str) -> None:
            self.name = name
            self._model = WhisperTranscriber(FOLDER.parent / "model", threads=1)

        def warm_up(self) -> None:
            self._model.warm_up()

        def transcribe(self, audio, options):
            calls.append((self.name, options.final))
            return self._model.transcribe(audio, options)

    streaming = StreamingTranscriber(Counted("old"), VoiceSettings(language="en"))
    events = fed(
        streaming,
        audio(0.5, "Which firm repairs the jetty?")[: int(1.4 * SECOND)],
        Change(VoiceSettings(language="en"), Counted("new")),
        audio(0.5, "Which firm repairs the jetty?")[int(1.4 * SECOND) :],
        audio(1.5, "What does coffee cost per week?", 1.5),
    )
    names = [name for name, _ in calls]
    assert names == sorted(names, reverse=True)  # all calls of the old model, then all of the new one
    assert {name for name, final in calls if final} == {"old", "new"}
    assert len(only(Final, events)) == 2


# What an utterance keeps, and the next one has


@pytest.mark.parametrize("between", [False, True])
def test_the_silence_that_ends_an_utterance(between):
    longer = change(hangover_seconds=1.0)
    steps = (FIRST, SECOND_HALF, longer, LATER) if between else (FIRST, longer, SECOND_HALF, LATER)
    ends = [final.sample - final.end for final in only(Final, fed(opened(hangover_seconds=0.4), *steps))]
    assert [end / SECOND for end in ends] == pytest.approx([0.4, 1.0], abs=0.033)


def test_the_silence_that_ends_a_turn():
    events = fed(
        opened(endpoint_seconds=0.6, endpoint_adaptive=False),
        FIRST,
        change(endpoint_seconds=1.2, endpoint_adaptive=False),
        SECOND_HALF,
        stream("seven eight nine", 2.0),
    )
    delays = [turn.sample - turn.speech_end for turn in only(EndOfTurn, events)]
    assert [delay / SECOND for delay in delays] == pytest.approx([0.6, 1.2], abs=0.033)


def test_how_often_a_partial_is_made():
    old = ToneTranscriber()
    events = fed(opened(old, partial_seconds=0.3), FIRST, change(partial_seconds=1.0), SECOND_HALF, LATER)
    samples = {
        number: [partial.sample for partial in only(Partial, events) if partial.utterance == number]
        for number in (1, 2)
    }
    assert min(b - a for a, b in itertools.pairwise(samples[1])) < 0.4 * SECOND
    assert samples[1][-1] > only(Final, events)[0].start + 1.5 * SECOND
    assert len(samples[2]) < len(samples[1])


def test_how_much_is_decoded_again_and_again():
    said = "one three five seven nine eleven " * 4
    lengths = []
    for steps in ((), (change(window_seconds=3),)):
        transcriber = ToneTranscriber()
        fed(opened(transcriber, window_seconds=25), FIRST, SECOND_HALF, *steps, stream(said, 1.0))
        lengths.append(max(length for length, _ in transcriber.calls))
    assert lengths[1] < 6 * SECOND < lengths[0]


def test_the_language():
    transcriber, undisturbed = ToneTranscriber(), ToneTranscriber()
    fed(opened(undisturbed, language="en"), FIRST, SECOND_HALF)
    fed(opened(transcriber, language="en"), FIRST, change(language="es"), SECOND_HALF, LATER)
    languages = [options.language for _, options in transcriber.calls]
    of_first = len(undisturbed.calls)
    assert languages == ["en"] * of_first + ["es"] * (len(languages) - of_first)
    assert len(languages) > of_first


def test_a_language_that_was_recognised_is_kept_where_something_else_changes():
    transcriber = ToneTranscriber()
    streaming = opened(transcriber)
    fed(streaming, FIRST, SECOND_HALF, change(hangover_seconds=0.5), LATER)
    languages = [options.language for _, options in transcriber.calls]
    assert languages[-1] == "en"
    assert languages == sorted(languages, key=lambda language: language is not None)


def test_a_language_that_was_recognised_is_forgotten_with_the_model():
    new = ToneTranscriber()
    fed(opened(), FIRST, SECOND_HALF, change(to=new), LATER)
    assert new.calls[0][1].language is None


def test_a_language_that_was_recognised_is_forgotten_where_another_was_set_meanwhile():
    transcriber = ToneTranscriber()
    fed(opened(transcriber), FIRST, SECOND_HALF, change(language="es"), LATER, change(), LATER)
    languages = [options.language for _, options in transcriber.calls]
    runs = [language for language, _ in itertools.groupby(languages)]
    assert runs == [None, "en", "es", None]


@pytest.mark.parametrize("new", [change(hotwords=("Tero",)), change(words=("Tero",))], ids=["setting", "own"])
def test_the_words_to_listen_for(new):
    transcriber = ToneTranscriber()
    fed(opened(transcriber, hotwords=("Garza",)), FIRST, new, SECOND_HALF, LATER)
    words = [options.hotwords for _, options in transcriber.calls]
    assert set(words) == {("Garza",), ("Tero",)}
    assert words == sorted(words)


def test_the_level_that_counts_as_silence():
    quiet = spoken("seven eight nine", level=0.02)
    steps = (FIRST, change(rms_floor_db=-30.0), SECOND_HALF, quiet, silence(1.0))
    assert texts(fed(opened(), FIRST, SECOND_HALF, quiet, silence(1.0)))[1:] == ["seven eight nine"]
    assert texts(fed(opened(), *steps)) == ["one two three four five six"]


# The detectors, as they are


def test_how_easily_webrtcvad_takes_sound_for_speech():
    """At its most reluctant it misses the first tone of each utterance."""
    reluctant = change(vad="webrtc", aggressiveness=3)
    sounds = (stream(1.0, "one two three", 0.1), stream("four five six", 2.0), stream("one two three", 2.0))
    streaming = opened(detectors=True, vad="webrtc", aggressiveness=1)
    first, second = only(Final, fed(streaming, sounds[0], reluctant, *sounds[1:]))
    assert first.start == pytest.approx(SECOND, abs=512)
    assert first.text.startswith("one two three four five")
    began = sum(map(len, sounds[:2]))
    assert second.start > began + 0.3 * SECOND


def test_silero_confirms_from_the_next_utterance_on():
    """It takes no tone for speech."""
    streaming = opened(detectors=True, vad="webrtc")
    events = fed(streaming, FIRST, change(vad="silero"), SECOND_HALF, LATER)
    assert len(only(Final, events)) == 1
    assert texts(events)[0].endswith("five six")


def test_where_everything_was_transcribed_the_gate_begins_at_the_next_cut():
    transcriber = ToneTranscriber()
    streaming = opened(transcriber, detectors=True, vad="none", max_utterance_seconds=5)
    events = fed(streaming, silence(2.0), change(vad="silero", max_utterance_seconds=5), silence(30.0))
    finals = only(Final, events)
    assert [final.reason for final in finals] == ["maximum", "silence"]
    assert finals[-1].sample < 6 * SECOND
    assert not streaming.listening


def test_where_nothing_opened_the_gate_everything_passes_at_once():
    streaming = opened(detectors=True, vad="silero")
    events = fed(streaming, silence(3.0), change(vad="none"), silence(1.0))
    [started] = only(SpeechStarted, events)
    assert 2.0 * SECOND < started.start <= 3 * SECOND


def test_a_detector_that_is_not_installed_is_said_and_changes_nothing(monkeypatch):
    streaming = opened(detectors=True, vad="none", hangover_seconds=0.4)
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    with pytest.raises(VoiceUnavailable, match="webrtcvad"):
        streaming.adopt(VoiceSettings(vad="webrtc"))
    assert texts(fed(streaming, FIRST, SECOND_HALF)) == ["one two three four five six"]
