"""The commands that work on documents, run as users run them, with the real default models and tiny documents."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import json
import os
import pty
import select
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from capibara.assistant.cli import main
from capibara.config import cache_dir

HARBOUR = """# Harbour rules of Skarvik

The harbour master of Skarvik is Ingrid Solheim. She holds the keys to the north crane.

## Berths

Berth seven is kept free for the rescue boat Havørn. Visitors pay 140 crowns a night.
"""
BAKERY = "The bakery in Skarvik opens at five in the morning. Its rye bread is baked by Tomas Lindqvist.\n"
WITHOUT_MODEL = ("--set", "model.path=/nowhere/model.gguf")
CODE = "import sys; from capibara.assistant.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "harbour.md").write_text(HARBOUR, encoding="utf-8")
    (folder / "bakery.txt").write_text(BAKERY, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, folder) -> Path:
    """A data folder that holds the documents."""
    data_dir = tmp_path_factory.mktemp("data")
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["ingest", str(folder), "--data-dir", str(data_dir)]) == 0
    return data_dir


@pytest.fixture
def run(capsys, data_dir):
    """Run a command on the documents; gives exit code, standard output and standard error."""

    def run(*arguments: str, data: Path | None = None) -> tuple[int, str, str]:
        code = main([*arguments, "--data-dir", str(data or data_dir)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_ingest_reports_every_file_as_json(run, folder, tmp_path):
    code, out, _ = run("ingest", str(folder), "--json", data=tmp_path)
    report = json.loads(out)
    assert code == 0
    assert {Path(file["source"]).name: file["status"] for file in report["files"]} == {
        "harbour.md": "added",
        "bakery.txt": "added",
    }
    assert report["counts"]["added"] == 2


def test_ingesting_again_changes_nothing(run, folder):
    code, out, _ = run("ingest", str(folder))
    assert code == 0
    assert out.startswith("2 unchanged")


def test_reindexing_needs_no_path_and_cuts_what_is_stored_again(run, folder, tmp_path):
    source = tmp_path / "long.txt"
    source.write_text(" ".join(f"Lamp {number} of Skarvik burns oil from barrel {number * 3}." for number in range(20)))
    run("ingest", str(source), data=tmp_path / "data")
    code, out, err = run("ingest", "--reindex", "--json", "--set", "rag.chunk_tokens=64", data=tmp_path / "data")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert report["files"] == []
    [file] = report["reindexed"]["files"]
    assert (file["source"], file["status"]) == (str(source), "updated")
    assert file["chunks"] > 3
    code, out, _ = run("ingest", "--reindex", str(folder / "bakery.txt"), data=tmp_path / "data")
    assert code == 0
    assert [line.split(";")[0] for line in out.splitlines()] == ["re-indexed: 1 updated", "1 added"]


def test_a_broken_file_is_named_the_rest_goes_on_and_the_exit_code_is_1(run, folder, tmp_path):
    broken = tmp_path / "in" / "broken.pdf"
    broken.parent.mkdir()
    broken.write_bytes(b"%PDF-1.4 and nothing more")
    (broken.parent / "fine.txt").write_text("Fine weather is expected in Skarvik.")
    code, out, err = run("ingest", str(broken.parent), data=tmp_path / "data")
    assert code == 1
    assert out.startswith("1 added, 1 failed")
    [line] = err.splitlines()
    assert line.startswith(f"capibara: {broken}: failed: ")


def test_a_path_that_does_not_exist_is_named(run, tmp_path):
    code, out, err = run("ingest", str(tmp_path / "nowhere"), data=tmp_path / "data")
    assert code == 1
    assert "nowhere" in out + err
    assert "Traceback" not in err


def test_prune_removes_documents_whose_file_has_vanished(run, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("one", "two"):
        (source / f"{name}.txt").write_text(f"Lighthouse number {name} stands on a rock.")
    run("ingest", str(source), data=tmp_path / "data")
    (source / "two.txt").unlink()
    run("ingest", str(source), "--prune", data=tmp_path / "data")
    _, out, _ = run("documents", "list", "--json", data=tmp_path / "data")
    assert [Path(document["source"]).name for document in json.loads(out)["documents"]] == ["one.txt"]


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


def test_documents_are_listed_and_shown(run, folder):
    code, out, _ = run("documents", "list")
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert rows[0] == ["id", "collection", "pages", "chunks", "title", "source"]
    assert {row[5] for row in rows[1:]} == {str(folder / "harbour.md"), str(folder / "bakery.txt")}
    code, out, _ = run("documents", "show", "harbour.md", "--json")
    shown = json.loads(out)
    assert code == 0
    assert (shown["pages"], shown["warnings"], shown["aliases"]) == (None, [], [])
    assert shown["chunks"] >= 1
    assert run("documents", "show", "harbour.md")[1].splitlines()[2] == f"source:     {folder / 'harbour.md'}"


def test_a_document_that_is_not_there_is_one_line(run):
    code, out, err = run("documents", "show", "lighthouse.md")
    assert (code, out) == (1, "")
    assert err.startswith("capibara: ")
    assert "lighthouse.md" in err
    assert err.count("\n") == 1


def test_a_removed_document_is_gone(run, tmp_path, folder):
    data = tmp_path / "data"
    run("ingest", str(folder), data=data)
    code, out, _ = run("documents", "remove", "bakery.txt", data=data)
    assert (code, out) == (0, f"removed {folder / 'bakery.txt'}\n")
    _, out, _ = run("search", "rye bread", "--json", data=data)
    assert not any(passage["document"].endswith("bakery.txt") for passage in json.loads(out)["passages"])


def test_status_counts_what_is_there(run, data_dir):
    code, out, _ = run("status", "--json")
    status = json.loads(out)
    assert code == 0
    assert status["data_dir"] == str(data_dir)
    present = {model["role"] for model in status["models"] if model["present"]}
    assert {"language model", "embedding model"} <= present
    assert status["bytes"]["capibara.sqlite3"] > 0
    code, out, _ = run("status")
    assert code == 0
    assert str(data_dir) in out
    assert "2 documents" in out


def start(*arguments: str, **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )


def test_a_second_process_on_the_same_folder_is_refused_in_one_line(data_dir):
    holder = start("chat", "--data-dir", str(data_dir), stdin=subprocess.PIPE)
    holder.stdin.write("/help\n")
    holder.stdin.flush()
    assert "/sources" in holder.stdout.readline()
    second = start("status", "--data-dir", str(data_dir))
    _, err = second.communicate(timeout=60)
    holder.communicate("/quit\n", timeout=60)
    assert (holder.returncode, second.returncode) == (0, 1)
    assert err.startswith("capibara: ")
    assert err.count("\n") == 1


def test_chat_reads_questions_from_a_pipe(data_dir):
    talk = start("chat", "--data-dir", str(data_dir), *WITHOUT_MODEL, stdin=subprocess.PIPE)
    out, err = talk.communicate("Who is the harbour master?\n/sources\n/nonsense\n\n/quit\nnever read\n", timeout=120)
    assert talk.returncode == 0, err
    assert "Ingrid Solheim" in out
    assert out.count("[1] ") >= 2
    assert "/nonsense is not a command" in err
    assert "›" not in out


def test_a_piped_chat_tells_questions_from_answers_and_leaves_at_exit(data_dir):
    talk = start("chat", "--data-dir", str(data_dir), *WITHOUT_MODEL, stdin=subprocess.PIPE)
    out, err = talk.communicate("Who is the harbour master?\nWho bakes the bread?\nexit\nnever read\n", timeout=120)
    assert talk.returncode == 0, err
    assert out.startswith("> Who is the harbour master?\n")
    assert "\n\n> Who bakes the bread?\n" in out
    assert "never read" not in out


def test_chat_as_json_is_one_document(data_dir):
    talk = start("chat", "--json", "--data-dir", str(data_dir), *WITHOUT_MODEL, stdin=subprocess.PIPE)
    out, err = talk.communicate("Who bakes the bread?\n/help\nWhen does the bakery open?\n", timeout=120)
    assert talk.returncode == 0, err
    answers = json.loads(out)["answers"]
    assert len(answers) == 2
    assert "Tomas Lindqvist" in answers[0]["text"]


def test_ctrl_c_in_a_chat_stops_the_answer_and_ctrl_d_leaves(data_dir):
    reader, writer = pty.openpty()
    command = [sys.executable, "-c", CODE, "chat", "--data-dir", str(data_dir)]
    environ = {**os.environ, "TERM": "dumb", "COLUMNS": "80"}
    talk = subprocess.Popen(command, stdin=writer, stdout=writer, stderr=writer, env=environ, start_new_session=True)
    os.close(writer)
    shown = ""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read may end within the prompt's sign

    def wait_for(text: str) -> None:
        nonlocal shown
        deadline = time.monotonic() + 120
        while text not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([reader], [], [], 0.1)[0]:
                shown += decoder.decode(os.read(reader, 4096))
        shown = shown.partition(text)[2]

    wait_for("› ")
    os.write(reader, b"Who is the harbour master?\n")
    wait_for("master?")
    talk.send_signal(signal.SIGINT)
    wait_for("› ")
    assert talk.poll() is None
    os.write(reader, b"/help\n")
    wait_for("/sources")
    wait_for("› ")
    os.write(reader, b"\x04")
    assert talk.wait(timeout=120) == 0
    os.close(reader)


def stored(data: Path) -> int:
    """Documents that a process at work has acknowledged so far."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{data / 'capibara.sqlite3'}?mode=ro", uri=True)) as store:
            return store.execute("SELECT count(*) FROM documents WHERE state = 'ready'").fetchone()[0]
    except sqlite3.OperationalError:  # not made yet, or being written at this moment
        return 0


