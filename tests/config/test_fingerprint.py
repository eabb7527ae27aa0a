"""What a watched path holds, and which folders tell of a change."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import pytest

from capibara.config.fingerprint import FOLDER, contents, signatures, toml_entries, trail

AS_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


@pytest.mark.parametrize("data", [b"", b"a = 1\n", b"\xff\x00" * 1000])
def test_a_file_is_told_by_its_bytes(tmp_path, data):
    file = tmp_path / "a.toml"
    file.write_bytes(data)
    assert contents(file) == {file: hashlib.sha256(data).hexdigest()}


def test_what_is_missing_has_none(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling.toml").symlink_to("nowhere")
    for name in ("a.toml", "no/a.toml", "file/a.toml", "dangling.toml"):
        assert contents(tmp_path / name) == {tmp_path / name: None}


def test_touching_and_chmod_change_nothing(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("a = 1")
    before = contents(file), contents(tmp_path)
    os.utime(file, (1, 1))
    file.chmod(0o400)
    assert (contents(file), contents(tmp_path)) == before


def test_a_folder_is_told_by_its_settings_files_alone(tmp_path):
    folder = tmp_path / "config.d"
    folder.mkdir()
    seen = [contents(folder)]
    for name, text in [("b.toml", "x"), ("a.toml", "x"), ("a.toml", "y")]:
        (folder / name).write_text(text)
        seen.append(contents(folder))
    (folder / "a.toml").rename(folder / "c.toml")
    seen.append(contents(folder))
    assert all(one != other for one, other in itertools.combinations(seen, 2))
    assert seen[0] == {folder: FOLDER}
    for name in ("notes.txt", ".a.toml.swp", ".#a.toml", "a.toml~"):
        (folder / name).write_text("z")
    (folder / ".#b.toml").symlink_to("someone@host.1")
    assert contents(folder) == seen[-1]
    assert toml_entries(folder) == [folder / "b.toml", folder / "c.toml"]


@AS_ROOT
def test_what_cannot_be_read_is_neither_missing_nor_an_error(tmp_path):
    file = tmp_path / "locked" / "a.toml"
    file.parent.mkdir()
    file.write_text("a = 1")
    readable = contents(file)[file]
    file.chmod(0)
    assert contents(file)[file] not in (None, readable)
    file.parent.chmod(0)
    try:
        assert contents(file)[file] is not None
        assert contents(file.parent)[file.parent] not in (None, FOLDER)
        assert signatures(file.parent / "a.toml") == {file: None}
        assert tmp_path / "locked" in trail([file]).folders
    finally:
        file.parent.chmod(0o700)


def test_neither_pipes_nor_link_loops_nor_odd_folders_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    (tmp_path / "folder.toml").mkdir()
    held = contents(tmp_path)
    assert held.keys() == {tmp_path, tmp_path / "pipe.toml", tmp_path / "loop.toml", tmp_path / "folder.toml"}
    assert None not in held.values()


def test_a_large_file_is_told_by_size_and_time(tmp_path):
    file = tmp_path / "a.toml"
    file.write_bytes(b"a" * (1 << 20))
    assert contents(file) == {file: hashlib.sha256(file.read_bytes()).hexdigest()}
    file.write_bytes(b"a" * ((1 << 20) + 1))
    os.utime(file, ns=(1, 5))
    assert contents(file) == {file: "1048577 bytes of 5"}


def test_signatures_differ_after_a_change_and_not_after_reading(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("a = 1")
    os.utime(file, (1, 1))
    before = signatures(tmp_path)
    assert file.read_text() == "a = 1"
    assert contents(tmp_path)
    assert signatures(tmp_path) == before
    file.write_text("a = 2")
    assert signatures(tmp_path) != before


def test_the_folder_of_every_file_is_watched_even_where_the_file_is_missing(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "a.toml").touch()
    paths = [tmp_path / "one" / "a.toml", tmp_path / "two" / "b.toml"]
    assert trail(paths).folders == {tmp_path / "one", tmp_path / "two"}
    assert trail([]).folders == set()


def test_a_watched_folder_is_watched_with_its_parent(tmp_path):
    (tmp_path / "config.d").mkdir()
    assert trail([tmp_path / "config.d"]).folders == {tmp_path, tmp_path / "config.d"}


def test_where_folders_are_missing_the_nearest_one_there_is_is_watched(tmp_path):
    assert trail([tmp_path / "a" / "b" / "c.toml"]).folders == {tmp_path}
    (tmp_path / "a").mkdir()
    assert trail([tmp_path / "a" / "b" / "c.toml"]).folders == {tmp_path / "a"}


@pytest.mark.parametrize("absolute", [False, True])
def test_every_link_on_the_way_is_watched(tmp_path, absolute):
    """As Kubernetes mounts a ConfigMap: capibara.toml -> ..data/capibara.toml, ..data -> ..2026_1."""
    mount, version = tmp_path / "mount", tmp_path / "mount" / "..2026_1"
    version.mkdir(parents=True)
    (version / "capibara.toml").touch()
    (mount / "..data").symlink_to(version if absolute else "..2026_1")
    (mount / "capibara.toml").symlink_to("..data/capibara.toml")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "linked").symlink_to(mount if absolute else "../mount")
    given = tmp_path / "etc" / "linked" / "capibara.toml"
    assert trail([given]).folders == {tmp_path / "etc", mount, version}
    assert trail([given]).entries == {
        tmp_path / "etc" / "linked",
        mount / "capibara.toml",
        mount / "..data",
        version / "capibara.toml",
    }


def test_links_inside_a_watched_folder_are_followed(tmp_path):
    (tmp_path / "config.d").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").touch()
    (tmp_path / "config.d" / "a.toml").symlink_to(tmp_path / "elsewhere" / "a")
    assert tmp_path / "elsewhere" in trail([tmp_path / "config.d"]).folders


def test_link_loops_end(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "self").symlink_to("self/self")
    assert trail([tmp_path / "a" / "x.toml", tmp_path / "self"]).folders == {tmp_path}


def test_only_entries_that_matter_lead_anywhere(tmp_path):
    (tmp_path / "config.d").mkdir()
    way = trail([tmp_path / "a.toml", tmp_path / "config.d"])
    matter = ["a.toml", "config.d", "config.d/new.toml"]
    do_not = ["a.toml~", "capibara.sqlite3", "config.d/notes.txt", "config.d/.#new.toml", "b.toml"]
    assert [way.leads_over(tmp_path / name) for name in matter + do_not] == [True] * 3 + [False] * 5


def test_relative_paths_start_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert trail([Path("a.toml"), Path("../b.toml")]).folders == {tmp_path, tmp_path.parent}
