"""From samples played to text heard: exact at the ends of sentences, by proportion inside them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capibara.voice.heard import HeardText
from capibara.voice.speakable import SpeakableSentences

ANSWER = "One two. Three four five [1]. Six."


def tone(samples: int) -> np.ndarray:
    return np.full(samples, 0.1, np.float32)


def spoken(answer: str, samples: int = 1000, pause: int = 0) -> HeardText:
    """``answer`` with ``samples`` of sound for each sentence and ``pause`` of silence behind it."""
    stream, heard = SpeakableSentences(), HeardText()
    for sentence in [*stream.push(answer), *stream.finish()]:
        heard.begin(sentence)
        heard.wrote(tone(samples))
        heard.wrote(np.zeros(pause, np.float32))
        heard.finish()
    return heard


@pytest.mark.parametrize(
    ("played", "text"),
    [
        (0, ""),
        (400, ""),
        (500, "One"),
        (1000, "One two."),
        (1001, "One two."),
        (1400, "One two. Three"),
        (1999, "One two. Three four"),
        (2000, "One two. Three four five [1]."),
        (3000, ANSWER),
        (9000, ANSWER),
    ],
)
def test_the_text_heard_ends_with_the_last_word_said(played, text):
    assert ANSWER[: spoken(ANSWER).position(played)].rstrip() == text


def test_a_pause_behind_a_sentence_takes_no_words():
    heard = spoken("One two three four.", samples=1000, pause=1000)
    assert "One two three four."[: heard.position(500)] == "One two"
    assert heard.position(1000) == len("One two three four.")


def test_a_sentence_whose_speech_is_not_complete_counts_from_its_end_alone():
    [sentence] = SpeakableSentences().push("One two. T")
    heard = HeardText()
    heard.begin(sentence)
    heard.wrote(tone(1000))
    assert heard.position(900) == 0
    heard.finish()
    assert heard.position(1000) == len("One two.")


def test_silent_speech_is_heard_when_it_is_over():
    stream, heard = SpeakableSentences(), HeardText()
    [sentence] = [*stream.push("One two."), *stream.finish()]
    heard.begin(sentence)
    heard.wrote(np.zeros(1000, np.float32))
    heard.finish()
    assert heard.sentences(999) == []
    assert heard.sentences(1000) == [sentence]


def test_what_sounds_around_a_moment_is_known_for_echoes():
    heard = spoken(ANSWER)
    assert heard.around(1500, 0, 0) == "Three four five."
    assert heard.around(1500, 600, 0) == "One two. Three four five."
    assert heard.around(1500, 0, 600) == "Three four five. Six."


def test_nothing_said_is_nothing_heard():
    heard = HeardText()
    assert (heard.position(100), heard.sentences(100), heard.around(0, 9, 9)) == (0, [], "")


@given(answer=st.text(alphabet="ab .?!\n[1]", max_size=80), step=st.integers(1, 400))
def test_more_played_is_never_less_heard_and_ends_on_a_word(answer, step):
    heard = spoken(answer, samples=700, pause=100)
    positions = [heard.position(played) for played in range(0, heard.written + step, step)]
    assert positions == sorted(positions)
    assert all(position <= len(answer) for position in positions)
