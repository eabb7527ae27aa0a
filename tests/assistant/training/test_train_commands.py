"""``capibara train``: from a data set to an adapter with its card, and on again after an interruption."""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
from pathlib import Path

import pytest

from capibara.assistant.cli.app import run
from capibara.assistant.cli.train import _as_told
from capibara.assistant.dataset import WorkStopped, read_questions
from capibara.assistant.errors import AssistantError
from capibara.assistant.training.retrieved import RETRIEVED, write_retrieved
from capibara.config.schema import ModelSettings, RagSettings
from capibara.model import AdapterSource, Sampling, open_model
from capibara.model.checksums import verify_checksums
from capibara.model.training.ranking_batches import RankingData
from capibara.rag.extractive_reader import open_extractor

from ...model.conftest import Tiny
from ...model.test_folder import write_folder
from .harbours import PASSAGES, QUESTIONS

FILES = {"adapter_config.json", "adapter_model.safetensors", "README.md", "curve.png", "SHA256SUMS", "run"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of random weights, whose tokens are bytes."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_folder(folder, Tiny())
    return folder


@pytest.fixture
def given(data_set) -> Path:
    """A data set that brings along what was retrieved, so that nothing has to be indexed."""
    folder = data_set()
    found = {question.id: [row["id"] for row in PASSAGES] for question in read_questions(folder)}
    write_retrieved(folder / RETRIEVED, found)
    return folder


def reader(given: Path, out: Path, tiny: Path, *more: str) -> tuple[str, ...]:
    options = ("--limit", "6", "--held-out", "2", "--data-name", "Harbours", "--data-licence", "CC0", "--json")
    return ("train", "reader", str(given), "--out", str(out), "--set", f"model.path={tiny}", *options, *more)


def test_a_reader_is_trained_and_can_be_used(given, tmp_path, tiny, capsys, monkeypatch):
    out = tmp_path / "reader"
    monkeypatch.setattr(sys, "argv", ["capibara", *reader(given, out, tiny)])
    assert run(sys.argv[1:]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["reason"] == "finished"
    assert "loss" in told["evaluations"][-1]["figures"]
    assert {file.name for file in out.iterdir()} == FILES
    verify_checksums(out, ("adapter_config.json", "adapter_model.safetensors"))
    card = (out / "README.md").read_text("utf-8")
    for fact in ("Harbours", "CC0", "capibara train reader", "tiny"):
        assert fact in card
    assert str(tmp_path) not in card
    model = open_model(ModelSettings(path=str(tiny)), adapters={"mine": AdapterSource(out)})
    assert model.generate("a", Sampling(max_tokens=2), adapter="mine").usage.completion_tokens == 2


def test_a_finished_run_is_taken_up_and_another_plan_is_refused(given, tmp_path, tiny, capsys):
    out = tmp_path / "reader"
    assert run(reader(given, out, tiny)) == 0
    first = json.loads(capsys.readouterr().out)
    assert run(reader(given, out, tiny)) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert run(reader(given, out, tiny, "--seed", "9")) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "CheckpointMismatch"
    assert "name another folder" in error["message"]


def test_training_goes_on_from_an_adapter_and_refuses_one_that_does_not_fit(given, tmp_path, tiny, capsys):
    assert run(reader(given, tmp_path / "one", tiny)) == 0
    assert run(reader(given, tmp_path / "two", tiny, "--start", str(tmp_path / "one"))) == 0
    capsys.readouterr()
    assert run(reader(given, tmp_path / "three", tiny, "--start", str(tmp_path / "one"), "--rank", "2")) == 1
    assert "cannot be gone on from" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_answers_that_are_not_in_their_passage_end_the_run_where_that_is_asked_for(data_set, tmp_path, tiny, capsys):
    odd = {"id": "q", "question": "What?", "passage_id": "p0", "answers": ["amber"]}
    folder = data_set(questions=[odd, {**odd, "id": "r", "passage_id": "p1"}])
    write_retrieved(folder / RETRIEVED, {"q": ["p1"], "r": ["p0"]})
    refused = reader(folder, tmp_path / "out", tiny, "--held-out", "1", "--unfit", "refuse")
    assert run(refused) == 1
    assert "'amber' is not in its passage" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert run(reader(folder, tmp_path / "out", tiny, "--held-out", "1")) == 1
    assert "no example can be made" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_reranker_is_trained_over_the_bundled_encoder(given, tmp_path, capsys):
    out = tmp_path / "reranker"
    options = ("--limit", "4", "--held-out", "2", "--rank", "2", "--epochs", "1", "--json")
    assert run(("train", "reranker", str(given), "--out", str(out), *options)) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["evaluations"][-1]["figures"]) == {"recall@1", "mrr", "loss"}
    assert {file.name for file in out.iterdir()} == FILES
    assert json.loads((out / "adapter_config.json").read_text("utf-8"))["r"] == 2


def test_a_reranker_leaves_out_questions_without_an_answer_and_tells_how_many(data_set, tmp_path, capsys):
    unanswered = [{**QUESTIONS[row], "id": f"u{row}", "answers": []} for row in (0, 1)]
    folder = data_set(questions=[*QUESTIONS, *unanswered])
    write_retrieved(folder / RETRIEVED, {q.id: [row["id"] for row in PASSAGES] for q in read_questions(folder)})
    options = ("--held-out", "2", "--seed", "1", "--rank", "2", "--epochs", "1", "--json")
    assert run(("train", "reranker", str(folder), "--out", str(tmp_path / "out"), *options)) == 0
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "| left out: without an answer | 2 |" in card
    assert "| questions per update | 14 |" in card
    capsys.readouterr()
    folder = data_set(questions=unanswered)
    write_retrieved(folder / RETRIEVED, {"u0": ["p1"], "u1": ["p1"]})
    assert run(("train", "reranker", str(folder), "--out", str(tmp_path / "none"), "--held-out", "1", "--json")) == 1
    assert "--held-out" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_passages_held_out_are_no_candidates_of_questions_trained_on(given, tmp_path, monkeypatch):
    passages: list[int] = []

    def recorded(data: RankingData, *_: object) -> None:
        passages.append(len(data.passages))
        if len(passages) == 2:
            raise AssistantError("that is all")

    monkeypatch.setattr("capibara.assistant.training.reranker.RankingBatches", recorded)
    assert run(("train", "reranker", str(given), "--out", str(tmp_path / "out"), "--held-out", "2", "--json")) == 1
    assert passages == [len(PASSAGES) - 1, len(PASSAGES)]  # both of the questions held out are of one passage


def extractor(given: Path, out: Path, *more: str) -> tuple[str, ...]:
    options = ("--limit", "4", "--held-out", "2", "--rank", "2", "--json")
    return ("train", "extractor", str(given), "--out", str(out), *options, *more)


def test_an_extractive_reader_is_trained_over_the_bundled_encoder_and_can_be_used(given, tmp_path, capsys):
    out = tmp_path / "extractor"
    assert run(extractor(given, out)) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["evaluations"][-1]["figures"]) == {"exact", "refused", "loss"}
    assert {file.name for file in out.iterdir()} == FILES
    reader = open_extractor(RagSettings(extractor=str(out)))
    assert reader is not None
    assert reader.read("Who is the harbour master?", [PASSAGES[0]["text"]])[0] is not None


