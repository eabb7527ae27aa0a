"""``capibara config``: showing, checking, comparing, beginning and migrating settings."""

from __future__ import annotations

import json
import os
import tomllib

import pytest
from jsonschema import Draft202012Validator

from capibara.assistant.cli import main
from capibara.config import load_settings
from capibara.config.json_schema import json_schema
from capibara.config.presets import preset_names

COMMANDS = ["show", "schema", "check", "diff", "init", "presets", "migrate"]
NEEDS = {"diff": ["laptop", "arm"], "migrate": ["old.toml"]}


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No settings but the test's own."""
    for name in [name for name in os.environ if name.startswith("CAPIBARA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CAPIBARA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["config", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    return write


def table(out: str) -> dict[str, list[str]]:
    return {key: cells for key, *cells in (line.split("\t") for line in out.splitlines())}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_within_80_columns_with_the_shared_options(run, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert [option for option in ("--config", "--data-dir", "--set", "--json", "--verbose") if option not in out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_with_json_every_command_prints_one_document_and_nothing_else(run, write, command):
    write("old.toml", "top_k = 3")
    code, out, err = run(command, *NEEDS.get(command, []), "--json")
    assert (code, err) == (0, "")
    assert isinstance(json.loads(out), dict)


# show


def test_show_has_one_line_for_each_setting_with_its_value(run):
    code, out, err = run("show", "--set", "rag.top_k=5")
    assert (code, err) == (0, "")
    rows = table(out)
    assert rows["setting"] == ["value"]
    assert rows["rag.top_k"] == ["5"]
    assert rows["model.threads"] == ["none"]


def test_show_tells_where_a_value_is_from_and_which_it_wins_over(run, write, monkeypatch):
    write("c.toml", 'extends = "laptop"\n\n[rag]\ncandidates = 40\nalpha = 0.3\n')
    monkeypatch.setenv("CAPIBARA_RAG__CANDIDATES", "50")
    _, out, _ = run("show", "--origin", "--config", "c.toml", "--set", "rag.top_k=5")
    rows = table(out)
    assert rows["rag.candidates"] == ["50", "CAPIBARA_RAG__CANDIDATES, over c.toml:4, over preset laptop:11"]
    assert rows["rag.alpha"] == ["0.3", "c.toml:5"]
    assert rows["rag.top_k"] == ["5", "--set rag.top_k"]
    assert rows["rag.rrf_k"] == ["60", "default"]
    _, out, _ = run("show", "--config", "c.toml", "--json")
    settings = {row["key"]: row for row in json.loads(out)["settings"]}
    assert settings["rag.candidates"] == {
        "key": "rag.candidates",
        "value": 50,
        "origin": "CAPIBARA_RAG__CANDIDATES",
        "overridden": ["c.toml:4", "preset laptop:11"],
    }
    assert settings["rag.rrf_k"]["overridden"] == []


def test_show_cuts_long_texts_and_nothing_else(run, write):
    path = "/" + "x" * 300
    persona = "kind\n" * 100
    write("c.toml", f'data_dir = "{path}"\nassistant.persona = """{persona}"""\n')
    rows = table(run("show", "--config", "c.toml")[1])
    assert rows["data_dir"] == [f'"{path}"']
    assert len(rows["assistant.persona"][0]) == 100
    assert rows["assistant.persona"][0].startswith('"kind\\nkind')
    assert rows["assistant.persona"][0].endswith("…")
    settings = json.loads(run("show", "--config", "c.toml", "--json")[1])["settings"]
    assert {row["key"]: row["value"] for row in settings}["assistant.persona"] == persona


def test_a_secret_is_shown_nowhere(run, write):
    write("c.toml", 'keys.hub = "s3cret"\nrag.pdf_passwords = ["s3cret"]\n')
    write("d.toml", 'keys.hub = "s3cret2"\n')
    for arguments in (["show", "--origin", "--config", "c.toml"], ["diff", "c.toml", "d.toml"], ["check", "c.toml"]):
        for options in ([], ["--json"]):
            code, out, err = run(*arguments, *options)
            assert code == 0
            assert "s3cret" not in out + err


# schema


def test_the_schema_can_be_kept_in_a_file(run):
    code, out, err = run("schema")
    assert (code, err) == (0, "")
    assert json.loads(out) == json_schema()
    Draft202012Validator.check_schema(json.loads(out))


# check


def test_check_takes_a_file_with_what_it_extends_and_its_config_d_but_without_the_environment(run, write, monkeypatch):
    monkeypatch.setenv("CAPIBARA_RAG__TOPK", "1")
    write("c.toml", 'extends = "./base.toml"\nrag.top_k = 5\n')
    write("base.toml", "rag.alpha = 0.3\n")
    assert run("check", "c.toml") == (0, "settings are valid: 2 set, file c.toml\n", "")
    assert run("check")[0] == 2
    write("config.d/10.toml", "rag.topk = 1\n")
    write("base.toml", "\nrag.alpha = 3\n")
    code, out, err = run("check", "c.toml")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "capibara: base.toml:2: rag.alpha must be less than or equal to 1, not 3",
        "capibara: config.d/10.toml:1: unknown key rag.topk; did you mean rag.top_k?",
    ]


def test_check_tells_what_settings_say_of_one_another_where_they_stand(run, write):
    text = "[voice]\n\nclosing_threshold = 0.9\n[generation]\nmax_tokens = 512\n[model]\ncontext_tokens = 256\n"
    write("c.toml", text)
    for arguments in (["check", "c.toml"], ["check", "--config", "c.toml"]):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert [line.partition(" is ")[0] for line in err.splitlines()] == [
            "capibara: c.toml:3: voice.closing_threshold",
            "capibara: c.toml:5: generation.max_tokens",
        ]


@pytest.mark.parametrize("name", [name for name in preset_names() if name not in ("server-gpu", "tpu-mesh")])
def test_a_settings_file_that_extends_a_preset_passes_the_check(run, write, name):
    write("c.toml", f'extends = "{name}"\n')
    assert run("check", "c.toml")[0] == 0


@pytest.mark.parametrize(("name", "key"), [("server-gpu", "model.device"), ("tpu-mesh", "model.device")])
def test_a_preset_for_hardware_that_is_not_here_is_refused_at_the_line_that_asks_for_it(run, write, name, key):
    write("c.toml", f'extends = "{name}"\n')
    code, _, errors = run("check", "c.toml")
    if code == 0:
        pytest.skip(f"this machine has what {name} asks for")
    assert f"preset {name}:" in errors
    assert f"{key}: JAX finds no" in errors


def test_check_of_a_missing_file_or_a_folder_is_one_line(run, tmp_path):
    assert run("check", "none.toml")[::2] == (2, "capibara: none.toml: cannot be read: No such file or directory\n")
    (tmp_path / "c.toml").mkdir()
    assert run("check", "c.toml")[::2] == (2, "capibara: c.toml: cannot be read: Is a directory\n")


# diff


def test_diff_compares_files_folders_and_presets(run, write, monkeypatch):
    monkeypatch.setenv("CAPIBARA_RAG__TOP_K", "99")
    write("c.toml", 'extends = "laptop"\nrag.top_k = 5\nrag.collections.es.alpha = 0.3\n')
    write("folder/capibara.toml", 'extends = "laptop"\n')
    expected = {
        "rag.top_k": ["10", "5"],
        "rag.collections.es.alpha": ["-", "0.3"],
        "rag.collections.es.rerank_mix": ["-", "none"],
    }
    for other in ("laptop", "folder"):
        code, out, err = run("diff", other, "c.toml")
        assert (code, err) == (0, "")
        rows = table(out)
        assert rows.pop("setting") == [other, "c.toml"]
        assert rows == expected


def test_diff_in_json_has_values_and_origins(run, write):
    write("c.toml", "rag.top_k = 5\n")
    assert json.loads(run("diff", "default", "c.toml", "--json")[1]) == {
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


def test_diff_of_the_same_settings_says_so_and_prints_nothing(run, write):
    write("c.toml", "rag.top_k = 10\n")
    assert run("diff", "default", "c.toml") == (0, "", "default and c.toml lead to the same settings\n")


def test_a_secret_that_differs_is_a_difference(run, write):
    write("c.toml", 'keys.hub = "a"\n')
    write("d.toml", 'keys.hub = "b"\n')
    assert table(run("diff", "c.toml", "d.toml")[1])["keys.hub"] == ['"**********"', '"**********"']


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lap", "lap is no file, no folder and no preset (arm, default, development, laptop, research, server-gpu, "),
        ("none.toml", "none.toml: cannot be read: No such file or directory"),
        ("bad.toml", "bad.toml:1: unknown key rag.topk; did you mean rag.top_k?"),
    ],
)
def test_diff_of_what_cannot_be_read_is_one_line(run, write, name, message):
    write("bad.toml", "rag.topk = 1")
    code, out, err = run("diff", "laptop", name)
    assert (code, out) == (2, "")
    assert err.startswith(f"capibara: {message}")
    assert err.count("\n") == 1


# presets and init


def test_the_presets_are_listed_with_whom_they_are_for(run):
    rows = table(run("presets")[1])
    assert rows.pop("preset") == ["for"]
    assert list(rows) == list(preset_names())
    assert all(text.startswith("For ") for [text] in rows.values())


def test_init_writes_into_the_data_folder_and_says_what_to_do_next(run, tmp_path):
    file = tmp_path / "data" / "capibara.toml"
    code, out, err = run("init", "--preset", "laptop")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"wrote {file}, which extends the preset laptop",
        "change it in an editor, then run `capibara config check`",
    ]
    assert tomllib.loads(file.read_text())["extends"] == "laptop"
    assert run("check")[0] == 0
    assert table(run("show")[1])["voice.model"] == ['"base"']


@pytest.mark.parametrize(
    ("arguments", "file", "next_step"),
    [
        (["mine.toml"], "mine.toml", "capibara config check --config mine.toml"),
        (["--config", "mine.toml"], "mine.toml", "capibara config check --config mine.toml"),
        (["--data-dir", "my data"], "my data/capibara.toml", "capibara config check --data-dir 'my data'"),
    ],
)
def test_init_writes_where_it_is_told_and_names_the_command_for_it(run, tmp_path, arguments, file, next_step):
    code, out, _ = run("init", *arguments)
    assert code == 0
    assert tomllib.loads((tmp_path / file).read_text())["extends"] == "default"
    assert f"`{next_step}`" in out


def test_init_overwrites_only_with_force(run, write, tmp_path):
    write("mine.toml", "rag.top_k = 5\n")
    (tmp_path / "link.toml").symlink_to(tmp_path / "gone.toml")
    for name in ("mine.toml", "link.toml"):
        assert run("init", name) == (2, "", f"capibara: {name} exists: --force overwrites it\n")
    assert (tmp_path / "mine.toml").read_text() == "rag.top_k = 5\n"
    assert run("init", "mine.toml", "--force")[0] == 0
    assert "extends" in (tmp_path / "mine.toml").read_text()


def test_init_with_an_unknown_preset_names_those_there_are(run, tmp_path):
    code, out, err = run("init", "--preset", "lap")
    assert (code, out) == (2, "")
    assert err == f"capibara: --preset: there is no preset lap; there are {', '.join(preset_names())}\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("arguments", [["init", "none/c.toml"], ["migrate", "old.toml", "--output", "none/c.toml"]])
def test_a_folder_that_is_missing_is_told_with_the_file(run, write, arguments):
    write("old.toml", "top_k = 3\n")
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == "capibara: none/c.toml cannot be written: No such file or directory"


# migrate


OLD = "# old\nlog_level = 'info'\nhf_token = 's3cret'\nport = 8000\ntop_k = 500\n"
NEW = {"schema_version": 2, "rag": {"top_k": 100}, "logging": {"level": "info"}, "keys": {"hub": "s3cret"}}


def test_migrate_prints_the_file_and_reports_each_key_beside_it(run, write, tmp_path):
    write("old.toml", OLD)
    code, out, err = run("migrate", "old.toml")
    assert code == 0
    assert tomllib.loads(out) == NEW
    rows = table(err)
    assert list(rows) == ["key", "log_level", "hf_token", "port", "top_k"]
    assert rows["port"] == ["8000", "dropped", "", "there is no server"]
    assert rows["hf_token"][:3] == ['"**********"', "mapped", 'keys.hub = "**********"']
    assert rows["top_k"][3].startswith("was 500: 100 is the largest allowed")
    assert "s3cret" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["old.toml"]


def test_migrate_writes_a_file_that_loads_and_overwrites_none(run, write, tmp_path):
    write("old.json", json.dumps({"top_k": 500, "log_level": "info", "hf_token": "s3cret"}))
    code, out, err = run("migrate", "old.json", "--output", "new.toml")
    assert (code, out) == (0, "")
    assert err.endswith("wrote new.toml\n")
    assert tomllib.loads((tmp_path / "new.toml").read_text()) == NEW
    assert load_settings(tmp_path / "new.toml", environ={}).settings.rag.top_k == 100
    assert run("migrate", "old.json", "--output", "new.toml") == (
        2,
        "",
        "capibara: new.toml exists: --force overwrites it\n",
    )
    assert run("migrate", "old.json", "--output", "new.toml", "--force")[0] == 0


def test_migrate_in_place_keeps_the_old_file(run, write, tmp_path):
    write("old.toml", OLD)
    (tmp_path / "old.toml").chmod(0o640)
    code, out, err = run("migrate", "old.toml", "--in-place")
    assert (code, out) == (0, "")
    assert err.endswith("wrote old.toml; the old file is old.toml.bak\n")
    assert tomllib.loads((tmp_path / "old.toml").read_text()) == NEW
    assert (tmp_path / "old.toml").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "old.toml.bak").read_text() == OLD
    code, _, err = run("migrate", "old.toml", "--in-place")
    assert (code, err) == (2, "capibara: old.toml.bak exists: --force overwrites it\n")
    assert (tmp_path / "old.toml.bak").read_text() == OLD


def test_migrate_says_which_paths_mean_something_else_in_another_folder(run, write, tmp_path):
    write("old.toml", 'data_dir = "library"\n')
    (tmp_path / "new").mkdir()
    assert run("migrate", "old.toml", "--output", "new/capibara.toml")[2].endswith(
        "paths relative to new now: data_dir\n"
    )


def test_migrate_in_json_has_the_steps_and_the_text_where_it_is_not_written(run, write):
    write("old.toml", "top_k = 500\nport = 1\n")
    document = json.loads(run("migrate", "old.toml", "--json")[1])
    assert (document["written"], document["backup"]) == (None, None)
    assert tomllib.loads(document["text"])["rag"] == {"top_k": 100}
    steps = {step["key"]: step for step in document["steps"]}
    assert steps["port"] == {
        "key": "port",
        "old": "1",
        "became": "dropped",
        "setting": None,
        "new": None,
        "why": "there is no server",
    }
    assert (steps["top_k"]["setting"], steps["top_k"]["new"]) == ("rag.top_k", "100")
    written = json.loads(run("migrate", "old.toml", "--in-place", "--json")[1])
    assert (written["written"], written["backup"], written["text"]) == ("old.toml", "old.toml.bak", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.toml"], "none.toml: cannot be read: No such file or directory"),
        (["none.toml", "--in-place"], "none.toml: cannot be read: No such file or directory"),
        (["bad.toml", "--in-place"], "bad.toml:1: not valid TOML: Invalid value at the end"),
        (["old.toml", "--in-place", "--output", "x.toml"], "--in-place writes OLD: leave --output out"),
        (["old.json", "--in-place"], "old.json is JSON and settings are TOML: use --output FILE"),
        (["base.toml", "--in-place"], "base.toml:2: as rewritten: there is no preset lap; "),
    ],
)
def test_a_migration_that_cannot_be_is_one_line_and_changes_nothing(run, write, tmp_path, arguments, message):
    write("bad.toml", "a = ")
    write("old.toml", "top_k = 1")
    write("old.json", "{}")
    write("base.toml", 'extends = "lap"')
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    code, out, err = run("migrate", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"capibara: {message}")
    assert err.count("\n") == 1
    assert {path: path.read_text() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[model]\ndevice = "tpu"\n', ":2: model.device: JAX finds no tpu here"),
        ('[voice]\ndevice = "cuda"\n', ":2: voice.device: no GPU for CUDA is found here"),
        ('[model]\n\npath = "./nowhere.gguf"\n', ":3: model.path: no model at"),
    ],
)
def test_check_names_what_this_machine_cannot_do(run, tmp_path, text, expected):
    file = tmp_path / "machine.toml"
    file.write_text(text)
    code, _, errors = run("check", str(file))
    assert code == 2
    assert f"{file}{expected}" in errors
