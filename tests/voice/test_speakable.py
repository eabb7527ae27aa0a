"""Sentences leave a streamed text as soon as they are certain, are spoken without markup, and know where they stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capibara.voice.speakable import MAX_CHARACTERS, SpeakableSentences, speakable


def sentences(*pieces: str) -> list[str]:
    stream = SpeakableSentences()
    found = [sentence for piece in pieces for sentence in stream.push(piece)]
    return [sentence.text for sentence in [*found, *stream.finish()]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("[1]", []),
        (" … ", []),
        ("One", ["One"]),
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It costs $29.95. Next.", ["It costs $29.95.", "Next."]),
        ("It costs $29. Next.", ["It costs $29.", "Next."]),
        ("Dr. Ito came at 5 p.m. with J. Vega. She left.", ["Dr. Ito came at 5 p.m. with J. Vega.", "She left."]),
        ("See e.g. the map. Go.", ["See e.g. the map.", "Go."]),
        ("Wait ... what? no, go.", ["Wait ... what? no, go."]),
        ("¿Cuánto cuesta? ¡Mucho! La Sra. Gil paga.", ["¿Cuánto cuesta?", "¡Mucho!", "La Sra. Gil paga."]),
        ("It ended in 1998. The end.", ["It ended in 1998.", "The end."]),
        ("1. First item\n2. Second item", ["1. First item", "2. Second item"]),
        ("- one\n- two", ["one", "two"]),
        ("A title\n\nA text", ["A title", "A text"]),
        ("wrapped\nline. Next", ["wrapped line.", "Next"]),
        ("今日は。元気？", ["今日は。", "元気？"]),
        ("Visit capibara.example today.", ["Visit capibara.example today."]),
    ],
)
def test_a_sentence_ends_where_a_reader_would_end_it(text, expected):
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("“It burns.” [1] “It stops.” [2][3]", ["“It burns.”", "“It stops.”"]),
        ("It burns [1], and stops [2].", ["It burns, and stops."]),
        ("**Bold** and *slanted* and `code` and _this_.", ["Bold and slanted and code and this."]),
        ("snake_case stays", ["snake_case stays"]),
        ("## A heading", ["A heading"]),
        ("Read [the map](https://example.org/a_b) first.", ["Read the map first."]),
        ("Page [see below] stays.", ["Page [see below] stays."]),
        ("Not [[h@l@U]] phonemes", ["Not h@l@U phonemes"]),
        ("| a | b |", ["a b"]),
        ("bell\x07 rings", ["bell rings"]),
    ],
)
def test_markers_and_markup_are_not_spoken_and_quotes_are(text, spoken):
    assert sentences(text) == spoken


@pytest.mark.parametrize(
    ("pieces", "complete"),
    [
        (["It costs $29."], []),
        (["It costs $29.", " "], []),
        (["It costs $29.", "95 now"], []),
        (["It costs $29.", " Next"], ["It costs $29."]),
        (["“It burns.”"], []),
        (["“It burns.” [1]"], ["“It burns.”"]),
        (["It burns. [1"], []),
        (["One. Two. Three."], ["One.", "Two."]),
    ],
)
def test_a_sentence_is_given_out_once_what_follows_is_known(pieces, complete):
    stream = SpeakableSentences()
    assert [sentence.text for piece in pieces for sentence in stream.push(piece)] == complete


@pytest.mark.parametrize("text", ["word " * 200, "clause, " * 150, "x" * 1000])
def test_a_sentence_without_an_end_is_cut_so_that_speech_can_begin(text):
    parts = sentences(text)
    assert all(len(part) <= MAX_CHARACTERS for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_each_word_knows_where_it_ends_in_the_streamed_text():
    text = "One [1] two. **Three** four."
    stream = SpeakableSentences()
    first, second = [*stream.push(text), *stream.finish()]
    assert [text[:end] for end in first.word_ends] == ["One", "One [1] two."]
    assert [text[second.start : end] for end in second.word_ends] == [" **Three", " **Three** four."]
    assert (first.end, second.end) == (second.start, len(text))


TEXT = st.lists(
    st.sampled_from(
        ["a", "B", "word", ".", "!", "?", " ", "\n", "[1]", "“", "”", "29", ",", "Dr.", "*", "。", "¿", "[", "]"]
    ),
    max_size=60,
).map("".join)


@given(text=TEXT, data=st.data())
def test_however_the_text_arrives_nothing_is_lost_repeated_or_reordered(text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    stream = SpeakableSentences()
    found = [sentence for piece in pieces for sentence in stream.push(piece)] + stream.finish()
    whole = speakable(text)
    said, expected = ("".join(s.text for s in found), whole.text if whole else "")
    assert [c for c in said if c.isalnum()] == [c for c in expected if c.isalnum()]
    last = 0
    for sentence in found:
        assert last <= sentence.start < sentence.end <= len(text)
        assert all(sentence.start < end <= sentence.end for end in sentence.word_ends)
        last = sentence.end