def test_an_extractive_reader_begins_from_a_rerankers_adapter_of_its_rank(given, tmp_path, capsys):
    options = ("--limit", "4", "--held-out", "2", "--rank", "2", "--epochs", "1", "--json")
    assert run(("train", "reranker", str(given), "--out", str(tmp_path / "one"), *options)) == 0
    assert run(extractor(given, tmp_path / "two", "--start", str(tmp_path / "one"))) == 0
    capsys.readouterr()
    assert run(extractor(given, tmp_path / "three", "--start", str(tmp_path / "one"), "--rank", "3")) == 1
    assert "cannot be begun from" in json.loads(capsys.readouterr().out)["error"]["message"]


@pytest.mark.parametrize("train", [reader, extractor])
def test_held_out_questions_of_which_no_example_can_be_made_are_named_as_such(data_set, tmp_path, tiny, capsys, train):
    odd = {"id": "odd", "question": "What?", "passage_id": "p0", "answers": ["amber"]}
    folder = data_set(questions=[odd, *QUESTIONS[2:4]])
    write_retrieved(folder / RETRIEVED, {q.id: ["p2"] for q in read_questions(folder)})
    held_out = ("--held-out", "1", "--seed", str(seed_that_holds_out_the_first_of_two()))
    model = (tiny,) if train is reader else ()
    assert run(train(folder, tmp_path / "out", *model, *held_out)) == 1
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert "no example can be made of the questions held out, 1 answers are not in their passage" in message
    assert "--held-out" in message


