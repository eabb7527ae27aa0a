"""Committed words: when two transcripts agree, and never withdrawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capibara.voice.hypothesis import Hypothesis, normal
from capibara.voice.values import Word, text_of

SECOND = 16_000


def words(text: str, start: int = 0, length: int = SECOND // 2) -> list[Word]:
    return [Word(w, start + i * length, start + (i + 1) * length) for i, w in enumerate(text.split())]


def after(*texts: str) -> tuple[str, str]:
    """Committed and tentative text once ``texts`` were heard, each with half a second of audio after its last word."""
    hypothesis = Hypothesis()
    for text in texts:
        heard = words(text)
        hypothesis.update(heard, 0, len(heard) * SECOND // 2 + SECOND // 2)
    return text_of(hypothesis.committed), text_of(hypothesis.tentative)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], ("", "")),
        ([""], ("", "")),
        (["a"], ("", "a")),
        (["a", "a"], ("a", "")),
        (["a b", "a b c"], ("a b", "c")),
        (["a x", "a b c"], ("a", "b c")),
        (["x", "a b"], ("", "a b")),
        (["a b c", "a b", "a b c"], ("a b", "c")),
        (["a b", "a b", "x y c"], ("a b", "c")),  # committed words stay, whatever comes later
        (["a b", "a b", "a x b c"], ("a b", "b c")),
        (["a b", "a b", "b c"], ("a b", "c")),
        (["the the", "the the cat"], ("the the", "cat")),
        (["How much?", "how much does"], ("how much", "does")),
    ],
)
def test_words_are_committed_once_two_transcripts_agree(texts, expected):
    assert after(*texts) == expected


def test_a_last_word_whose_punctuation_changed_waits():
    assert after("a house.", "a house") == ("a", "house")


def test_a_word_at_the_end_of_the_audio_may_be_cut_off_and_waits():
    hypothesis = Hypothesis()
    for _ in range(3):
        hypothesis.update(words("a b"), 0, SECOND)
    assert text_of(hypothesis.committed) == "a"


def test_words_after_a_shortened_window_follow_the_committed_ones():
    hypothesis = Hypothesis()
    for text in ("a b c d", "a b c d e"):
        hypothesis.update(words(text), 0, 3 * SECOND)
    hypothesis.update(words("c d e f", SECOND), SECOND, 4 * SECOND)
    hypothesis.update(words("c d e f", SECOND), SECOND, 4 * SECOND)
    assert text_of(hypothesis.committed) == "a b c d e f"


def test_the_whole_begins_with_what_was_committed():
    hypothesis = Hypothesis()
    for _ in range(2):
        hypothesis.update(words("a b"), 0, 2 * SECOND)
    assert text_of(hypothesis.complete(words("A, x c d"), 0)) == "a b c d"


def test_words_told_by_the_utterance_before_are_left_out():
    hypothesis = Hypothesis()
    hypothesis.said_until = SECOND
    assert text_of(hypothesis.complete(words("a b c d"), 0)) == "c d"


vocabulary = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), max_size=8)


@given(heard=st.lists(st.tuples(vocabulary, st.integers(0, 3)), min_size=1, max_size=12))
def test_committed_words_never_change_and_times_never_run_backwards(heard):
    hypothesis, before = Hypothesis(), ()
    for text, start in heard:
        found = words(" ".join(text), start * SECOND)
        hypothesis.update(found, start * SECOND, start * SECOND + 5 * SECOND)
        assert hypothesis.committed[: len(before)] == before
        before = hypothesis.committed
    whole = hypothesis.complete(words("a b c"), 0)
    assert whole[: len(before)] == before
    starts = [word.start for word in whole]
    assert starts == sorted(starts)
    assert all(word.start <= word.end for word in whole)


@pytest.mark.parametrize(
    ("text", "expected"), [("Hello,", "hello"), ("¿Qué?", "qué"), ("it's", "its"), ("...", "..."), ("1,850", "1850")]
)
def test_words_are_compared_without_case_and_punctuation(text, expected):
    assert normal(text) == expected
