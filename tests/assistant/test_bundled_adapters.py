"""The adapters that come with the project are whole, and do on a small fixed sample what they were trained for."""

from __future__ import annotations

from pathlib import Path

import pytest

from capibara.assistant.dataset import GivenPassage, Question, read_passages, read_questions
from capibara.assistant.reading import NOT_STATED, READER, parse_reading, reader_messages
from capibara.assistant.scoring import contains, exact_match
from capibara.config.schema import RagSettings
from capibara.model import Sampling, open_model
from capibara.model.checksums import CHECKSUM_FILE, verify_checksums
from capibara.rag.embedding import open_embedder
from capibara.rag.extractive_reader import open_extractor
from capibara.rag.reranking import open_reranker

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [
    ROOT / "model" / "adapters" / "reader",
    *(ROOT / "rag" / "adapters" / name for name in ("reranker", "extractor")),
]
DEV = ROOT.parent / "shared" / "data" / "squad" / "dev"
MEGABYTE = 10**6


@pytest.fixture(scope="module")
def sample() -> tuple[list[GivenPassage], list[Question]]:
    """Twenty questions, each of another passage, from different articles; and all passages."""
    if not DEV.is_dir():
        pytest.skip(f"the evaluation data is not here: {DEV}")
    passages, questions = read_passages(DEV), read_questions(DEV)
    return passages, questions[:: len(questions) // 20][:20]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_adapter_is_small_whole_and_tells_where_it_comes_from(folder):
    assert (folder / CHECKSUM_FILE).is_file()
    verify_checksums(folder, ("adapter_config.json", "adapter_model.safetensors"))
    assert (folder / "adapter_model.safetensors").stat().st_size <= 12 * MEGABYTE
    card = (folder / "README.md").read_text("utf-8")
    assert "CC BY-SA 4.0" in card
    assert "capibara train" in card


def test_the_reader_answers_what_the_model_alone_does_not(sample):
    passages, questions = sample
    texts = {passage.id: passage.text for passage in passages}
    model = open_model()
    right = dict.fromkeys((None, READER), 0)
    for question in questions[:12]:
        messages = reader_messages(question.question, [texts[question.passage_id]])
        for adapter in right:
            written = model.generate(messages, Sampling(max_tokens=24), adapter=adapter).text
            reading = parse_reading(written)
            right[adapter] += bool(reading and exact_match(reading.phrase, question.answers))
    assert right[None] <= 1
    assert right[READER] >= 5


def test_the_reader_says_that_a_passage_about_something_else_does_not_tell(sample):
    passages, questions = sample
    model = open_model()
    written = [
        model.generate(
            reader_messages(question.question, [passages[-1 - number].text]), Sampling(max_tokens=24), adapter=READER
        ).text.strip()
        for number, question in enumerate(questions[:6])
    ]
    assert written.count(NOT_STATED) >= 5


def test_the_extractor_points_at_answers_and_away_from_passages_about_something_else(sample):
    passages, questions = sample
    texts = {passage.id: passage.text for passage in passages}
    extractor = open_extractor(RagSettings())
    assert extractor is not None
    held = refused = 0
    for number, question in enumerate(questions):
        text = texts[question.passage_id]
        right, wrong = extractor.read(question.question, [text, passages[-1 - number].text])
        assert right is not None
        assert wrong is not None
        held += contains(text[right.start : right.end], question.answers)
        refused += wrong.score < 0
    assert held >= 14
    assert refused >= 16


def test_the_reranker_puts_the_right_passage_before_its_neighbours(sample):
    passages, questions = sample
    settings = RagSettings()
    reranker = open_reranker(settings, open_embedder(settings))
    assert reranker is not None
    assert reranker.name == "reranker"
    places = {passage.id: place for place, passage in enumerate(passages)}
    first = 0
    for question in questions:
        gold = places[question.passage_id]
        begin = max(0, min(gold - 4, len(passages) - 10))
        candidates = passages[begin : begin + 10]
        scores = reranker.score(question.question, [passage.text for passage in candidates])
        first += candidates[int(scores.argmax())].id == question.passage_id
    assert first >= 16