def seed_that_holds_out_the_first_of_two() -> int:
    for seed in range(20):
        order = ["p0", "p1"]
        random.Random(seed).shuffle(order)
        if order[0] == "p0":
            return seed
    raise AssertionError


def test_an_adapter_of_another_encoder_is_refused_before_anything_is_searched(data_set, tmp_path, capsys):
    other = Path(shutil.copytree(bundled("reranker"), tmp_path / "other"))
    (other / "SHA256SUMS").unlink()
    config = json.loads((other / "adapter_config.json").read_text("utf-8"))
    (other / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "owner/other"}), "utf-8")
    assert run(extractor(data_set(), tmp_path / "out", "--start", str(other))) == 1
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert "was made for owner/other, not for" in message


def bundled(name: str) -> Path:
    from capibara.rag import extractive_reader

    return Path(extractive_reader.__file__).parent / "adapters" / name


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf"])
def test_a_learning_rate_that_cannot_be_is_refused_at_once(tmp_path, capsys, rate):
    assert run(extractor(tmp_path / "nowhere", tmp_path / "out", "--learning-rate", rate)) == 2
    assert "is not a finite number above 0" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_the_command_on_the_card_can_be_pasted_and_does_not_tell_where_folders_lie():
    words = ["train", "extractor", "../sets/ours", "--out", "/home/me/out", "--data-name", "Our handbook, 2nd ed."]
    words += ["--set=model.path=/models/tiny.gguf", "--start", "old/one", "--data-licence", "CC BY/SA"]
    told = _as_told(words, {Path("../sets/ours"), Path("/home/me/out"), Path("old/one"), None})
    assert told == (
        "capibara train extractor ours --out out --data-name 'Our handbook, 2nd ed.' --set=model.path=tiny.gguf "
        "--start one --data-licence 'CC BY/SA'"
    )


def test_a_run_stopped_while_it_searches_ends_as_interrupted(data_set, tmp_path, capsys, monkeypatch):
    def stopped(*_: object, **__: object) -> None:
        raise WorkStopped("stopped while questions were searched for: do the same again to go on from there")

    monkeypatch.setattr("capibara.assistant.training.extractor.training_data", stopped)
    assert run(extractor(data_set(), tmp_path / "out")) == 130
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "Interrupted"


def test_the_card_counts_a_question_once_however_many_epochs_there_are(data_set, tmp_path, tiny, capsys):
    odd = {"id": "odd", "question": "What?", "passage_id": "p0", "answers": ["amber"]}
    folder = data_set(questions=[*QUESTIONS[2:6], odd])
    write_retrieved(folder / RETRIEVED, {q.id: ["p2", "p3"] for q in read_questions(folder)})
    out = tmp_path / "out"
    seed = next(seed for seed in range(20) if not holds_out_the_first_of_three(seed))
    assert run(reader(folder, out, tiny, "--epochs", "3", "--held-out", "1", "--seed", str(seed))) == 0
    card = (out / "README.md").read_text("utf-8")
    assert "| left out: answer not in its passage | 1 |" in card
    assert "| tokens per update, at most | 2048 |" in card  # fewer than planned: there are few examples
    counts = dict(re.findall(r"\| examples of the first epoch (with an answer|without) \| (\d+) \|", card))
    assert sum(map(int, counts.values())) == 2


def holds_out_the_first_of_three(seed: int) -> bool:
    order = ["p0", "p1", "p2"]
    random.Random(seed).shuffle(order)
    return order[0] == "p0"


def test_passages_of_an_evaluation_are_not_trained_on(data_set, given, tmp_path, capsys):
    measured = tmp_path / "measured"
    Path(data_set(passages=PASSAGES[:1], questions=QUESTIONS[:1])).rename(measured)
    data = data_set()
    write_retrieved(data / RETRIEVED, {one["id"]: [row["id"] for row in PASSAGES] for one in QUESTIONS})
    out = tmp_path / "extractor"
    assert run(extractor(data, out, "--apart-from", str(measured))) == 0
    capsys.readouterr()
    assert "| passages left out: shared with an evaluation | 1 |" in (out / "README.md").read_text("utf-8")


def test_an_evaluation_that_is_not_there_is_named(given, tmp_path, capsys):
    assert run(extractor(given, tmp_path / "out", "--apart-from", str(tmp_path / "nowhere"))) != 0
    assert "nowhere" in capsys.readouterr().out
