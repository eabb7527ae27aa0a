"""What speech during an answer does to it, in samples; echoes and signs of attention end nothing."""

from __future__ import annotations

import pytest

from capibara.config.schema import VoiceSettings
from capibara.voice.barge_in import BargeIn, own_words
from capibara.voice.values import Final, Partial, SpeechStarted, Word, samples

SPOKEN = "A night in Casa Garza costs 1,850 pesos per person, with breakfast."
SETTINGS = VoiceSettings(barge_in_words=2, barge_in_wait_seconds=2.0, barge_in_speech_seconds=1.0)


def started(utterance: int, at: float) -> SpeechStarted:
    return SpeechStarted(utterance, 1, samples(at), samples(at - 0.2))


def words(text: str) -> tuple[Word, ...]:
    return tuple(Word(word, 0, 0) for word in text.split())


def partial(utterance: int, at: float, text: str) -> Partial:
    return Partial(utterance, 1, samples(at), (), words(text), "en")


def final(utterance: int, at: float, text: str) -> Final:
    return Final(utterance, 1, samples(at), 0, samples(at), words(text), "en", "silence")


@pytest.fixture
def policy() -> BargeIn:
    policy = BargeIn(SETTINGS)
    policy.began()
    return policy


def test_speech_pauses_and_words_stop(policy):
    assert policy.heard_speech(started(1, 1.0)) == "pause"
    assert policy.heard_words(partial(1, 1.5, "Wait"), SPOKEN) is None
    assert policy.heard_words(partial(1, 1.7, "Wait a"), SPOKEN) == "stop"


def test_one_word_stops_when_its_speaker_has_paused(policy):
    policy.heard_speech(started(1, 1.0))
    assert policy.heard_words(final(1, 1.9, "Stop."), SPOKEN) == "stop"


def test_one_word_stops_when_the_speech_is_long(policy):
    policy.heard_speech(started(1, 1.0))
    assert policy.heard_words(partial(1, 1.75, "Please"), SPOKEN) is None
    assert policy.heard_words(partial(1, 1.85, "Please"), SPOKEN) == "stop"


@pytest.mark.parametrize("text", ["", "Mhm.", "Yes, yes.", "Sí, claro.", "a night in Casa Garza"])
def test_an_utterance_without_own_words_lets_the_answer_go_on_at_once(policy, text):
    policy.heard_speech(started(1, 1.0))
    assert policy.heard_words(final(1, 1.6, text), SPOKEN) == "resume"
    assert policy.at(samples(9)) is None


def test_speech_without_words_lets_the_answer_go_on_when_the_time_is_over(policy):
    policy.heard_speech(started(1, 1.0))
    assert policy.at(samples(3.0) - 1) is None
    assert policy.at(samples(3.0)) == "resume"
    assert policy.at(samples(3.1)) is None


def test_words_that_come_after_the_time_still_stop(policy):
    policy.heard_speech(started(1, 1.0))
    policy.at(samples(3.0))
    assert policy.heard_words(partial(1, 3.2, "wait a moment"), SPOKEN) == "stop"


def test_the_answer_stays_paused_while_another_utterance_goes_on(policy):
    policy.heard_speech(started(1, 1.0))
    assert policy.heard_speech(started(2, 2.0)) is None
    assert policy.heard_words(final(1, 2.1, ""), SPOKEN) is None
    assert policy.at(samples(3.5)) is None
    assert policy.heard_words(final(2, 3.6, ""), SPOKEN) == "resume"


def test_words_of_an_utterance_from_before_the_answer_decide_nothing(policy):
    assert policy.heard_words(final(7, 1.0, "how much is it"), SPOKEN) is None


def test_where_interrupting_is_off_nothing_is_decided():
    policy = BargeIn(SETTINGS.model_copy(update={"barge_in": False}))
    policy.began()
    assert policy.heard_speech(started(1, 1.0)) is None
    assert policy.heard_words(final(1, 2.0, "stop it now"), SPOKEN) is None
    assert policy.at(samples(9)) is None


def test_a_new_answer_forgets_the_pause_of_the_one_before(policy):
    policy.heard_speech(started(1, 1.0))
    policy.began()
    assert policy.at(samples(9)) is None


@pytest.mark.parametrize(
    ("said", "own"),
    [
        ("", []),
        ("when does the boat leave", ["when", "does", "the", "boat", "leave"]),
        ("a night in Casa Garza costs", []),
        ("a knight in casa Garcia cost", []),
        ("light in Casa Garza", []),
        ("pesos per person", []),
        ("in Casa Garza stop it", ["stop", "it"]),
        ("and what about Casa Garza costs", ["and", "what", "about"]),
        ("uh-huh", []),
        ("yes but when", ["but", "when"]),
    ],
)
def test_only_the_speakers_own_words_count(said, own):
    assert own_words(said.split(), SPOKEN) == own


def test_without_anything_spoken_every_word_is_the_speakers_own():
    assert own_words(["Casa", "Garza?"], "") == ["casa", "garza"]
