"""Where speech begins and ends, from what is known of each frame."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from capibara.config.schema import VoiceSettings
from capibara.voice.gate import FRAME, Closed, Frame, Gate, GateEvent, GateRules, Opened, Paused
from capibara.voice.values import samples

SETTINGS = VoiceSettings()
RULES = GateRules.of(SETTINGS)


def frames(pattern: str, start: int = 0) -> list[Frame]:
    """``#`` speech, ``+`` between the thresholds, ``.`` silence, ``q`` speech below the floor, ``n`` loud noise."""
    known = {"#": (-20, 0.9), "+": (-30, 0.37), ".": (-60, 0.0), "q": (-90, 0.9), "n": (-10, 0.1)}
    return [Frame(start + (i + 1) * FRAME, *known[c]) for i, c in enumerate(pattern)]


def run(pattern: str, rules: GateRules = RULES, stop: str | None = "end") -> list[GateEvent]:
    gate = Gate(rules)
    events = [event for frame in frames(pattern) for event in gate.step(frame)]
    return events + (gate.stop(stop, len(pattern) * FRAME) if stop else [])


def spans(events: list[GateEvent]) -> list[tuple[int, int]]:
    """Of audio let through, in frames."""
    starts = [event.audio_start for event in events if isinstance(event, Opened)]
    ends = [event.audio_end for event in events if isinstance(event, Closed)]
    return [(a // FRAME, b // FRAME) for a, b in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("pattern", ["", ".", "." * 500, "n" * 500, "q" * 500, "+" * 500, "....##........" * 30])
def test_nothing_opens_it_but_speech(pattern):
    assert run(pattern) == []


def test_speech_opens_it_with_the_audio_before_and_silence_closes_it_with_the_audio_after():
    events = run("." * 40 + "#" * 30 + "." * 40)
    assert [type(event) for event in events] == [Opened, Paused, Closed]
    opened, paused, closed = events
    assert opened.start == 40 * FRAME
    assert opened.audio_start == opened.start - samples(SETTINGS.pre_roll_seconds)
    assert closed.speech_end == paused.speech_end == 70 * FRAME
    assert closed.audio_end == paused.audio_end == closed.speech_end + samples(SETTINGS.tail_seconds)
    assert closed.sample - closed.speech_end >= samples(SETTINGS.hangover_seconds)
    assert closed.reason == "silence"


def test_pauses_shorter_than_the_hangover_do_not_close_it():
    assert len(spans(run("." * 20 + ("#" * 10 + "." * 10) * 5 + "." * 40))) == 1


def test_it_stays_open_on_less_than_it_takes_to_open():
    events = run("#" * 10 + "+" * 100 + "." * 40)
    assert [event.speech_end // FRAME for event in events if isinstance(event, Closed)] == [110]


def test_noise_does_not_hold_it_open():
    assert spans(run("#" * 10 + "n" * 100)) == [(0, 10 + samples(SETTINGS.tail_seconds) // FRAME)]


def test_the_floor_counts_while_open_too():
    [closed] = [event for event in run("#" * 10 + "q" * 100) if isinstance(event, Closed)]
    assert closed.speech_end == 10 * FRAME


def test_utterances_close_to_each_other_share_no_audio():
    (_, first_end), (second_start, _) = spans(run("." * 20 + "#" * 10 + "." * 15 + "#" * 10 + "." * 40))
    assert first_end <= second_start


def test_speech_that_was_there_when_the_stream_began_is_kept_from_its_first_sample():
    assert spans(run("#" * 20 + "." * 40))[0][0] == 0


@pytest.mark.parametrize("reason", ["end", "idle"])
def test_a_stream_that_stops_in_speech_gives_all_of_it(reason):
    events = run("." * 20 + "#" * 20, stop=reason)
    assert isinstance(events[-1], Closed)
    assert (events[-1].audio_end, events[-1].reason) == (40 * FRAME, reason)


def test_it_can_open_again_after_the_stream_was_idle():
    gate = Gate(RULES)
    for frame in frames("#" * 20):
        gate.step(frame)
    gate.stop("idle", 20 * FRAME + 100)
    events = [event for frame in frames("#" * 20, 20 * FRAME) for event in gate.step(frame)]
    assert [event.audio_start for event in events if isinstance(event, Opened)] == [20 * FRAME + 100]


def test_speech_without_end_is_cut_where_it_is_quietest_and_nothing_is_lost():
    longest = RULES.longest // FRAME
    gate, events = Gate(RULES), []
    for frame in frames("#" * (2 * longest)):
        quiet = frame.end == (longest - 30) * FRAME
        events += gate.step(replace(frame, level_db=-40.0) if quiet else frame)
    events += gate.stop("end", 2 * longest * FRAME)
    cuts = [event for event in events if isinstance(event, Closed) and event.reason == "maximum"]
    assert cuts[0].audio_end == (longest - 30) * FRAME - FRAME // 2
    opened = [event.audio_start for event in events if isinstance(event, Opened)]
    assert [closed.audio_end for closed in cuts] == opened[1:]
    assert all(b - a <= RULES.longest for a, b in itertools.pairwise(opened))


def test_without_detection_everything_passes():
    rules = GateRules.of(VoiceSettings(vad="none"))
    events = run("." * 2_000, rules)
    starts = [event.audio_start for event in events if isinstance(event, Opened)]
    ends = [event.audio_end for event in events if isinstance(event, Closed)]
    assert starts == [0, *ends[:-1]]
    assert ends[-1] == 2_000 * FRAME


def test_other_rules_end_what_is_heard_from_then_on():
    gate = Gate(RULES)
    for frame in frames("." * 20 + "+" * 20):
        assert gate.step(frame) == []
    gate.adopt(replace(RULES, opening=0.36))
    [opened] = gate.step(frames("+", 40 * FRAME)[0])
    assert isinstance(opened, Opened)


def test_frames_that_were_heard_anew_open_it_with_those_that_follow():
    gate = Gate(RULES)
    for frame in frames("." * 40):
        gate.step(frame)
    since = gate.needs_from // FRAME
    gate.adopt(RULES, frames("#" * (40 - since), since * FRAME))
    [opened] = gate.step(frames("#", 40 * FRAME)[0])
    assert isinstance(opened, Opened)
    assert opened.audio_start >= since * FRAME


def test_a_longer_pre_roll_takes_no_audio_that_may_be_gone():
    gate = Gate(replace(RULES, pre_roll=0))
    for frame in frames("." * 100):
        gate.step(frame)
    kept = gate.needs_from
    gate.adopt(replace(RULES, pre_roll=2 * 16_000))
    events = [event for frame in frames("#" * 5, 100 * FRAME) for event in gate.step(frame)]
    assert [event.audio_start for event in events if isinstance(event, Opened)] == [kept]
