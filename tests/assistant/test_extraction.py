"""What is chosen of the words that the extractive reader points at, and when it reads instead of the language model."""

from __future__ import annotations

from pathlib import Path

import pytest

from capibara.assistant.extraction import answers_alone, choose, extractor_for
from capibara.config.schema import Settings
from capibara.rag.extractive_reader import AnswerSpan, ExtractiveReader
from capibara.rag.models import find_embedding_model
from capibara.rag.parts import OpenModels, SearchParts
from capibara.rag.values import Chunk, Document, Passage, StageScores

TEXT = "The harbour opens at six. Its master is Ines  Vega, who lives by the pier. Boats wait."
START = 100
"""Where the passages begin in their documents."""


def passage(text: str = TEXT, score: float = 0.5, number: int = 0) -> Passage:
    chunk = Chunk(f"c{number}", f"d{number}", 0, text, START, START + len(text))
    return Passage(chunk, Document(f"d{number}", "default", f"file{number}.txt", "", ""), StageScores(final=score))


def span(words: str, score: float = 3.0, text: str = TEXT) -> AnswerSpan:
    start = text.index(words)
    return AnswerSpan(start, start + len(words), score)


def test_a_phrase_comes_with_the_sentence_that_holds_it() -> None:
    found = choose([passage()], [span("Ines  Vega")], 0.0)
    assert found is not None
    assert found.phrase == "Ines Vega"
    assert found.sentence == "Its master is Ines  Vega, who lives by the pier."
    assert TEXT[found.start - START : found.end - START] == found.sentence


def test_a_phrase_across_a_full_stop_comes_with_both_sentences() -> None:
    found = choose([passage()], [span("six. Its master")], 0.0)
    assert found is not None
    assert found.sentence == "The harbour opens at six. Its master is Ines  Vega, who lives by the pier."


@pytest.mark.parametrize(("words", "phrase"), [("at six.", "at six"), ("Ines  Vega,", "Ines Vega"), ("six", "six")])
def test_a_phrase_ends_without_the_mark_behind_it(words: str, phrase: str) -> None:
    found = choose([passage()], [span(words)], 0.0)
    assert found is not None
    assert found.phrase == phrase


@pytest.mark.parametrize(
    ("text", "words", "phrase"),
    [
        ("It lies near Washington, D.C. and is old.", "Washington, D.C.", "Washington, D.C."),
        ("The shop shuts at 9 p.m. The next day it opens.", "9 p.m.", "9 p.m."),
        ("Acme Inc. was sold to him.", "Acme Inc.", "Acme Inc."),
        ("He came with Acme Inc., then left.", "Acme Inc.,", "Acme Inc."),
        ("It rose by 3.5. Then it fell.", "3.5.", "3.5"),
        ("He said: “It opens at six.” She left.", "six.", "six"),
        ("It opens at six.[3] She left.", "six.", "six"),
        ("他在六点到。她走了。", "六点到。", "六点到"),
        ("He works at Yahoo! She does not.", "Yahoo!", "Yahoo!"),
        ("He waited...", "waited...", "waited"),
    ],
)
def test_a_stop_is_left_out_where_it_ends_the_sentence_and_no_abbreviation(text: str, words: str, phrase: str) -> None:
    found = choose([passage(text)], [span(words, text=text)], 0.0)
    assert found is not None
    assert found.phrase == phrase


def test_where_nothing_but_marks_is_pointed_at_the_next_passage_answers() -> None:
    dots = "He said ... and left. Who knows ..."
    spans = [span("... and"[:3], 5.0, dots), span("six", 3.0)]
    found = choose([passage(dots, number=0), passage(number=1)], spans, 0.0)
    assert found is not None
    assert found.phrase == "six"
    assert choose([passage(dots)], spans[:1], 0.0) is None


@pytest.mark.parametrize(("bias", "answered"), [(2.9, True), (3.0, True), (3.1, False)])
def test_a_passage_answers_where_its_span_outdoes_the_bias(bias: float, answered: bool) -> None:
    assert (choose([passage()], [span("six", 3.0)], bias) is not None) is answered


@pytest.mark.parametrize("spans", [[], [None], [None, span("six", -9.0)]], ids=["empty", "no words", "unlikely"])
def test_nothing_is_chosen_where_no_passage_answers(spans: list[AnswerSpan | None]) -> None:
    assert choose([passage(number=number) for number in range(len(spans))], spans, 0.0) is None


def test_the_better_span_wins_among_passages_found_alike() -> None:
    passages = [passage(number=0), passage(number=1)]
    found = choose(passages, [span("six", 2.0), span("Boats", 3.0)], 0.0)
    assert found is not None
    assert found.phrase == "Boats"


def test_the_better_found_passage_wins_among_like_spans() -> None:
    passages = [passage(score=0.9, number=0), passage(score=0.1, number=1)]
    found = choose(passages, [span("six", 3.0), span("Boats", 3.1)], 0.0)
    assert found is not None
    assert found.phrase == "six"


def test_a_passage_that_does_not_answer_does_not_win_by_its_place() -> None:
    passages = [passage(score=1.0, number=0), passage(score=0.0, number=1)]
    found = choose(passages, [span("six", -0.1), span("Boats", 0.1)], 0.0)
    assert found is not None
    assert found.phrase == "Boats"


@pytest.fixture
def parts(tmp_path: Path) -> SearchParts:
    embedder = OpenModels().embedder(Settings().rag)
    return SearchParts(embedder, None, ExtractiveReader(tmp_path, find_embedding_model("default")))


@pytest.mark.parametrize(
    ("settings", "extracts"),
    [
        ({"assistant": {"answer_style": "short"}}, True),
        ({}, False),
        ({"rag": {"extractor": "my-extractor"}}, True),
        ({"assistant": {"answer_style": "quote"}}, False),
        ({"assistant": {"answer_style": "compose"}}, False),
        ({"assistant": {"answer_style": "short"}, "model": {"path": "larger.gguf"}}, False),
        ({"assistant": {"answer_style": "short"}, "model": {"reader": "my-reader"}}, False),
        ({"model": {"path": "larger.gguf"}, "rag": {"extractor": "my-extractor"}}, True),
    ],
    ids=["short", "sentence", "sentence, named", "quote", "compose", "another model", "another reader", "named"],
)
def test_it_reads_in_place_of_the_bundled_model_or_where_it_is_named(
    parts: SearchParts, settings: dict, extracts: bool
) -> None:
    chosen = extractor_for(Settings.model_validate(settings), parts)
    assert chosen is (parts.extractor if extracts else None)


@pytest.mark.parametrize(
    ("style", "extractor", "alone"),
    [("short", True, True), ("short", False, False), ("quote", False, True), ("compose", True, False)],
)
def test_whether_a_language_model_is_needed(parts: SearchParts, style: str, extractor: bool, alone: bool) -> None:
    settings = Settings.model_validate({"assistant": {"answer_style": style}})
    has = parts if extractor else SearchParts(parts.embedder, None)
    assert answers_alone(settings, has) is alone
