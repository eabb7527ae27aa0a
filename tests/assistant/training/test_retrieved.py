"""What the search finds for the questions of a data set."""

from __future__ import annotations

import json
import threading

import pytest

from capibara.assistant.assistant import Assistant
from capibara.assistant.dataset import (
    GivenPassage,
    Question,
    WorkStopped,
    ids_of,
    indexed,
    read_passages,
    read_questions,
)
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
    assert retrieved(folder, GIVEN, ASKED, Settings(), quiet) == whole  # what was written then begins a line of its own
    assert len(kept.read_text().splitlines()) == len(ASKED)


@pytest.mark.parametrize("doing", ["indexing passages", "searching"])
def test_a_search_that_is_stopped_ends_soon_and_goes_on_the_next_time(data_set, doing):
    folder, cancel, told = data_set(), threading.Event(), []

    def stop(what: str, done: int, of: int) -> None:
        told.append((what, done))
        if (what, done) == (doing, 3):
            cancel.set()

    with pytest.raises(WorkStopped, match="do the same again"):
        retrieved(folder, GIVEN, ASKED, Settings(), stop, cancel)
    assert told[-1][0] == doing
    every = retrieved(folder, GIVEN, ASKED, Settings(), lambda *state: told.append(state))
    assert set(every) == {question.id for question in ASKED}
    assert told[-1][1] == len(ASKED) - (4 if doing == "searching" else 0)  # the fourth was in work


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


def test_what_is_brought_along_names_passages_of_the_data_set_alone(data_set):
    folder = data_set()
    write_retrieved(folder / RETRIEVED, {question.id: ["p1", "p99"] for question in ASKED})
    said = r"retrieved\.jsonl names passage 'p99', which is not there, for question 'q0a': delete it to search anew"
    with pytest.raises(AssistantError, match=said):
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


EVERY = [passage.id for passage in GIVEN]


def test_passages_that_answer_questions_held_out_are_retrieved_for_these_alone(data_set):
    folder = data_set()
    write_retrieved(folder / RETRIEVED, {question.id: EVERY for question in ASKED})
    data = training_data(folder, Settings(), quiet, held_out=5, seed=1)
    apart = {question.passage_id for question in data.held_out}
    assert all(not apart & set(data.retrieved[question.id]) for question in data.training)
    assert all(data.retrieved[question.id] == EVERY for question in data.held_out)
    assert {passage.id for passage in data.trained_on} == set(EVERY) - apart


def test_passages_of_a_data_set_to_be_measured_on_are_nowhere_in_what_is_trained_on(data_set, tmp_path):
    data_set(passages=PASSAGES[:2]).rename(tmp_path / "measured")
    folder = data_set()
    write_retrieved(folder / RETRIEVED, {question.id: EVERY for question in ASKED})
    data = training_data(folder, Settings(), quiet, held_out=2, apart_from=[tmp_path / "measured"])
    assert data.shared == 2
    assert [passage.id for passage in data.passages] == EVERY[2:]
    assert {question.passage_id for question in (*data.training, *data.held_out)} == set(EVERY[2:])
    assert not {"p0", "p1"} & {one for found in data.retrieved.values() for one in found}


def test_other_questions_or_other_passages_found_for_them_have_another_digest(data_set, tmp_path):
    folder = data_set()

    def digest(found: list[str], *apart_from, **options) -> str:
        write_retrieved(folder / RETRIEVED, {question.id: found for question in ASKED})
        return training_data(folder, Settings(), quiet, held_out=2, apart_from=apart_from, **options).digest

    before = digest(EVERY)
    assert digest(EVERY) == before
    data_set(passages=PASSAGES[:1]).rename(tmp_path / "measured")
    data_set()
    assert len({before, digest(EVERY[:3]), digest(EVERY, seed=1), digest(EVERY, tmp_path / "measured")}) == 4


def test_a_data_set_that_is_all_measured_on_is_named(data_set, tmp_path):
    data_set().rename(tmp_path / "measured")
    with pytest.raises(AssistantError, match=r"stands in \S+measured too: .*\(--apart-from\)"):
        training_data(data_set(), Settings(), quiet, held_out=2, apart_from=[tmp_path / "measured"])


def test_too_few_questions_are_refused(data_set):
    folder = data_set()
    write_retrieved(folder / RETRIEVED, {question.id: ["p1"] for question in ASKED})
    with pytest.raises(AssistantError, match="no question is left to train on"):
        training_data(folder, Settings(), quiet, held_out=100)
