"""Settings written into a file: what stands there stays, and the file is replaced as a whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tomllib
from pathlib import Path

import pytest
from pydantic import SecretStr

from capibara.config import ConfigError, load_settings
from capibara.config.fingerprint import LARGEST_FILE
from capibara.config.persist import planned, replace_file, write_settings
from capibara.config.sources import split_key

WRITTEN = """\
# What I changed.
extends = "laptop"  # the machine

[voice]
model = "base"      # quick

# Search
[rag]
top_k = 5           # few
# alpha = 0.3
alpha = 0.2
"""


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "capibara.toml"


def test_only_the_value_that_is_set_differs(file):
    file.write_text(WRITTEN)
    write_settings(file, {"rag.top_k": 7})
    assert file.read_text() == WRITTEN.replace("top_k = 5 ", "top_k = 7 ")


def test_several_values_are_set_at_once_and_missing_tables_are_made(file):
    file.write_text(WRITTEN)
    write_settings(file, {"rag.rrf_k": 9, "logging.level": "info", "rag.collections.es.alpha": 0.4, "data_dir": "/x"})
    text = file.read_text()
    kept = [line for line in text.splitlines() if line and line in WRITTEN.splitlines()]
    assert kept == [line for line in WRITTEN.splitlines() if line]
    loaded = load_settings(file, environ={}).settings
    assert (loaded.rag.rrf_k, loaded.rag.alpha, loaded.rag.collections["es"].alpha) == (9, 0.2, 0.4)
    assert (loaded.logging.level, loaded.data_dir) == ("info", Path("/x"))


def test_a_missing_file_is_made(file):
    write_settings(file, {"rag.top_k": 3, "variants.b.set.rag.alpha": 0.1})
    assert file.read_text() == "[rag]\ntop_k = 3\n\n[variants.b.set.rag]\nalpha = 0.1\n"


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("model.threads", None, 'threads = "none"'),
        ("data_dir", Path("/srv/data"), 'data_dir = "/srv/data"'),
        ("generation.stop", ("a", 'b"\n'), 'stop = ["a", "b\\"\\n"]'),
        ("rag.dedup", False, "dedup = false"),
        ("rag.alpha", 1, "alpha = 1"),
        ('rag.collections."mis notas".alpha', 0.5, '[rag.collections."mis notas"]'),
    ],
)
def test_values_are_written_as_the_loader_reads_them(file, key, value, written):
    write_settings(file, {key: value})
    assert written in file.read_text().splitlines()
    load_settings(file, environ={})


def test_a_link_stays_a_link_and_its_target_is_written(file, tmp_path):
    target = tmp_path / "dotfiles" / "mine.toml"
    target.parent.mkdir()
    target.write_text("rag.top_k = 5\n")
    file.symlink_to(target)
    write_settings(file, {"rag.top_k": 6})
    assert file.is_symlink()
    assert target.read_text() == "rag.top_k = 6\n"
    assert [path.name for path in target.parent.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_the_mode_of_the_file_stays(file, mode):
    file.write_text("rag.top_k = 5")
    file.chmod(mode)
    write_settings(file, {"rag.top_k": 6})
    assert file.stat().st_mode & 0o777 == mode


def test_a_new_file_can_be_read_by_its_owner_alone(file):
    write_settings(file, {"keys.hub": "hf_x"})
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[rag\ntop_k = 5", "not valid TOML: Expected ']' at the end of a table declaration at column 5; nothing is "
         "written before that is put right"),
        (b"a = " + b"[" * 5000, "not valid TOML: nested too deeply; nothing is written before that is put right"),
        (b"# ma\xf1ana\n", "not UTF-8 text, so nothing is written to it; save the file as UTF-8"),
        (b"#" * (LARGEST_FILE + 1), "larger than 1 MiB; that is no settings file"),
        (b"rag = 5\n", "rag.alpha lies below a key that is no table, so nothing is written to it"),
        (b"[[rag]]\ntop_k = 5\n", "rag.alpha lies below a key that is no table, so nothing is written to it"),
    ],
    ids=["no TOML", "deep", "Latin-1", "large", "a value in the way", "a list in the way"],
)  # fmt: skip
def test_a_file_that_cannot_be_edited_is_left_as_it_is(file, content, message):
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        write_settings(file, {"rag.alpha": 0.1})
    assert str(caught.value) in (f"{file}: {message}", f"{file}:1: {message}")
    assert file.read_bytes() == content
    assert list(file.parent.iterdir()) == [file]


def test_when_one_value_cannot_be_set_none_is(file):
    file.write_text("rag.top_k = 5\nvoice = 1\n")
    with pytest.raises(ConfigError):
        write_settings(file, {"rag.top_k": 6, "voice.beam": 2})
    assert file.read_text() == "rag.top_k = 5\nvoice = 1\n"


def test_text_that_is_no_unicode_is_refused(file):
    with pytest.raises(ConfigError, match="nothing is written"):
        write_settings(file, {"data_dir": "\udcff"})
    assert not file.exists()


def test_a_folder_that_is_missing_is_told(tmp_path):
    file = tmp_path / "none" / "capibara.toml"
    with pytest.raises(ConfigError) as caught:
        write_settings(file, {"rag.top_k": 6})
    assert str(caught.value) == f"{file}: cannot be written: No such file or directory"


def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    occupied = tmp_path / "capibara.toml"
    (occupied / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        replace_file(occupied, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["capibara.toml"]
    assert (occupied / "inside").is_dir()


def test_settings_without_a_file_have_nowhere_to_be_written():
    with pytest.raises(ConfigError, match="come from no file: name the one to write to"):
        write_settings(None, {"rag.top_k": 6})


def test_a_secret_is_written_out_and_is_in_no_message_where_it_cannot_be(file):
    write_settings(file, {"keys.hub": SecretStr("s3cret")})
    assert load_settings(file, environ={}).settings.keys.hub == SecretStr("s3cret")
    file.write_text("keys = 5")
    with pytest.raises(ConfigError) as caught:
        write_settings(file, {"keys.hub": SecretStr("s3cret")})
    assert "s3cret" not in str(caught.value)


# In two steps


def test_a_planned_write_shows_only_once_it_is_committed(file):
    file.write_text(WRITTEN)
    write = planned(file, {"rag.top_k": 7})
    assert file.read_text() == WRITTEN
    write.commit()
    assert file.read_text() == WRITTEN.replace("top_k = 5 ", "top_k = 7 ")
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("content", [None, WRITTEN])
def test_a_planned_write_that_is_discarded_leaves_no_trace(file, content):
    if content is not None:
        file.write_text(content)
    planned(file, {"rag.top_k": 7}).discard()
    assert [path.read_text() for path in file.parent.iterdir()] == ([content] if content else [])


def test_what_was_saved_between_planning_and_writing_is_not_lost(file):
    file.write_text("rag.top_k = 5\n")
    write = planned(file, {"rag.top_k": 7})
    file.write_text("rag.top_k = 6\nrag.alpha = 0.1\n")
    write.commit()
    assert file.read_text() == "rag.top_k = 7\nrag.alpha = 0.1\n"
    assert list(file.parent.iterdir()) == [file]


def test_what_was_saved_in_between_and_cannot_be_edited_stays_as_it_is(file):
    write = planned(file, {"rag.top_k": 7})
    file.write_text("[rag")
    with pytest.raises(ConfigError, match="not valid TOML"):
        write.commit()
    assert [path.read_text() for path in file.parent.iterdir()] == ["[rag"]


def test_a_folder_that_vanishes_in_between_is_told(tmp_path):
    file = tmp_path / "mine" / "capibara.toml"
    file.parent.mkdir()
    write = planned(file, {"rag.top_k": 7})
    shutil.rmtree(file.parent)
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        write.commit()


def test_the_file_and_then_its_folder_are_synced(file, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink()))
    write = planned(file, {"rag.top_k": 7})
    [temporary] = file.parent.iterdir()
    write.commit()
    assert synced == [temporary, file.parent]


def test_a_folder_that_cannot_be_synced_is_logged_and_the_file_is_written_all_the_same(file, monkeypatch, caplog):
    def fails_on_folders(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fails_on_folders)
    write_settings(file, {"rag.top_k": 7})
    assert file.read_text() == "[rag]\ntop_k = 7\n"
    assert "whether a power failure leaves what was written is uncertain" in caplog.text


def test_a_plan_does_not_show_secrets(file):
    file.write_text("keys.hub = 'b3fore'")
    write = planned(file, {"keys.hub": "s3cret"})
    assert "s3cret" not in repr(write)
    assert "b3fore" not in repr(write)
    write.discard()


# What would not load


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rag.alpha": 7}, "runtime rag.alpha: rag.alpha must be less than or equal to 1, not 7"),
        ({"rag.topk": 7}, "runtime rag.topk: unknown key rag.topk; did you mean rag.top_k?"),
        ({"rag topk": 7}, "runtime rag topk: 'rag topk' is not a key; write it like rag.top_k"),
        ({"assistant.persona": "/none.md"}, "runtime assistant.persona: /none.md cannot be read: No such file or "
         "directory"),
        ({"data_dir": "~no-such-user/x"}, "runtime data_dir: ~no-such-user/x leads nowhere: "
         "Could not determine home directory."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused(file, values, message):
    with pytest.raises(ConfigError) as caught:
        planned(file, values)
    assert str(caught.value) == message
    assert list(file.parent.iterdir()) == []


def test_a_file_that_is_wrong_elsewhere_is_not_written_to_and_its_own_line_is_told(file):
    broken = "# mine\n[rag]\nrrf_k = -4\n"
    file.write_text(broken)
    with pytest.raises(ConfigError) as caught:
        planned(file, {"data_dir": "/x"})  # comes above it in the draft
    message = "rag.rrf_k must be greater than or equal to 1, not -4; nothing is written before that is put right"
    assert str(caught.value) == f"{file}:3: {message}"
    assert [path.read_text() for path in file.parent.iterdir()] == [broken]


def test_a_wrong_value_may_be_replaced(file):
    file.write_text("rag.rrf_k = -4\n")
    write_settings(file, {"rag.rrf_k": 4})
    assert file.read_text() == "rag.rrf_k = 4\n"


@pytest.mark.parametrize("name", ["base.toml", "config.d/10.toml"])
def test_what_belongs_to_the_file_is_checked_with_it(file, name):
    part = file.parent / name
    part.parent.mkdir(exist_ok=True)
    part.write_text("rag.topk = 3")
    file.write_text('extends = "./base.toml"\n' if name == "base.toml" else "")
    with pytest.raises(ConfigError, match=r"unknown key rag\.topk"):
        planned(file, {"rag.alpha": 0.3})


def test_a_value_that_does_not_go_with_another_one_of_the_file_is_refused(file):
    file.write_text("voice.endpoint_seconds = 2.0\n")
    with pytest.raises(ConfigError) as caught:
        planned(file, {"voice.endpoint_max_seconds": 1.0})
    assert str(caught.value).startswith(
        f"{file}:2: as it would be written: voice.endpoint_max_seconds is 1, less than "
    )


def test_a_value_in_config_d_may_need_one_of_another_file(tmp_path):
    file = tmp_path / "config.d" / "10.toml"
    file.parent.mkdir()
    write_settings(file, {"voice.endpoint_max_seconds": 0.3})
    assert file.read_text() == "[voice]\nendpoint_max_seconds = 0.3\n"


def test_a_pipe_is_not_written_to(tmp_path):
    pipe = tmp_path / "capibara.toml"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="not a regular file"):
        planned(pipe, {"rag.top_k": 3})
    assert list(tmp_path.iterdir()) == [pipe]


# Paths


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("data_dir", "data", "{cwd}/data"),
        ("data_dir", "./data", "{cwd}/data"),
        ("data_dir", Path("../data"), "{cwd}/../data"),
        ("data_dir", "~/data", "{home}/data"),
        ("data_dir", "/data", "/data"),
        ("data_dir", None, "none"),
        ("data_dir", "none", "none"),
        ("model.path", "./m.gguf", "{cwd}/m.gguf"),
        ("model.path", "../m.gguf", "{cwd}/../m.gguf"),
        ("model.path", "~/m.gguf", "{home}/m.gguf"),
        ("model.path", "org/model", "org/model"),
        ("assistant.persona", "./p.md", "{cwd}/p.md"),
        ("assistant.persona", "Kind.", "Kind."),
        ("variants.b.set.assistant.persona", "./p.md", "{cwd}/p.md"),
    ],
)
def test_relative_paths_are_written_so_that_they_lead_where_they_lead_now(tmp_path, monkeypatch, key, value, expected):
    folders = {"cwd": tmp_path / "here", "home": tmp_path / "home"}
    for folder in (*folders.values(), tmp_path / "conf"):
        folder.mkdir()
    (tmp_path / "here" / "p.md").write_text("I am P")
    monkeypatch.chdir(folders["cwd"])
    monkeypatch.setenv("HOME", str(folders["home"]))
    file = tmp_path / "conf" / "capibara.toml"
    write_settings(file, {key: value})
    found = tomllib.loads(file.read_text())
    for name in split_key(key):
        found = found[name]
    assert found == expected.format(**folders)
    load_settings(file, environ={})
