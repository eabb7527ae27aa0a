"""Ctrl-C while a command works on documents: it stops soon, says what is stored, and keeps that whole."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import pty
import select
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

from .command_line import PROGRAM, start


def test_ctrl_c_in_a_chat_stops_the_answer_and_ctrl_d_leaves(data_dir):
    reader, writer = pty.openpty()
    command = [*PROGRAM, "chat", "--data-dir", str(data_dir)]
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
