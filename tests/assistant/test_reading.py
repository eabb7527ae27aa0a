"""What the reader writes is understood, and shown only where a passage says it."""

from __future__ import annotations

import pytest

from capibara.assistant.evidence import Evidence
from capibara.assistant.grounding import ground
from capibara.assistant.reading import INSTRUCTION, NOT_STATED, Reading, parse_reading, reader_messages
from capibara.rag.values import Chunk, Document, Passage, StageScores

LAMP = (
    "Ruth Vane came to the island in 1949. Ruth Vane repaired the\nlighthouse lamp in 1953. She was paid 1,250 crowns."
)
FERRY = "The ferry to Orm leaves at nine. Its captain is Per Dahl."
START = 100


def passage(text: str, number: int) -> Passage:
    chunk = Chunk(f"c{number}", f"d{number}", 0, text, START, START + len(text))
    return Passage(chunk, Document(f"d{number}", "default", f"file{number}.txt", "", ""), StageScores())


PASSAGES = [passage(FERRY, 0), passage(LAMP, 1)]


@pytest.mark.parametrize(
    ("written", "reading"),
    [
        ("1953 [2]", Reading("1953", 2)),
        (" Per Dahl [1]\n", Reading("Per Dahl", 1)),
        ("pages 3 [a] to 9 [12]", Reading("pages 3 [a] to 9", 12)),
        (NOT_STATED, None),
        (f"{NOT_STATED} [1]", None),
        ("Not stated. [2]", None),
        ("1953", None),
        ("[2]", None),
        ("", None),
    ],
)
def test_a_phrase_and_its_number_are_told_apart(written, reading):
    assert parse_reading(written) == reading
    if reading:
        assert parse_reading(str(reading)) == reading


def test_passages_are_numbered_before_the_question():
    told, asked = reader_messages("Who is the captain?", [FERRY, LAMP])
    assert told == {"role": "system", "content": INSTRUCTION}
    assert asked["content"] == f"[1] {FERRY}\n\n[2] {LAMP}\n\nWho is the captain?"


@pytest.mark.parametrize("phrase", ["the lighthouse lamp", "The Lighthouse  Lamp", "the\nlighthouse lamp"])
def test_a_phrase_is_shown_as_its_passage_spells_it_with_the_sentence_that_holds_it(phrase):
    found = ground(Reading(phrase, 2), PASSAGES, [])
    assert found is not None
    assert found.phrase == "the lighthouse lamp"
    assert found.passage is PASSAGES[1]
    assert found.sentence == "Ruth Vane repaired the\nlighthouse lamp in 1953."
    assert LAMP[found.start - START : found.end - START] == found.sentence
    assert not found.moved


def test_a_phrase_under_a_wrong_number_is_cited_from_the_passage_that_holds_it():
    for number in (1, 3, 0, 99):
        found = ground(Reading("1953", number), PASSAGES, [])
        assert found is not None
        assert found.passage is PASSAGES[1]
        assert found.moved


@pytest.mark.parametrize("phrase", ["1954", "195", "Ruth", "lamp in 1953 crowns", "", "per Dahl Orm"])
def test_what_no_passage_says_as_whole_words_is_not_shown(phrase):
    found = ground(Reading(phrase, 2), PASSAGES, [])
    assert (found is not None) is (phrase == "Ruth")


def test_of_several_places_the_sentence_that_supports_an_answer_best_is_cited():
    start = LAMP.index("Ruth Vane repaired")
    end = LAMP.index(" She was")
    best = Evidence(PASSAGES[1], START + start, START + end, LAMP[start:end], 0.9, 0.9)
    first = ground(Reading("Ruth Vane", 2), PASSAGES, [])
    supported = ground(Reading("Ruth Vane", 2), PASSAGES, [best])
    assert first is not None
    assert supported is not None
    assert first.sentence.endswith("1949.")
    assert supported.sentence == LAMP[start:end]


def test_a_phrase_over_two_sentences_is_cited_with_both():
    found = ground(Reading("in 1953. She was paid", 2), PASSAGES, [])
    assert found is not None
    assert found.sentence == LAMP[LAMP.index("Ruth Vane repaired") :]


def test_marks_with_a_meaning_in_patterns_are_only_marks():
    odd = [passage("The fee (in 2001) was $5.00 [net].", 0)]
    found = ground(Reading("$5.00 [net]", 1), odd, [])
    assert found is not None
    assert found.phrase == "$5.00 [net]"
