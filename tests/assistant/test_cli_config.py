"""``capibara config``: showing, checking and comparing settings."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from capibara.config.json_schema import json_schema
from capibara.config.presets import preset_names

from .command_line import table

pytestmark = pytest.mark.usefixtures("alone")
COMMANDS = ["show", "schema", "check", "diff", "init", "presets", "migrate"]
NEEDS = {"diff": ["laptop", "arm"], "migrate": ["old.toml"]}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_within_80_columns_with_the_shared_options(config, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = config(command, "--help")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert [option for option in ("--config", "--data-dir", "--set", "--json", "--verbose") if option not in out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_with_json_every_command_prints_one_document_and_nothing_else(config, write, command):
    write("old.toml", "top_k = 3")
    code, out, err = config(command, *NEEDS.get(command, []), "--json")
    assert (code, err) == (0, "")
    assert isinstance(json.loads(out), dict)


# show


def test_show_has_one_line_for_each_setting_with_its_value(config):
    code, out, err = config("show", "--set", "rag.top_k=5")
    assert (code, err) == (0, "")
    rows = table(out)
    assert rows["setting"] == ["value"]
    assert rows["rag.top_k"] == ["5"]
    assert rows["model.threads"] == ["none"]


def test_show_tells_where_a_value_is_from_and_which_it_wins_over(config, write, monkeypatch):
    write("c.toml", 'extends = "laptop"\n\n[rag]\ncandidates = 40\nalpha = 0.3\n')
    monkeypatch.setenv("CAPIBARA_RAG__CANDIDATES", "50")
    _, out, _ = config("show", "--origin", "--config", "c.toml", "--set", "rag.top_k=5")
    rows = table(out)
    assert rows["rag.candidates"] == ["50", "CAPIBARA_RAG__CANDIDATES, over c.toml:4, over preset laptop:11"]
    assert rows["rag.alpha"] == ["0.3", "c.toml:5"]
    assert rows["rag.top_k"] == ["5", "--set rag.top_k"]
    assert rows["rag.rrf_k"] == ["60", "default"]
    _, out, _ = config("show", "--config", "c.toml", "--json")
    settings = {row["key"]: row for row in json.loads(out)["settings"]}
    assert settings["rag.candidates"] == {
        "key": "rag.candidates",
        "value": 50,
        "origin": "CAPIBARA_RAG__CANDIDATES",
        "overridden": ["c.toml:4", "preset laptop:11"],
    }
    assert settings["rag.rrf_k"]["overridden"] == []


def test_show_cuts_long_texts_and_nothing_else(config, write):
    path = "/" + "x" * 300
    persona = "kind\n" * 100
    write("c.toml", f'data_dir = "{path}"\nassistant.persona = """{persona}"""\n')
    rows = table(config("show", "--config", "c.toml")[1])
    assert rows["data_dir"] == [f'"{path}"']
    assert len(rows["assistant.persona"][0]) == 100
    assert rows["assistant.persona"][0].startswith('"kind\\nkind')
    assert rows["assistant.persona"][0].endswith("…")
    settings = json.loads(config("show", "--config", "c.toml", "--json")[1])["settings"]
    assert {row["key"]: row["value"] for row in settings}["assistant.persona"] == persona


def test_a_secret_is_shown_nowhere(config, write):
    write("c.toml", 'keys.hub = "s3cret"\nrag.pdf_passwords = ["s3cret"]\n')
    write("d.toml", 'keys.hub = "s3cret2"\n')
    for arguments in (["show", "--origin", "--config", "c.toml"], ["diff", "c.toml", "d.toml"], ["check", "c.toml"]):
        for options in ([], ["--json"]):
            code, out, err = config(*arguments, *options)
            assert code == 0
            assert "s3cret" not in out + err


# schema


def test_the_schema_can_be_kept_in_a_file(config):
    code, out, err = config("schema")
    assert (code, err) == (0, "")
    assert json.loads(out) == json_schema()
    Draft202012Validator.check_schema(json.loads(out))


# check


def test_check_takes_a_file_with_what_it_extends_and_its_config_d_but_without_the_environment(
    config, write, monkeypatch
):
    monkeypatch.setenv("CAPIBARA_RAG__TOPK", "1")
    write("c.toml", 'extends = "./base.toml"\nrag.top_k = 5\n')
    write("base.toml", "rag.alpha = 0.3\n")
    assert config("check", "c.toml") == (0, "settings are valid: 2 set, file c.toml\n", "")
    assert config("check")[0] == 2
    write("config.d/10.toml", "rag.topk = 1\n")
    write("base.toml", "\nrag.alpha = 3\n")
    code, out, err = config("check", "c.toml")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "capibara: base.toml:2: rag.alpha must be less than or equal to 1, not 3",
        "capibara: config.d/10.toml:1: unknown key rag.topk; did you mean rag.top_k?",
    ]


def test_check_tells_what_settings_say_of_one_another_where_they_stand(config, write):
    text = "[voice]\n\nclosing_threshold = 0.9\n[generation]\nmax_tokens = 512\n[model]\ncontext_tokens = 256\n"
    write("c.toml", text)
    for arguments in (["check", "c.toml"], ["check", "--config", "c.toml"]):
        code, out, err = config(*arguments)
        assert (code, out) == (2, "")
        assert [line.partition(" is ")[0] for line in err.splitlines()] == [
            "capibara: c.toml:3: voice.closing_threshold",
            "capibara: c.toml:5: generation.max_tokens",
        ]


@pytest.mark.parametrize("name", [name for name in preset_names() if name not in ("server-gpu", "tpu-mesh")])
def test_a_settings_file_that_extends_a_preset_passes_the_check(config, write, name):
    write("c.toml", f'extends = "{name}"\n')
    assert config("check", "c.toml")[0] == 0


@pytest.mark.parametrize(("name", "key"), [("server-gpu", "model.device"), ("tpu-mesh", "model.device")])
def test_a_preset_for_hardware_that_is_not_here_is_refused_at_the_line_that_asks_for_it(config, write, name, key):
    write("c.toml", f'extends = "{name}"\n')
    code, _, errors = config("check", "c.toml")
    if code == 0:
        pytest.skip(f"this machine has what {name} asks for")
    assert f"preset {name}:" in errors
    assert f"{key}: JAX finds no" in errors


def test_check_of_a_missing_file_or_a_folder_is_one_line(config, tmp_path):
    assert config("check", "none.toml")[::2] == (2, "capibara: none.toml: cannot be read: No such file or directory\n")
    (tmp_path / "c.toml").mkdir()
    assert config("check", "c.toml")[::2] == (2, "capibara: c.toml: cannot be read: Is a directory\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[model]\ndevice = "tpu"\n', ":2: model.device: JAX finds no tpu here"),
        ('[voice]\ndevice = "cuda"\n', ":2: voice.device: no GPU for CUDA is found here"),
        ('[model]\n\npath = "./nowhere.gguf"\n', ":3: model.path: no model at"),
    ],
)
def test_check_names_what_this_machine_cannot_do(config, tmp_path, text, expected):
    file = tmp_path / "machine.toml"
    file.write_text(text)
    code, _, errors = config("check", str(file))
    assert code == 2
    assert f"{file}{expected}" in errors


# diff


def test_diff_compares_files_folders_and_presets(config, write, monkeypatch):
    monkeypatch.setenv("CAPIBARA_RAG__TOP_K", "99")
    write("c.toml", 'extends = "laptop"\nrag.top_k = 5\nrag.collections.es.alpha = 0.3\n')
    write("folder/capibara.toml", 'extends = "laptop"\n')
    expected = {
        "rag.top_k": ["10", "5"],
        "rag.collections.es.alpha": ["-", "0.3"],
        "rag.collections.es.rerank_mix": ["-", "none"],
    }
    for other in ("laptop", "folder"):
        code, out, err = config("diff", other, "c.toml")
        assert (code, err) == (0, "")
        rows = table(out)
        assert rows.pop("setting") == [other, "c.toml"]
        assert rows == expected


def test_diff_in_json_has_values_and_origins(config, write):
    write("c.toml", "rag.top_k = 5\n")
    assert json.loads(config("diff", "default", "c.toml", "--json")[1]) == {
        "a": "default",
        "b": "c.toml",
        "differences": [
            {
                "key": "rag.top_k",
                "a": {"value": 10, "origin": "default"},
                "b": {"value": 5, "origin": "c.toml:1"},
            }
        ],
    }


def test_diff_of_the_same_settings_says_so_and_prints_nothing(config, write):
    write("c.toml", "rag.top_k = 10\n")
    assert config("diff", "default", "c.toml") == (0, "", "default and c.toml lead to the same settings\n")


def test_a_secret_that_differs_is_a_difference(config, write):
    write("c.toml", 'keys.hub = "a"\n')
    write("d.toml", 'keys.hub = "b"\n')
    assert table(config("diff", "c.toml", "d.toml")[1])["keys.hub"] == ['"**********"', '"**********"']


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lap", "lap is no file, no folder and no preset (arm, default, development, laptop, research, server-gpu, "),
        ("none.toml", "none.toml: cannot be read: No such file or directory"),
        ("bad.toml", "bad.toml:1: unknown key rag.topk; did you mean rag.top_k?"),
    ],
)
def test_diff_of_what_cannot_be_read_is_one_line(config, write, name, message):
    write("bad.toml", "rag.topk = 1")
    code, out, err = config("diff", "laptop", name)
    assert (code, out) == (2, "")
    assert err.startswith(f"capibara: {message}")
    assert err.count("\n") == 1
