"""What counts as support, phrase by phrase and marker by marker."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capibara.assistant.citations import MarkerFilter, best_sentence
from capibara.assistant.evidence import Evidence, select
from capibara.assistant.support import numbers, support
from capibara.rag.values import Chunk, Document, Passage, StageScores

TEXTS = (
    "The ferry leaves Port Anselm at 07:40. It carries 62 passengers and takes no cars.",
    "Ruth Vane repaired the lighthouse lamp in 1953. She was paid 1,250 crowns.",
)


def passage(text: str, number: int = 0, start: int = 100) -> Passage:
    document = Document(f"d{number}", "default", f"file{number}.txt", f"Title {number}", "", language="en")
    chunk = Chunk(f"c{number}", document.id, 0, text, start, start + len(text), page=number + 1)
    return Passage(chunk, document, StageScores())


PASSAGES = tuple(passage(text, number) for number, text in enumerate(TEXTS))


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        ("Ruth Vane repaired the lamp of the lighthouse", True),
        ("The lamp was repaired in 1953", True),
        ("The lamp was repaired in 1954", False),
        ("She was paid 1250 crowns", True),
        ("The ferry carries passengers", False),
        ("", False),
        ("the of and", False),
    ],
)
def test_a_claim_needs_its_words_and_its_numbers_in_the_evidence(claim, holds):
    assert support(claim, TEXTS[1], "en").holds(0.6) is holds


def test_numbers_are_compared_without_thousands_separators():
    assert numbers("1,250 or 12:30 or 3.5") == {"1250", "12:30", "3.5"}


def run(text: str, sizes: list[int]) -> tuple[str, MarkerFilter]:
    markers = MarkerFilter(PASSAGES)
    shown, position = "", 0
    for size in sizes:
        shown += markers.push(text[position : position + size])
        position += size
    return shown + markers.push(text[position:]) + markers.finish(), markers


COMPOSED = (
    "Ruth Vane repaired the lamp in 1953 [2]. The ferry takes no cars [1, 2]. Cars cost 9 crowns [1]. See [7] and [x]."
)


@given(st.lists(st.integers(1, 9), max_size=120))
def test_markers_are_checked_alike_however_the_stream_is_cut(sizes):
    shown, markers = run(COMPOSED, sizes)
    assert (
        shown
        == "Ruth Vane repaired the lamp in 1953 [2]. The ferry takes no cars [1]. Cars cost 9 crowns. See and [x]."
    )
    assert markers.removed == 3
    assert [citation.marker for citation in markers.citations] == [2, 1]


@given(st.text(alphabet="ab [],.12\n", max_size=60), st.lists(st.integers(1, 5), max_size=60))
def test_text_without_supported_markers_only_loses_markers(text, sizes):
    shown, markers = run(text, sizes)
    assert "".join(shown.split()) == "".join(re.sub(r"\s*\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]", "", text).split())
    assert markers.citations == []


def test_a_citation_names_the_exact_place_of_the_sentence_that_backs_the_claim():
    _, markers = run("Ruth Vane was paid 1,250 crowns [2].", [])
    [citation] = markers.citations
    text = TEXTS[1]
    assert text[citation.start - 100 : citation.end - 100] == citation.quote == "She was paid 1,250 crowns."
    assert (citation.document, citation.page) == ("file1.txt", 2)
    assert best_sentence("repaired in 1953", PASSAGES[1].chunk, "en") == (100, 147)


def evidence(text: str, score: float = 1.0, number: int = 0) -> Evidence:
    return Evidence(passage(text, number), 100, 100 + len(text), text, score, score)


def test_selection_keeps_the_word_limit_and_says_nothing_twice():
    ranked = [evidence("one two three four", 1), evidence("One two  three four", 0.9), evidence("five six", 0.8)]
    assert [one.text for one in select(ranked, 2, 60)] == ["one two three four", "five six"]
    assert [one.text for one in select(ranked, 2, 5)] == ["one two three four"]
    assert select([], 2, 60) == []


def test_a_further_sentence_must_be_nearly_as_similar_as_the_best():
    ranked = [evidence("one two three four", 0.9), evidence("five six", 0.6), evidence("seven eight", 0.8)]
    assert [one.text for one in select(ranked, 2, 60)] == ["one two three four", "seven eight"]


def test_a_best_sentence_longer_than_the_limit_keeps_its_beginning_with_a_true_span():
    [one] = select([evidence("alpha  beta gamma delta", 3)], 2, 3)
    assert one.text == "alpha  beta"
    assert one.end - one.start == len(one.text)
