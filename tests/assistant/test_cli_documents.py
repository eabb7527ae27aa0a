"""The commands that bring documents in and look after them, with the real embedding model and tiny documents."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from .command_line import start


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
