"""Sentences are found in their passages, with true spans, by the real embedding model."""

import pytest

from capibara.assistant.evidence import rank_sentences
from capibara.config.schema import RagSettings
from capibara.rag.embedding import open_embedder
from capibara.rag.values import Chunk, Document, Passage, StageScores

TEXT = """Kayaks and who may use them

The station owns six kayaks. A kayak is booked with Nora Falk, who keeps the list in the blue cupboard.
Paddlers wear a vest."""


@pytest.fixture(scope="module")
def embedder():
    return open_embedder(RagSettings())


def passage(text: str, start: int = 40) -> Passage:
    chunk = Chunk("c", "d", 0, text, start, start + len(text))
    return Passage(chunk, Document("d", "default", "kayaks.md", "Kayaks", ""), StageScores())


@pytest.mark.parametrize("passages", [[], [passage("")], [passage(" \n ")]])
def test_nothing_supports_an_answer_where_nothing_is_said(embedder, passages):
    assert rank_sentences("Who keeps the kayak list?", passages, embedder) == []


def test_the_sentence_that_answers_comes_first_with_its_span_in_the_document(embedder):
    best = rank_sentences("With whom is a kayak booked?", [passage(TEXT)], embedder)[0]
    assert best.text.startswith("A kayak is booked with Nora Falk")
    assert TEXT[best.start - 40 : best.end - 40] == best.text
    assert 0 < best.similarity <= 1


def test_headings_are_no_evidence(embedder):
    found = [sentence.text for sentence in rank_sentences("Who may use kayaks?", [passage(TEXT)], embedder)]
    assert len(found) == 3
    assert not any(text.startswith("Kayaks and who") for text in found)


def test_similarity_is_lower_for_an_unrelated_question(embedder):
    near = rank_sentences("Who keeps the list of kayaks?", [passage(TEXT)], embedder)[0]
    far = rank_sentences("When did Napoleon invade Russia?", [passage(TEXT)], embedder)[0]
    assert far.similarity < 0.5 < near.similarity
