"""Settings that change in a stream lose no word and no event, and what they replace is let go."""

from __future__ import annotations

import gc
import itertools
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capibara.config.schema import VoiceSettings
from capibara.voice import AudioFormat, EndOfTurn, Final, SpeechStarted, StreamingTranscriber, VoiceEvent
from capibara.voice.values import text_of

from .changing import FIRST, LATER, SECOND, SECOND_HALF, Change, Loud, change, fed, only, opened, texts
from .recorded import KnownRecordings, audio
from .tones import ToneTranscriber, silence, stream

# Nothing is lost


@pytest.mark.parametrize("vads", [("webrtc", "silero"), ("silero", "webrtc"), ("none", "silero"), ("silero", "none")])
@pytest.mark.parametrize("offset", [-0.2, -0.05, 0.02, 0.1, 0.2])
def test_a_first_word_is_whole_whenever_the_settings_change(vads, offset):
    sound = audio(1.0, "How much does a night in Casa Garza cost?", 1.5)
    at = int((1.0 + offset) * SECOND)
    streaming = StreamingTranscriber(KnownRecordings("How much does a night in Casa Garza"), VoiceSettings(vad=vads[0]))
    events = fed(streaming, sound[:at], Change(VoiceSettings(vad=vads[1])), sound[at:])
    said = text_of(tuple(word for final in only(Final, events) for word in final.words))
    assert said == "How much does a night in Casa Garza cost?"


def test_speech_that_old_detectors_missed_just_now_is_heard_by_the_new_ones():
    """Silero takes no tone for speech; without a pre-roll, audio is asked for from the first frame of speech on."""
    sound = stream(1.0, "one two three", 1.0)
    at = int(1.28 * SECOND)
    streaming = opened(detectors=True, vad="silero", pre_roll_seconds=0)
    events = fed(streaming, sound[:at], change(vad="webrtc", pre_roll_seconds=0), sound[at:])
    assert texts(events) == ["one two three"]
    assert only(SpeechStarted, events)[0].start == pytest.approx(SECOND, abs=512)


def test_more_audio_from_before_the_speech_than_was_kept_is_not_asked_for():
    transcriber = ToneTranscriber()
    streaming = opened(transcriber, pre_roll_seconds=0.0)
    events = fed(streaming, silence(3.0), change(pre_roll_seconds=2.0), stream("one two three", 1.0))
    assert texts(events) == ["one two three"]
    assert max(length for length, _ in transcriber.calls) < 3 * SECOND


@pytest.mark.parametrize("detectors", [False, True])
def test_equal_settings_change_nothing(detectors):
    options = {"vad": "webrtc", "hotwords": ("Garza",)}
    sound = np.concatenate([FIRST, SECOND_HALF, LATER])
    plain, disturbed = ToneTranscriber(), ToneTranscriber()
    expected = fed(opened(plain, detectors=detectors, **options), sound)
    pieces = [sound[at : at + 1_000] for at in range(0, len(sound), 1_000)]
    steps = itertools.chain.from_iterable((change(to=disturbed, **options), piece) for piece in pieces)
    assert fed(opened(disturbed, detectors=detectors, **options), *steps) == expected
    assert disturbed.calls == plain.calls


def test_pauses_that_were_learned_are_kept_where_the_delays_still_adapt():
    patient = stream(*(["one two three", 0.9, "four five six", 3.5] * 6))
    delays = []
    for adaptive in (True, False):
        events = fed(
            opened(hangover_seconds=0.3),
            patient,
            change(hangover_seconds=0.3, endpoint_adaptive=adaptive, partial_seconds=1.0),
            stream("seven eight nine", 3.0),
        )
        last = only(EndOfTurn, events)[-1]
        delays.append((last.sample - last.speech_end) / SECOND)
    assert delays[0] > 0.7
    assert delays[1] == pytest.approx(0.6, abs=0.033)


@settings(max_examples=25, deadline=None)
@given(
    first=st.lists(st.integers(160, 80_000), min_size=1, max_size=50),
    second=st.lists(st.integers(160, 80_000), min_size=1, max_size=50),
    at=st.integers(0, 100_000),
    detectors=st.booleans(),
    quick=st.booleans(),
)
def test_any_pieces_give_the_same_events_where_settings_change_at_the_same_sample(first, second, at, detectors, quick):
    sound = np.concatenate([FIRST, SECOND_HALF, LATER])
    begins = {"vad": "webrtc", "aggressiveness": 3 if quick else 1, "max_utterance_seconds": 5}
    ends = {"vad": "webrtc", "aggressiveness": 1 if quick else 2, "hangover_seconds": 0.2 if quick else 0.9}

    def events(before: list[np.ndarray], after: list[np.ndarray]) -> list[VoiceEvent]:
        streaming = opened(detectors=detectors, **begins)
        return fed(streaming, *before, change(to=Loud(), language="es", **ends), *after, piece=len(sound))

    whole = events([sound[:at]], [sound[at:]])
    assert events(pieces_of(sound[:at], first), pieces_of(sound[at:], second)) == whole
    assert [event.utterance for event in only(SpeechStarted, whole)] == [f.utterance for f in only(Final, whole)]


def pieces_of(sound: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    ends = list(itertools.takewhile(lambda end: end < len(sound), itertools.accumulate(itertools.cycle(lengths))))
    return np.split(sound, ends)


def test_at_another_rate_too_the_pieces_do_not_matter():
    import soxr

    sound = soxr.resample(np.concatenate([FIRST, SECOND_HALF, LATER]), SECOND, 44_100)
    results = []
    for piece in (333, 4_410, len(sound)):
        streaming = StreamingTranscriber(
            ToneTranscriber(), VoiceSettings(vad="webrtc"), audio_format=AudioFormat(sample_rate=44_100)
        )
        results.append(
            fed(
                streaming,
                sound[:50_003],
                change(to=Loud(), vad="webrtc", hangover_seconds=0.2),
                sound[50_003:],
                piece=piece,
            )
        )
    assert results[0] == results[1] == results[2]


# What is not needed any more goes


def test_the_old_model_goes_with_the_last_utterance_that_it_hears():
    old = ToneTranscriber()
    gone = weakref.ref(old)
    streaming = opened(old)
    streaming.feed(FIRST)
    change(to=Loud()).apply(streaming)
    del old
    gc.collect()
    assert gone() is not None
    streaming.feed(SECOND_HALF)
    gc.collect()
    assert gone() is None


def test_between_utterances_the_old_model_goes_at_once():
    old = ToneTranscriber()
    gone = weakref.ref(old)
    streaming = opened(old)
    streaming.feed(np.concatenate([FIRST, SECOND_HALF]))
    del old
    change(to=Loud()).apply(streaming)
    gc.collect()
    assert gone() is None


def test_a_model_that_was_replaced_before_its_turn_goes_at_once():
    unused = Loud()
    gone = weakref.ref(unused)
    streaming = opened()
    streaming.feed(FIRST)
    streaming.adopt(VoiceSettings(), transcriber=unused)
    streaming.adopt(VoiceSettings(), transcriber=Loud())
    del unused
    gc.collect()
    assert gone() is None
