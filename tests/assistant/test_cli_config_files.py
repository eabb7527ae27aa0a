"""``capibara config``: presets, and files that are begun from one or migrated from an older form."""

from __future__ import annotations

import json
import tomllib

import pytest

from capibara.config import load_settings
from capibara.config.presets import preset_names

from .command_line import table

pytestmark = pytest.mark.usefixtures("alone")


# presets and init


def test_the_presets_are_listed_with_whom_they_are_for(config):
    rows = table(config("presets")[1])
    assert rows.pop("preset") == ["for"]
    assert list(rows) == list(preset_names())
    assert all(text.startswith("For ") for [text] in rows.values())


def test_init_writes_into_the_data_folder_and_says_what_to_do_next(config, tmp_path):
    file = tmp_path / "data" / "capibara.toml"
    code, out, err = config("init", "--preset", "laptop")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"wrote {file}, which extends the preset laptop",
        "change it in an editor, then run `capibara config check`",
    ]
    assert tomllib.loads(file.read_text())["extends"] == "laptop"
    assert config("check")[0] == 0
    assert table(config("show")[1])["voice.model"] == ['"base"']


@pytest.mark.parametrize(
    ("arguments", "file", "next_step"),
    [
        (["mine.toml"], "mine.toml", "capibara config check --config mine.toml"),
        (["--config", "mine.toml"], "mine.toml", "capibara config check --config mine.toml"),
        (["--data-dir", "my data"], "my data/capibara.toml", "capibara config check --data-dir 'my data'"),
    ],
)
def test_init_writes_where_it_is_told_and_names_the_command_for_it(config, tmp_path, arguments, file, next_step):
    code, out, _ = config("init", *arguments)
    assert code == 0
    assert tomllib.loads((tmp_path / file).read_text())["extends"] == "default"
    assert f"`{next_step}`" in out


def test_init_overwrites_only_with_force(config, write, tmp_path):
    write("mine.toml", "rag.top_k = 5\n")
    (tmp_path / "link.toml").symlink_to(tmp_path / "gone.toml")
    for name in ("mine.toml", "link.toml"):
        assert config("init", name) == (2, "", f"capibara: {name} exists: --force overwrites it\n")
    assert (tmp_path / "mine.toml").read_text() == "rag.top_k = 5\n"
    assert config("init", "mine.toml", "--force")[0] == 0
    assert "extends" in (tmp_path / "mine.toml").read_text()


def test_init_with_an_unknown_preset_names_those_there_are(config, tmp_path):
    code, out, err = config("init", "--preset", "lap")
    assert (code, out) == (2, "")
    assert err == f"capibara: --preset: there is no preset lap; there are {', '.join(preset_names())}\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("arguments", [["init", "none/c.toml"], ["migrate", "old.toml", "--output", "none/c.toml"]])
def test_a_folder_that_is_missing_is_told_with_the_file(config, write, arguments):
    write("old.toml", "top_k = 3\n")
    code, out, err = config(*arguments)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == "capibara: none/c.toml cannot be written: No such file or directory"


# migrate


OLD = "# old\nlog_level = 'info'\nhf_token = 's3cret'\nport = 8000\ntop_k = 500\n"
NEW = {"schema_version": 3, "rag": {"top_k": 100}, "logging": {"level": "info"}, "keys": {"hub": "s3cret"}}


def test_migrate_prints_the_file_and_reports_each_key_beside_it(config, write, tmp_path):
    write("old.toml", OLD)
    code, out, err = config("migrate", "old.toml")
    assert code == 0
    assert tomllib.loads(out) == NEW
    rows = table(err)
    assert list(rows) == ["key", "log_level", "hf_token", "port", "top_k"]
    assert rows["port"] == ["8000", "dropped", "", "there is no server"]
    assert rows["hf_token"][:3] == ['"**********"', "mapped", 'keys.hub = "**********"']
    assert rows["top_k"][3].startswith("was 500: 100 is the largest allowed")
    assert "s3cret" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["old.toml"]


def test_migrate_writes_a_file_that_loads_and_overwrites_none(config, write, tmp_path):
    write("old.json", json.dumps({"top_k": 500, "log_level": "info", "hf_token": "s3cret"}))
    code, out, err = config("migrate", "old.json", "--output", "new.toml")
    assert (code, out) == (0, "")
    assert err.endswith("wrote new.toml\n")
    assert tomllib.loads((tmp_path / "new.toml").read_text()) == NEW
    assert load_settings(tmp_path / "new.toml", environ={}).settings.rag.top_k == 100
    assert config("migrate", "old.json", "--output", "new.toml") == (
        2,
        "",
        "capibara: new.toml exists: --force overwrites it\n",
    )
    assert config("migrate", "old.json", "--output", "new.toml", "--force")[0] == 0


def test_migrate_in_place_keeps_the_old_file(config, write, tmp_path):
    write("old.toml", OLD)
    (tmp_path / "old.toml").chmod(0o640)
    code, out, err = config("migrate", "old.toml", "--in-place")
    assert (code, out) == (0, "")
    assert err.endswith("wrote old.toml; the old file is old.toml.bak\n")
    assert tomllib.loads((tmp_path / "old.toml").read_text()) == NEW
    assert (tmp_path / "old.toml").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "old.toml.bak").read_text() == OLD
    code, _, err = config("migrate", "old.toml", "--in-place")
    assert (code, err) == (2, "capibara: old.toml.bak exists: --force overwrites it\n")
    assert (tmp_path / "old.toml.bak").read_text() == OLD


def test_migrate_says_which_paths_mean_something_else_in_another_folder(config, write, tmp_path):
    write("old.toml", 'data_dir = "library"\n')
    (tmp_path / "new").mkdir()
    assert config("migrate", "old.toml", "--output", "new/capibara.toml")[2].endswith(
        "paths relative to new now: data_dir\n"
    )


def test_migrate_in_json_has_the_steps_and_the_text_where_it_is_not_written(config, write):
    write("old.toml", "top_k = 500\nport = 1\n")
    document = json.loads(config("migrate", "old.toml", "--json")[1])
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
    written = json.loads(config("migrate", "old.toml", "--in-place", "--json")[1])
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
def test_a_migration_that_cannot_be_is_one_line_and_changes_nothing(config, write, tmp_path, arguments, message):
    write("bad.toml", "a = ")
    write("old.toml", "top_k = 1")
    write("old.json", "{}")
    write("base.toml", 'extends = "lap"')
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    code, out, err = config("migrate", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"capibara: {message}")
    assert err.count("\n") == 1
    assert {path: path.read_text() for path in tmp_path.iterdir()} == before
