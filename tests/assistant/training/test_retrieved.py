"""What the search finds for the questions of a data set."""

from __future__ import annotations

import json

import pytest

from capibara.assistant.assistant import Assistant
from capibara.assistant.dataset import GivenPassage, Question, ids_of, indexed, read_passages, read_questions
from capibara.assistant.errors import AssistantError
from capibara.assistant.training.retrieved import RETRIEVED, retrieved, write_retrieved
from capibara.assistant.training.source import training_data
from capibara.config.schema import Settings

from .harbours import PASSAGES, QUESTIONS

GIVEN = [GivenPassage(row["id"], row["text"]) for row in PASSAGES]
ASKED = [Question(row["id"], row["question"], row["passage_id"], tuple(row["answers"])) for row in QUESTIONS]


def quiet(*_: object) -> None:
    """Progress that nobody watches."""


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    """An index of its own; the converted embedding model stays where it is."""
    from capibara.config.paths import cache_dir

    own = tmp_path / "cache"
    own.mkdir()
    (own / "embedding").symlink_to(cache_dir() / "embedding", target_is_directory=True)
    (cache_dir() / "embedding").mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("CAPIBARA_CACHE_DIR", str(own))


def test_every_question_finds_its_passage_first_as_the_fused_search_does(data_set):
    found = retrieved(data_set(), GIVEN, ASKED, Settings(), quiet)
    assert [found[question.id][0] for question in ASKED] == [question.passage_id for question in ASKED]
    with indexed(GIVEN, Settings(), quiet) as assistant:
        assert isinstance(assistant, Assistant)
        plain = assistant.settings.rag.model_copy(update={"reranker": "none"})
        for question in ASKED[:4]:
            passages = assistant.library.search(question.question, settings=plain).passages
            assert [min(ids_of(passage)) for passage in passages][:3] == found[question.id][:3]


def test_an_interrupted_search_goes_on_where_it_was(data_set):
    folder, told = data_set(), []
    first = retrieved(folder, GIVEN, ASKED[:5], Settings(), quiet)
    every = retrieved(folder, GIVEN, ASKED, Settings(), lambda what, done, of: told.append((what, done, of)))
    assert {question.id: every[question.id] for question in ASKED[:5]} == first
    assert told[-1] == ("searching", len(ASKED) - 5, len(ASKED) - 5)


def test_a_line_cut_short_is_searched_for_again(data_set, tmp_path):
    folder = data_set()
    whole = retrieved(folder, GIVEN, ASKED, Settings(), quiet)
    (kept,) = (tmp_path / "cache" / "evaluation").glob("*/retrieved-*.jsonl")
    kept.write_text(kept.read_text()[:-9])
    assert retrieved(folder, GIVEN, ASKED, Settings(), quiet) == whole


def test_what_a_data_set_brings_along_is_taken_and_nothing_is_searched(data_set, tmp_path):
    folder = data_set()
    brought = {question.id: ["p1", "p2"] for question in ASKED}
    write_retrieved(folder / RETRIEVED, brought)
    assert retrieved(folder, GIVEN, ASKED, Settings(), quiet) == brought
    assert not (tmp_path / "cache" / "evaluation").exists()


def test_what_is_brought_along_has_to_know_every_question(data_set):
    folder = data_set()
    write_retrieved(folder / RETRIEVED, {ASKED[0].id: ["p1"]})
    with pytest.raises(AssistantError, match=rf"has nothing for {len(ASKED) - 1} questions, such as 'q0b'"):
        retrieved(folder, GIVEN, ASKED, Settings(), quiet)


def test_a_malformed_line_of_what_is_brought_along_is_named(data_set):
    folder = data_set()
    (folder / RETRIEVED).write_text(json.dumps({"id": "q0a"}) + "\n")
    with pytest.raises(AssistantError, match=r"retrieved\.jsonl:1: is not a line of retrieved passages"):
        retrieved(folder, GIVEN, ASKED, Settings(), quiet)


def test_held_out_questions_share_no_passage_with_those_trained_on(data_set):
    folder = data_set()
    write_retrieved(folder / RETRIEVED, {question.id: ["p1"] for question in ASKED})
    data = training_data(folder, Settings(), quiet, held_out=5, seed=1)
    assert len(data.held_out) == 6  # passages have two questions each
    assert len(data.training) + len(data.held_out) == len(read_questions(folder))
    assert not {q.passage_id for q in data.training} & {q.passage_id for q in data.held_out}
    assert training_data(folder, Settings(), quiet, held_out=5, seed=1) == data
    assert len(data.passages) == len(read_passages(folder))


def test_too_few_questions_are_refused(data_set):
    folder = data_set()
    write_retrieved(folder / RETRIEVED, {question.id: ["p1"] for question in ASKED})
    with pytest.raises(AssistantError, match="no question is left to train on"):
        training_data(folder, Settings(), quiet, held_out=100)
