"""Subtitles: cut where a reader expects it, in the notation of each format."""

from __future__ import annotations

import pytest

from capibara.voice.subtitles import MAX_LINE, cues, srt, vtt
from capibara.voice.values import Word, samples


def words(text: str, start: float = 0.0, each: float = 0.4, gaps: dict[int, float] | None = None) -> list[Word]:
    found = []
    for number, word in enumerate(text.split()):
        start += (gaps or {}).get(number, 0.0)
        found.append(Word(word, samples(start), samples(start + each)))
        start += each
    return found


def texts(*utterances) -> list[str]:
    return [cue.text for cue in cues(utterances)]


@pytest.mark.parametrize(("utterances", "expected"), [([], []), ([[]], []), ([words("One.")], ["One."])])
def test_empty_and_single(utterances, expected):
    assert texts(*utterances) == expected


def test_an_utterance_ends_a_subtitle():
    assert texts(words("one two"), words("three", 2.0)) == ["one two", "three"]


def test_a_pause_ends_a_subtitle():
    assert texts(words("one two three", gaps={2: 1.0})) == ["one two", "three"]


def test_a_sentence_ends_a_subtitle_that_is_long_enough():
    long = "the keeper of the lighthouse went home at last."
    assert texts(words(f"{long} then it rained", each=0.2)) == [cues([words(long)])[0].text, "then it rained"]
    assert texts(words("Yes. No. Why?", each=0.2)) == ["Yes. No. Why?"]


def test_no_line_and_no_subtitle_is_too_long():
    found = cues([words("word and another word " * 40, each=0.25)])
    assert all(len(line) <= MAX_LINE + 8 for cue in found for line in cue.text.split("\n"))
    assert all(cue.text.count("\n") <= 1 and cue.end - cue.start <= samples(7.01) for cue in found)
    assert " ".join(cue.text.replace("\n", " ") for cue in found) == ("word and another word " * 40).strip()


def test_srt():
    assert srt(cues([words("Hello there."), words("Bye.", 3661.5)])) == (
        "1\n00:00:00,000 --> 00:00:00,800\nHello there.\n\n2\n01:01:01,500 --> 01:01:01,900\nBye.\n"
    )
    assert srt([]) == ""


def test_vtt_escapes_what_would_be_markup():
    assert vtt(cues([words("a < b & c")])) == "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\na &lt; b &amp; c\n"
    assert vtt([]) == "WEBVTT\n"
