"""``capibara ask``, ``search``, ``chat`` and ``eval``, with the real default models and tiny documents."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from capibara.config import cache_dir

from .command_line import BAKERY, HARBOUR, WITHOUT_MODEL, start


def test_ask_prints_the_answer_and_what_it_quotes(run):
    code, out, err = run("ask", "Who is the harbour master of Skarvik?", *WITHOUT_MODEL)
    assert code == 0
    text, _, citations = out.partition("\n\n")
    assert "Ingrid Solheim" in text
    assert citations.startswith("[1] ")
    assert "harbour.md" in citations.splitlines()[0]
    # The answer has shown the quote.
    assert "Ingrid Solheim" not in citations
    # Evidence needs no language model, but its absence is not passed over in silence.
    assert "/nowhere/model.gguf" in err


def test_ask_as_json_has_one_document_with_checked_citations(run):
    code, out, _ = run("ask", "Who bakes the rye bread?", "--json")
    answer = json.loads(out)
    assert code == 0
    assert "Tomas Lindqvist" in answer["text"]
    assert {"document", "page", "start", "end", "quote"} <= answer["citations"][0].keys()
    for citation in answer["citations"]:
        if citation["document"].endswith("bakery.txt"):
            assert BAKERY[citation["start"] : citation["end"]] == citation["quote"]
    assert answer["usage"].keys() >= {"prompt_tokens", "completion_tokens"}
    assert answer["timings"]
    assert isinstance(answer["degraded"], list)


def test_an_empty_question_is_wrong_usage(run):
    code, out, err = run("ask", "  ")
    assert (code, out) == (2, "")
    assert err.startswith("capibara: the question is empty")


def test_search_shows_the_scores_of_every_stage(run):
    code, out, _ = run("search", "rescue boat berth", "--top-k", "1")
    header, row = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert header == ["#", "final", "reranked", "fused", "dense", "sparse", "where", "passage"]
    assert "-" not in row[1:6]
    assert row[6] == "harbour.md"
    assert "Berth seven" in row[7]


def test_search_as_json_gives_spans_and_scores(run):
    code, out, _ = run("search", "rye bread", "--json")
    passage = json.loads(out)["passages"][0]
    assert code == 0
    assert BAKERY[passage["start"] : passage["end"]] == passage["text"]
    assert set(passage["scores"]) == {"dense", "sparse", "fused", "reranked", "final"}


@pytest.mark.parametrize("command", [["ask", "Why?"], ["search", "why"], ["chat"]], ids=" ".join)
def test_without_documents_a_command_says_how_to_add_some(run, tmp_path, command):
    code, out, err = run(*command, data=tmp_path)
    assert (code, out) == (1, "")
    assert err == f"capibara: there are no documents in {tmp_path}: run `capibara ingest PATH`\n"
    code, out, err = run(*command, "--collection", "recipes")
    assert (code, out) == (1, "")
    assert "in collection recipes of " in err
    assert "(it has default)" in err


def test_chat_reads_questions_from_a_pipe(data_dir):
    talk = start("chat", "--data-dir", str(data_dir), *WITHOUT_MODEL, stdin=subprocess.PIPE)
    out, err = talk.communicate("Who is the harbour master?\n/sources\n/nonsense\n\n/quit\nnever read\n", timeout=120)
    assert talk.returncode == 0, err
    assert "Ingrid Solheim" in out
    assert out.count("[1] ") >= 2
    assert "/nonsense is not a command" in err
    assert "›" not in out


def test_a_piped_chat_tells_questions_from_answers_and_leaves_at_exit(run, monkeypatch):
    lines = "Who is the harbour master?\nWho bakes the bread?\nexit\nnever read\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    code, out, err = run("chat", *WITHOUT_MODEL)
    assert code == 0, err
    assert out.startswith("> Who is the harbour master?\n")
    assert "\n\n> Who bakes the bread?\n" in out
    assert "never read" not in out


def test_chat_as_json_is_one_document(run, monkeypatch):
    lines = "Who bakes the bread?\n/help\nWhen does the bakery open?\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    code, out, err = run("chat", "--json", *WITHOUT_MODEL)
    assert code == 0, err
    answers = json.loads(out)["answers"]
    assert len(answers) == 2
    assert "Tomas Lindqvist" in answers[0]["text"]


@pytest.fixture
def evaluation_cache(tmp_path, monkeypatch) -> Path:
    """A cache folder without evaluations that shares the converted models of the usual one."""
    cache = tmp_path / "cache"
    cache.mkdir()
    for entry in cache_dir().iterdir() if cache_dir().exists() else ():
        if entry.name != "evaluation":
            (cache / entry.name).symlink_to(entry)
    monkeypatch.setenv("CAPIBARA_CACHE_DIR", str(cache))
    return cache


def test_eval_measures_a_folder_of_questions(run, tmp_path, evaluation_cache):
    rows = {
        "passages": [{"id": "p1", "title": "h", "text": HARBOUR}, {"id": "p2", "title": "b", "text": BAKERY}],
        "questions": [{"id": "q1", "question": "Who bakes the bread?", "passage_id": "p2", "answers": ["Tomas"]}],
    }
    for name, lines in rows.items():
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as stream:
            stream.writelines(json.dumps(line) + "\n" for line in lines)
    options = ("--sample", "1", "--seed", "3", *WITHOUT_MODEL)
    code, out, err = run("eval", str(tmp_path), "--json", "--stages", "--answers", "1", *options)
    assert code == 0, err
    report = json.loads(out)
    assert report["recall_at_1"] == 1.0
    assert report["answers"]["contains"] == 1.0
    assert list(report["stages"]) == ["dense", "sparse", "fused", "reranked"]
    code, out, err = run("eval", str(tmp_path), *options)
    assert code == 0, err
    measures = dict(line.split("\t") for line in out.splitlines()[1:])
    assert measures["recall_at_1"] == "1.000"
    assert "latency_ms.p50" in measures
    assert not any(name.startswith(("stages", "answers")) for name in measures)


def test_eval_of_a_folder_without_questions_is_one_line(run, tmp_path):
    code, out, err = run("eval", str(tmp_path))
    assert (code, out) == (1, "")
    assert "passages.jsonl.gz" in err
    assert err.count("\n") == 1
