"""An answer is spoken by the sentence, stopped at once, and what was heard of it is known; time is samples."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from capibara.voice.playback import VirtualSink
from capibara.voice.speakable import SpeakableSentences
from capibara.voice.speaking import Speaker

from .beeper import CHARACTER_SECONDS, Beeper
from .synthesizer_conformance import SynthesizerConformance

SECOND = 16_000
ANSWER = "The boat leaves at nine. [1] It is blue. Nobody knows more about it."


class TestBeeper(SynthesizerConformance):
    @pytest.fixture
    def synthesizer(self):
        return Beeper()


def sentences(text: str = ANSWER):
    stream = SpeakableSentences()
    return [*stream.push(text), *stream.finish()]


@pytest.fixture
def sink():
    return VirtualSink()


@pytest.fixture
def speaker(sink):
    speaker = Speaker(Beeper(), sink, ahead_seconds=100)
    yield speaker
    speaker.close()


def say(speaker: Speaker, text: str = ANSWER, language: str = "en") -> None:
    speaker.begin()
    for sentence in sentences(text):
        speaker.say(sentence, language)
    speaker.finish()
    assert speaker.wait_until_ready(1000 * SECOND, timeout=20)


def test_sentences_are_told_when_they_were_heard_to_their_end(speaker):
    say(speaker)
    speaker.advance(round(25 * CHARACTER_SECONDS * SECOND) - 1)
    assert speaker.take_heard() == []
    speaker.advance(2)
    assert [sentence.text for sentence in speaker.take_heard()] == ["The boat leaves at nine."]
    assert speaker.take_heard() == []
    speaker.advance(60 * SECOND)
    assert len(speaker.take_heard()) == 2
    assert speaker.done


def test_stopping_tells_what_was_heard_to_the_word(speaker, sink):
    say(speaker)
    speaker.advance(round(CHARACTER_SECONDS * SECOND * len("The boat leaves at nine. It is ")))
    assert ANSWER[: speaker.stop()] == "The boat leaves at nine. [1] It is"
    sink.advance(60 * SECOND)
    assert sink.played() == 0
    assert speaker.done


def test_a_paused_answer_goes_on_where_it_was(speaker):
    say(speaker)
    speaker.advance(SECOND)
    speaker.pause()
    position = speaker.position()
    speaker.advance(30 * SECOND)
    assert speaker.position() == position > 0
    speaker.resume()
    speaker.advance(30 * SECOND)
    assert speaker.position() == len(ANSWER)


def test_an_answer_without_words_is_done_at_once(speaker):
    say(speaker, "[1]")
    assert speaker.done
    assert speaker.stop() == 0


def test_a_new_answer_silences_the_one_before(speaker):
    say(speaker)
    speaker.advance(SECOND)
    say(speaker, "Short.")
    speaker.advance(10 * SECOND)
    assert [sentence.text for sentence in speaker.take_heard()] == ["Short."]


def test_speech_is_not_made_far_ahead_of_what_is_heard(sink):
    speaker = Speaker(Beeper(), sink, ahead_seconds=1.0)
    speaker.begin()
    for sentence in sentences("One two three four five six seven eight nine ten. " * 10):
        speaker.say(sentence, "en")
    speaker.finish()
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        assert sink._queue.queued <= 1.5 * SECOND
        time.sleep(0.02)
    assert not speaker.done
    for _ in range(400):
        speaker.wait_until_ready(SECOND // 10, timeout=5)
        speaker.advance(SECOND // 10)
    assert speaker.done
    speaker.close()


def test_a_language_without_a_voice_is_told_once_and_the_next_answer_is_spoken(speaker):
    for _ in range(2):
        say(speaker, language="xx")
        assert speaker.failed
    assert speaker.take_failure() == "the beeper does not speak 'xx'"
    assert speaker.take_failure() is None
    say(speaker)
    speaker.advance(60 * SECOND)
    assert (speaker.failed, speaker.position()) == (False, len(ANSWER))


class Broken(Beeper):
    """Fails within a sentence, as foreign code may."""

    def synthesize(self, text, language):
        yield np.full(SECOND, 0.5, np.float32)
        raise RuntimeError("no more\nmemory")


def test_a_voice_that_fails_is_one_line_and_blocks_nothing(sink):
    speaker = Speaker(Broken(), sink)
    say(speaker)
    assert speaker.take_failure() == "speaking failed (RuntimeError: no more memory)"
    speaker.advance(10 * SECOND)
    assert speaker.done
    speaker.close()


def test_what_sounds_now_is_known(speaker):
    say(speaker)
    speaker.advance(SECOND)
    assert speaker.around(0, 0) == "The boat leaves at nine."
    assert speaker.around(0, 0.5) == "The boat leaves at nine. It is blue."


def test_closing_ends_its_thread():
    before = threading.active_count()
    speaker = Speaker(Beeper(), VirtualSink())
    say(speaker)
    speaker.close()
    assert threading.active_count() == before


class Other(Beeper):
    """Another voice, at another rate: it notes what it says."""

    sample_rate = 22_050

    def __init__(self) -> None:
        self.said: list[str] = []

    def synthesize(self, text, language):
        self.said.append(text)
        yield from super().synthesize(text, language)


def test_the_next_answer_has_the_new_voice_and_the_one_under_way_keeps_its_own(speaker):
    other, [one, two, *_] = Other(), sentences()
    speaker.begin()
    speaker.say(one, "en")
    speaker.adopt(other, 100)
    speaker.say(two, "en")
    speaker.finish()
    assert speaker.wait_until_ready(1000 * SECOND, timeout=20)
    assert other.said == []
    say(speaker, "It is blue.")
    assert other.said == ["It is blue."]


def test_a_voice_with_another_rate_is_heard_at_the_rate_of_the_sink_and_its_words_take_as_long(speaker):
    say(speaker, "Now.")
    speaker.adopt(Other(), 100)
    say(speaker, "The boat leaves at nine.")
    assert speaker.take_failure() is None
    speaker.advance(round(24 * CHARACTER_SECONDS * SECOND))
    assert speaker.take_heard() == []
    speaker.advance(round(1.1 * CHARACTER_SECONDS * SECOND))
    assert [sentence.text for sentence in speaker.take_heard()] == ["The boat leaves at nine."]


def test_how_far_ahead_the_next_answer_is_spoken(speaker, sink):
    speaker.adopt(Beeper(), 1.0)
    speaker.begin()
    for sentence in sentences("One two three four five six seven eight nine ten. " * 10):
        speaker.say(sentence, "en")
    assert speaker.wait_until_ready(SECOND, timeout=20)
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        assert sink._queue.queued <= 1.5 * SECOND
        time.sleep(0.02)


def test_without_a_voice_nothing_is_said_until_there_is_one(sink):
    speaker = Speaker(None, sink)
    say(speaker)
    assert speaker.done
    assert not speaker.sounding
    speaker.adopt(Beeper(), 100)
    say(speaker)
    speaker.advance(60 * SECOND)
    assert speaker.position() == len(ANSWER)
    speaker.close()
