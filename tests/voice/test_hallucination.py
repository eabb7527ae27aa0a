"""Words that nobody said."""

from __future__ import annotations

import pytest

from capibara.voice.hallucination import believable, without_loops
from capibara.voice.values import Segment, Word


def segment(count: int = 3, seconds: float = 0.3, probability: float = 0.8, **scores: float) -> Segment:
    length = int(seconds * 16_000)
    words = tuple(Word(f"w{i}", i * length, (i + 1) * length, probability) for i in range(count))
    return Segment(0, count * length, words, **{"average_logprob": -0.8, **scores})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (segment(), True),
        (segment(0), False),
        (segment(no_speech_probability=0.9), True),
        (segment(no_speech_probability=0.9, average_logprob=-1.2), False),
        (segment(probability=0.05), False),
        (segment(seconds=0.02), False),
        (segment(seconds=6.0), False),
        (segment(probability=0.05, average_logprob=-0.2), True),
        (segment(8), True),
    ],
)
def test_segments_that_the_model_doubts_or_that_no_mouth_could_say_are_left_out(found, expected):
    assert believable(found) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a", "a"),
        ("no no no", "no no no"),
        ("thank you " * 8, "thank you"),
        ("so the end the end the end the end. And", "so the end And"),
        ("a " * 5, "a a a a a"),
        ("a " * 6, "a"),
        ("a b c d " * 4 + "e", "a b c d e"),
    ],
)
def test_loops_are_said_once(text, expected):
    words = tuple(Word(word, i, i + 1) for i, word in enumerate(text.split()))
    assert " ".join(word.text for word in without_loops(words)) == expected
