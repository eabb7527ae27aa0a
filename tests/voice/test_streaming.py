"""One stream from audio to events: what is told, when, and that it does not depend on how the audio came."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capibara.config.schema import VoiceSettings
from capibara.voice import (
    AudioError,
    AudioFormat,
    EndOfTurn,
    Final,
    Partial,
    SpeechStarted,
    StreamClosed,
    StreamingTranscriber,
    VoiceEvent,
    transcribe_source,
)
from capibara.voice.values import Dropped, text_of

from .tones import ToneTranscriber, spoken, stream, tone_classifier

TALK = stream(1.0, "one two three four five six", 0.4, "seven eight", 2.0, "ten eleven twelve", 1.0)


def opened(transcriber: ToneTranscriber | None = None, audio_format: AudioFormat | None = None, **options):
    given_settings = VoiceSettings(**options)
    return StreamingTranscriber(
        transcriber or ToneTranscriber(), given_settings, audio_format=audio_format, classifier=tone_classifier()
    )


def events_of(audio: np.ndarray, piece: int = 1_600, transcriber: ToneTranscriber | None = None, **options):
    streaming = opened(transcriber, **options)
    pieces = [streaming.feed(audio[i : i + piece]) for i in range(0, len(audio), piece)]
    return [*itertools.chain.from_iterable(pieces), *streaming.finish()]


def only(kind: type, events: list[VoiceEvent]) -> list:
    return [event for event in events if isinstance(event, kind)]


def test_speech_becomes_partials_finals_and_turns_in_order():
    events = events_of(TALK)
    assert [event.text for event in only(Final, events)] == [
        "one two three four five six seven eight",
        "ten eleven twelve",
    ]
    assert [event.text for event in only(EndOfTurn, events)] == [event.text for event in only(Final, events)]
    assert len(only(Partial, events)) >= 5
    kinds = [type(event) for event in events if not isinstance(event, Partial)]
    assert kinds == [SpeechStarted, Final, EndOfTurn] * 2


def test_without_partials_each_utterance_is_decoded_once():
    transcriber = ToneTranscriber()
    streaming = StreamingTranscriber(transcriber, partials=False, classifier=tone_classifier())
    events = streaming.feed(TALK) + streaming.finish()
    assert only(Partial, events) == []
    assert [final.text for final in only(Final, events)] == [final.text for final in only(Final, events_of(TALK))]
    assert len(transcriber.calls) == 2
    assert streaming.metrics.seconds_decoded == pytest.approx(streaming.metrics.seconds_spoken)


def test_words_are_where_they_were_said_in_the_stream():
    audio = stream(1.0, "one two three", 3.0, "four five", 1.0)
    words = [word for final in only(Final, events_of(audio)) for word in final.words]
    expected = [1.0, 1.4, 1.8, 5.1, 5.5]
    assert [word.start / 16_000 for word in words] == pytest.approx(expected, abs=0.021)
    assert [word.end / 16_000 for word in words] == pytest.approx([start + 0.3 for start in expected], abs=0.021)


@settings(max_examples=12, deadline=None)
@given(pieces=st.lists(st.integers(160, 80_000), min_size=1, max_size=200), odd=st.integers(0, 511))
def test_any_pieces_from_10_ms_to_5_s_give_the_same_events(pieces, odd):
    audio = np.concatenate([np.zeros(odd, np.float32), TALK])
    streaming, events, at = opened(), [], 0
    for piece in itertools.cycle(pieces):
        if at >= len(audio):
            break
        events += streaming.feed(audio[at : at + piece])
        at += piece
    events += streaming.finish()
    assert events == events_of(audio, len(audio))


@settings(max_examples=12, deadline=None)
@given(
    said=st.lists(st.tuples(st.integers(1, 14), st.sampled_from([0.1, 0.3, 0.6, 1.5])), min_size=1, max_size=4),
    every=st.sampled_from([0.3, 0.5, 1.1]),
)
def test_committed_words_never_change(said, every):
    parts: list = [0.5]
    for number, (count, pause) in enumerate(said):
        parts += [" ".join(["one", "three", "five", "seven", "nine"][(number + i) % 5] for i in range(count)), pause]
    events, told = events_of(stream(*parts), partial_seconds=every, window_seconds=3), {}
    for event in events:
        if isinstance(event, (Partial, Final)):
            committed = event.committed if isinstance(event, Partial) else event.words
            before = told.get(event.utterance, ())
            assert committed[: len(before)] == before
            told[event.utterance] = committed
    assert {event.utterance: event.words for event in only(Final, events)} == told


@pytest.mark.parametrize("seconds", [0.0, 0.01, 30.0])
def test_silence_is_never_transcribed(seconds):
    transcriber = ToneTranscriber()
    assert events_of(stream(seconds), transcriber=transcriber) == []
    assert transcriber.calls == []


def test_an_hour_of_silence_costs_no_memory_and_no_call():
    transcriber = ToneTranscriber()
    streaming = StreamingTranscriber(transcriber)
    minute = np.zeros(60 * 16_000, np.float32)
    assert [streaming.feed(minute) for _ in range(60)] == [[]] * 60
    assert streaming.finish() == []
    assert transcriber.calls == []
    assert streaming.held < 2 * 16_000
    assert streaming.metrics.share_skipped == 1.0


def test_the_audio_before_speech_was_noticed_is_decoded_with_partials_and_finals():
    transcriber = ToneTranscriber()
    events = events_of(stream(1.0, "one two three four five", 1.0), transcriber=transcriber)
    assert only(Partial, events)[0].words[0].text == "one"
    first = only(SpeechStarted, events)[0]
    assert abs(first.start - 16_000) <= 512
    assert transcriber.calls[0][0] >= only(Partial, events)[0].sample - first.start + 0.3 * 16_000 - 1


def test_a_long_utterance_costs_a_bounded_amount_per_second():
    audio = stream(0.5, " ".join(["one two three four five six seven eight nine ten"] * 6), 1.0)
    calls = {}
    for window in (5, 25):
        transcriber = ToneTranscriber()
        events = events_of(audio, transcriber=transcriber, window_seconds=window)
        calls[window] = transcriber.calls
        assert text_of(tuple(w for final in only(Final, events) for w in final.words)).split() == (
            ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"] * 6
        )
    assert max(length for length, _ in calls[5]) <= 7.5 * 16_000
    assert sum(length for length, _ in calls[5]) < 0.6 * sum(length for length, _ in calls[25])


def test_speech_without_end_is_cut_and_no_word_is_lost_or_told_twice():
    said = " ".join(["one three five seven nine eleven"] * 12)
    finals = only(Final, events_of(stream(0.5, said, 1.0), max_utterance_seconds=10))
    assert [final.reason for final in finals][:2] == ["maximum", "maximum"]
    assert " ".join(final.text for final in finals) == said


@pytest.mark.parametrize("cut", [0.15, 0.31])
def test_speech_cut_at_both_ends_is_told(cut):
    audio = spoken("one two three four five")
    start, end = int(cut * 16_000), len(audio) - int(0.25 * 16_000)
    [final] = only(Final, events_of(audio[start:end]))
    assert {"two", "three", "four"} <= set(final.text.split())
    assert final.reason == "end"
    assert final.sample == end - start


def test_a_stream_that_falls_idle_in_a_word_tells_it_and_may_go_on():
    streaming = opened()
    before = streaming.feed(stream(0.5, "one two three")[:-800])
    told = streaming.idle()
    assert [event.text for event in only(Final, told)] == ["one two three"]
    assert only(Final, told)[0].reason == "idle"
    assert [event.text for event in only(EndOfTurn, told)] == ["one two three"]
    assert streaming.idle() == []
    after = streaming.feed(stream(1.0, "five six", 1.0)) + streaming.finish()
    assert [event.text for event in only(Final, after)] == ["five six"]
    assert only(Final, after)[0].utterance == only(Final, before + told)[-1].utterance + 1


def test_finishing_twice_tells_nothing_more_and_closes_the_stream():
    streaming = opened()
    streaming.feed(stream("one two"))
    assert only(Final, streaming.finish())
    assert streaming.finish() == []
    with pytest.raises(StreamClosed):
        streaming.feed(b"")


def test_every_utterance_that_starts_ends_once_also_without_words():
    class Deaf(ToneTranscriber):
        def _words(self, audio):
            return []

    events = events_of(TALK, transcriber=Deaf())
    assert [event.utterance for event in only(SpeechStarted, events)] == [1, 2]
    assert [(event.utterance, event.text) for event in only(Final, events)] == [(1, ""), (2, "")]
    assert only(EndOfTurn, events) == []


def test_a_model_that_fails_costs_no_utterance():
    every = range(1, 100)
    for fail_on in ([2], [3, 4], every):
        events = events_of(TALK, transcriber=ToneTranscriber(fail_on))
        assert [event.utterance for event in only(Final, events)] == [1, 2]
    assert all(final.failed and not final.words for final in only(Final, events))
    assert {event.reason for event in only(Dropped, events)} == {"failed"}


def test_the_rate_and_layout_of_the_audio_do_not_matter():
    import soxr

    expected = [event.text for event in only(Final, events_of(TALK))]
    for rate, channels, encoding in [(44_100, 2, "s16le"), (8_000, 1, "s16le"), (48_000, 32, "f32le")]:
        audio = soxr.resample(TALK, 16_000, rate)
        scaled = audio.astype("<f4") if encoding == "f32le" else (audio * 32767).astype("<i2")
        raw = np.repeat(scaled[:, None], channels, axis=1).tobytes()
        streaming = opened(audio_format=AudioFormat(rate, channels, encoding))
        events = [e for i in range(0, len(raw), 10_001) for e in streaming.feed(raw[i : i + 10_001])]
        assert [event.text for event in only(Final, events + streaming.finish())] == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_do_no_harm(value):
    audio = TALK.copy()
    audio[5_000:5_050] = value
    streaming = opened()
    finals = only(Final, streaming.feed(audio) + streaming.finish())
    assert [final.text for final in finals] == [final.text for final in only(Final, events_of(TALK))]
    assert streaming.metrics.invalid_samples == 50


def test_the_language_is_taken_from_the_settings_or_detected_once_and_kept():
    transcriber = ToneTranscriber()
    events_of(TALK, transcriber=transcriber, language="es")
    assert {options.language for _, options in transcriber.calls} == {"es"}
    transcriber = ToneTranscriber()
    events_of(TALK, transcriber=transcriber)
    languages = [options.language for _, options in transcriber.calls]
    kept = languages.index("en")
    assert 0 < kept < 6
    assert languages == [None] * kept + ["en"] * (len(languages) - kept)


def test_hotwords_reach_the_model():
    transcriber = ToneTranscriber()
    events_of(TALK, transcriber=transcriber, hotwords=("Garza", "Tero"))
    assert {options.hotwords for _, options in transcriber.calls} == {("Garza", "Tero")}


def test_partials_are_decoded_lightly_and_what_may_end_an_utterance_is_not():
    transcriber = ToneTranscriber()
    finals = only(Final, events_of(TALK, transcriber=transcriber))
    assert sum(options.final for _, options in transcriber.calls) == len(finals) + 1


class Unplugged:
    """A source that breaks off in the middle of a word."""

    audio_format = AudioFormat()
    closed = False

    def blocks(self):
        yield stream(0.5, "one two three")[:-1_000]
        raise AudioError("the microphone is gone")

    def close(self):
        self.closed = True


def test_what_was_heard_before_the_device_was_unplugged_is_told_before_the_error():
    source, told = Unplugged(), []

    def told_by(source: Unplugged) -> Iterator[VoiceEvent]:
        for event in transcribe_source(opened(), source):
            told.append(event)
            yield event

    with pytest.raises(AudioError, match="gone"):
        list(told_by(source))
    assert [event.text for event in only(Final, told)] == ["one two three"]
    assert source.closed


def test_memory_stays_flat_over_a_long_conversation():
    minute = stream(2.0, "one two three four", 3.0, "five six seven eight nine ten", 8.0, "one " * 30, 20.0)
    streaming = opened(partial_seconds=2)
    sizes, held = [], 0
    tracemalloc.start()
    for _ in range(10):
        for at in range(0, len(minute), 8_000):
            streaming.feed(minute[at : at + 8_000])
            held = max(held, streaming.held)
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held < 20 * 16_000
    assert sizes[-1] - sizes[3] < 300_000
    assert streaming.metrics.utterances == 30


def test_metrics_say_what_it_cost():
    transcriber = ToneTranscriber()
    streaming = opened(transcriber)
    streaming.feed(TALK)
    streaming.finish()
    metrics = streaming.metrics
    assert metrics.seconds_received == pytest.approx(len(TALK) / 16_000)
    assert metrics.model_calls == len(transcriber.calls)
    assert metrics.seconds_decoded == pytest.approx(sum(length for length, _ in transcriber.calls) / 16_000)
    assert 0.2 < metrics.share_skipped < 0.6
    assert (metrics.utterances, metrics.turns, metrics.partials_dropped) == (2, 2, 0)
    assert metrics.first_partial_unaware.p95 <= 1.2
    assert metrics.endpoint_unaware.p95 <= 0.7
    assert metrics.word_latency_aware.mean >= metrics.word_latency_unaware.mean
    assert 0 < metrics.churn < 1
