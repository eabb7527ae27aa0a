"""When a turn ends, in samples."""

from __future__ import annotations

import pytest

from capibara.config.schema import VoiceSettings
from capibara.voice.endpointing import Endpointer
from capibara.voice.unfinished import sounds_unfinished
from capibara.voice.values import samples

SETTINGS = VoiceSettings(endpoint_seconds=0.6, endpoint_max_seconds=2.5, unfinished_factor=2.5)


class Talk:
    """Plays stretches of speech to an `Endpointer`; seconds everywhere."""

    def __init__(self, settings: VoiceSettings = SETTINGS) -> None:
        self.policy = Endpointer(settings)
        self.count = 0

    def says(self, start: float, end: float, text: str | None = "yes it is", language: str = "en") -> None:
        self.count += 1
        self.policy.started(self.count, samples(start), samples(start + 0.1))
        self.policy.stopped(self.count, samples(end))
        if text is not None:
            self.policy.transcribed(self.count, text, language)

    def ends_by(self, now: float) -> float | None:
        end = self.policy.check(samples(now))
        return None if end is None else end.sample / 16_000


def test_silence_ends_a_turn_after_the_least_delay_and_not_before():
    talk = Talk()
    talk.says(1, 2)
    assert talk.ends_by(2.59) is None
    assert talk.ends_by(2.6) == 2.6
    assert talk.ends_by(9) is None


@pytest.mark.parametrize(("text", "end"), [("what is the", 3.5), ("it costs,", 3.5), ("what is it for?", 2.6)])
def test_an_unfinished_sentence_waits_longer(text, end):
    talk = Talk()
    talk.says(1, 2, text)
    assert talk.ends_by(10) == end


def test_no_sentence_waits_longer_than_the_greatest_delay():
    talk = Talk(VoiceSettings(endpoint_seconds=2.0, endpoint_max_seconds=2.5))
    talk.says(1, 2, "what is the")
    assert talk.ends_by(10) == 4.5


def test_speech_before_the_delay_is_over_goes_on_with_the_turn():
    talk = Talk()
    talk.says(1, 2, "one")
    talk.says(2.4, 3, "two")
    end = talk.policy.check(samples(10))
    assert end is not None
    assert end.utterances == (1, 2)


def test_a_turn_waits_for_its_transcript_and_then_ends_at_once():
    talk = Talk()
    talk.says(1, 2, text=None)
    assert talk.ends_by(5) is None
    talk.policy.transcribed(1, "yes it is", "en")
    assert talk.ends_by(5) == 2.6


def test_a_transcript_that_never_comes_does_not_hold_the_turn_for_ever():
    talk = Talk(VoiceSettings(transcript_wait_seconds=4))
    talk.says(1, 2, text=None)
    assert talk.ends_by(5.9) is None
    assert talk.ends_by(6) == 6


@pytest.mark.parametrize("late", [False, True])
def test_a_late_transcript_leads_to_the_decision_of_a_timely_one(late):
    talk = Talk()
    talk.says(1, 2, None if late else "yes it is")
    early = [] if late else [talk.ends_by(3)]
    talk.says(4, 5, "no")
    if late:
        talk.policy.transcribed(1, "yes it is", "en")
    ends = [*early, talk.ends_by(5.6), *([talk.ends_by(5.6)] if late else [])]
    assert ends == [2.6, 5.6]


def test_a_speaker_who_pauses_within_turns_is_given_more_time_and_a_quick_one_less_again():
    talk, now = Talk(), 0.0
    for _ in range(8):
        talk.says(now, now + 1, "it is")
        talk.says(now + 2.0, now + 3, "it was so")
        while talk.ends_by(now + 8) is not None:
            pass
        now += 10
    talk.says(now, now + 1)
    patient = talk.ends_by(now + 8) - (now + 1)
    assert 0.9 < patient <= 2.5
    for _ in range(40):
        now += 10
        talk.says(now, now + 1)
        quick = talk.ends_by(now + 8) - (now + 1)
    assert quick == pytest.approx(0.6, abs=0.01)


def test_the_delay_stays_where_adapting_is_off():
    talk = Talk(VoiceSettings(endpoint_adaptive=False))
    for start in (1, 2.9, 4.8, 6.7):
        talk.says(start, start + 1)
        assert talk.ends_by(start + 1.7) == pytest.approx(start + 1.6)


def test_the_end_of_the_stream_ends_the_turn():
    talk = Talk()
    talk.says(1, 2)
    assert talk.policy.finish(samples(2.1)).utterances == (1,)
    assert talk.policy.finish(samples(2.1)) is None


@pytest.mark.parametrize(
    ("text", "language", "unfinished"),
    [
        ("", "en", False),
        ("How much does a night cost?", "en", False),
        ("How much does a", "en", True),
        ("How much does a.", "en", True),
        ("I would like to know,", "en", True),
        ("I was thinking...", "en", True),
        ("What is it made of", "en", False),
        ("It is made of", "en", True),
        ("¿Cuánto cuesta la", "es", True),
        ("¿Cuánto cuesta la noche?", "es", False),
        ("porque", "es", True),
        ("und", "de", False),
    ],
)
def test_what_sounds_unfinished(text, language, unfinished):
    assert sounds_unfinished(text, language) is unfinished


def test_a_stretch_of_speech_keeps_the_delays_that_it_began_with():
    talk = Talk()
    talk.says(1, 2)
    talk.policy.adopt(VoiceSettings(endpoint_seconds=1.5))
    assert talk.ends_by(9) == 2.6
    talk.says(10, 11)
    assert talk.ends_by(19) == 12.5


def test_a_turn_whose_speech_goes_on_ends_after_the_delay_of_its_latest_stretch():
    talk = Talk()
    talk.says(1, 2)
    talk.policy.adopt(VoiceSettings(endpoint_seconds=1.5))
    talk.says(2.4, 3)
    assert talk.ends_by(9) == 4.5


@pytest.mark.parametrize("adaptive", [True, False])
def test_what_was_learned_of_a_speaker_is_kept_only_where_it_counts(adaptive):
    talk, now = Talk(), 0.0
    for _ in range(8):
        talk.says(now, now + 1, "it is")
        talk.says(now + 2.0, now + 3, "it was so")
        while talk.ends_by(now + 8) is not None:
            pass
        now += 10
    talk.policy.adopt(VoiceSettings(endpoint_adaptive=adaptive, endpoint_max_seconds=2.4))
    talk.says(now, now + 1)
    delay = talk.ends_by(now + 8) - (now + 1)
    assert (delay > 0.9) is adaptive