def test_ctrl_c_during_ingest_keeps_the_store_whole(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for number in range(300):
        words = " ".join(f"Buoy {number} has lamp {number * 7 + line} at post {line}." for line in range(30))
        (source / f"buoy-{number:03}.txt").write_text(words)
    data = str(tmp_path / "data")
    work = start("ingest", str(source), "--json", "--data-dir", data, "--set", "logging.level=info")
    while not stored(Path(data)):
        assert work.poll() is None
        time.sleep(0.05)
    work.send_signal(signal.SIGINT)
    out, err = work.communicate(timeout=60)
    assert work.returncode == 130, err
    report = json.loads(out)
    assert report["cancelled"]
    listed = start("documents", "list", "--json", "--data-dir", data)
    documents = json.loads(listed.communicate(timeout=60)[0])["documents"]
    acknowledged = {file["source"] for file in report["files"] if file["status"] == "added"}
    assert {document["source"] for document in documents} == acknowledged


def test_ctrl_c_during_re_indexing_reads_no_more_and_says_what_is_stored(run, folder, tmp_path, monkeypatch):
    from capibara.rag import Library

    data, reindex = tmp_path / "data", Library.reindex
    run("ingest", str(folder), data=data)

    def interrupted(*arguments, **options):
        os.kill(os.getpid(), signal.SIGINT)
        assert options["cancel"].wait(30)
        return reindex(*arguments, **options)

    monkeypatch.setattr(Library, "reindex", interrupted)
    smaller = ("--set", "rag.chunk_tokens=64")
    code, out, err = run("ingest", "--reindex", str(folder), "--json", *smaller, data=data)
    assert code == 130
    assert json.loads(out)["reindexed"]["cancelled"]
    assert "run the command again for the rest" in err


def test_ctrl_c_during_a_question_ends_with_130(data_dir):
    question = start("ask", "Who is the harbour master?", "--data-dir", str(data_dir))
    time.sleep(0.7)
    question.send_signal(signal.SIGINT)
    _, err = question.communicate(timeout=60)
    assert question.returncode == 130, err
    assert "Traceback" not in err


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


@pytest.mark.parametrize("options", [[], ["--json"]], ids=" ".join)
def test_odd_file_names_are_printed_readably(run, tmp_path, options):
    source = tmp_path / "in"
    source.mkdir()
    Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9.md")).write_text("")
    (source / "two\nlines.md").write_text("The ferry to Skarvik leaves at noon.")
    code, out, err = run("ingest", str(source), *options, data=tmp_path / "data")
    assert code == 1
    assert "caf\\xe9.md" in (out + err).replace("\\\\", "\\")
    code, out, _ = run("documents", "list", *options, data=tmp_path / "data")
    assert code == 0
    assert "two\\nlines.md" in out
