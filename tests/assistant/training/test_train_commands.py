"""``capibara train``: from a data set to an adapter with its card, and on again after an interruption."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from capibara.assistant.cli.app import run
from capibara.assistant.dataset import read_questions
from capibara.assistant.training.retrieved import RETRIEVED, write_retrieved
from capibara.config.schema import ModelSettings, RagSettings
from capibara.model import AdapterSource, Sampling, open_model
from capibara.model.checksums import verify_checksums
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
