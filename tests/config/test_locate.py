"""Which data folder and which settings file belong to what the user named."""

from __future__ import annotations

from pathlib import Path

import pytest

from capibara.config import ConfigError, cache_dir, locate, open_settings


@pytest.fixture(autouse=True)
def default_folder(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "default"
    folder.mkdir()
    monkeypatch.setenv("CAPIBARA_DATA_DIR", str(folder))
    return folder


def test_nothing_named_gives_the_default_folder_without_a_file(default_folder):
    assert locate() == (default_folder, None)


def test_the_default_folders_file_is_found(default_folder):
    file = default_folder / "capibara.toml"
    file.touch()
    assert locate() == (default_folder, file)


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_is_the_data_folder(tmp_path, exists):
    folder = tmp_path / "mine"
    if exists:
        folder.mkdir()
    assert locate(folder) == (folder, None)


def test_a_file_belongs_to_the_default_folder(tmp_path, default_folder):
    file = tmp_path / "settings.toml"
    file.touch()
    assert locate(str(file)) == (default_folder, file)


def test_a_file_beside_a_store_belongs_to_that_folder(tmp_path):
    (tmp_path / "capibara.sqlite3").touch()
    file = tmp_path / "capibara.toml"
    file.touch()
    assert locate(file) == (tmp_path, file)


def test_a_named_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        open_settings(tmp_path / "none.toml", environ={})


def test_data_dir_in_the_file_wins_over_the_default_and_is_relative_to_the_file(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('data_dir = "library"')
    assert open_settings(file, environ={})[1] == tmp_path / "library"


def test_a_named_folder_wins_over_data_dir_in_its_file(tmp_path):
    (tmp_path / "capibara.toml").write_text('data_dir = "elsewhere"\nrag.top_k = 3')
    loaded, data_dir = open_settings(tmp_path, environ={})
    assert data_dir == tmp_path
    assert loaded.settings.rag.top_k == 3


def test_an_argument_wins_over_everything(tmp_path):
    (tmp_path / "capibara.toml").write_text('data_dir = "elsewhere"')
    assert open_settings(tmp_path, environ={}, overrides={"data_dir": tmp_path / "a"})[1] == tmp_path / "a"


def test_a_tilde_is_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CAPIBARA_CACHE_DIR", "~/cache")
    assert locate("~/mine")[0] == tmp_path / "mine"
    assert cache_dir() == tmp_path / "cache"
