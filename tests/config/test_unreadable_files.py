"""Files that are no settings files, or cannot be read: each is told on one line, by name."""

from __future__ import annotations

import os

import pytest

from capibara.config.fingerprint import LARGEST_FILE
from capibara.config.load import read_sources

from .settings_files import load, problems

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rag.top_k = 1\n\0\n", "c.toml:2: not valid TOML: Invalid statement at column 1"),
        (b'assistant.persona = "a\0b"\n', "c.toml:1: not valid TOML: Illegal character '\\x00' at column 23"),
        (b"# one\n# ma\xf1ana\n", "c.toml:2: not UTF-8 text; save the file as UTF-8"),
        ("rag.top_k = 5\n".encode("utf-16"), "c.toml:1: not UTF-8 text; save the file as UTF-8"),
        (b"#" * (LARGEST_FILE + 1), "c.toml: larger than 1 MiB; that is no settings file"),
        (b"#" * 10_000_000, "c.toml: larger than 1 MiB; that is no settings file"),
        (b"a = " + b"[" * 5000, "c.toml: not valid TOML: nested too deeply"),
        (b"[rag]\nalpha = 0.1\nalpha = 0.2", "c.toml:3: not valid TOML: Cannot overwrite a value at the end"),
        (b"[rag]\nalpha = 0.1\n[rag]\n", "c.toml:3: not valid TOML: Cannot declare ('rag',) twice at column 5"),
        (b'a = "open\n', "c.toml:1: not valid TOML: Illegal character '\\n' at column 10"),
        (b"rag.top_k = 5 rag.alpha = 1", "c.toml:1: not valid TOML: Expected newline or end of document after "
         "a statement at column 15"),
    ],
    ids=["NUL", "NUL in text", "Latin-1", "UTF-16", "1 MiB and 1", "10 MB", "deep", "key twice", "table twice",
         "open text", "two on a line"],
)  # fmt: skip
def test_a_file_that_is_no_settings_file_is_told_on_one_line(write, content, message):
    assert problems(write("c.toml", content)) == [message]


def test_the_largest_file_is_read(write):
    assert load(write("c.toml", b"rag.top_k = 3\n".ljust(LARGEST_FILE, b"#"))).settings.rag.top_k == 3


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "9" * 5000])
def test_a_number_of_thousands_of_digits_is_a_mistake_and_no_crash(write, number):
    [problem] = problems(write("c.toml", f"rag.top_k = {number}"))
    assert problem.startswith("c.toml")
    assert len(problem) < 250


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    folder = tmp_path / "c.toml"
    folder.mkdir()
    assert problems(folder) == [f"{folder.name}: cannot be read: Is a directory"]


def test_a_folder_in_config_d_is_named(write, tmp_path):
    main = write("c.toml", "")
    (tmp_path / "config.d" / "10.toml").mkdir(parents=True)
    assert problems(main) == ["config.d/10.toml: cannot be read: Is a directory"]


NO_FILE = "cannot be read: not a regular file; copy what it gives into one"


def test_a_pipe_in_place_of_the_file_is_refused_without_waiting_for_its_writer(tmp_path):
    pipe = tmp_path / "c.toml"
    os.mkfifo(pipe)
    assert problems(pipe) == [f"c.toml: {NO_FILE}"]


@pytest.mark.parametrize(
    ("text", "named"),
    [('extends = "./pipe.toml"', "pipe.toml"), ('assistant.persona = "./pipe.toml"', "pipe.toml")],
    ids=["base", "text file"],
)
def test_a_pipe_that_the_file_names_is_refused_at_its_line(write, tmp_path, text, named):
    os.mkfifo(tmp_path / named)
    assert problems(write("c.toml", f"\n{text}")) == [f"c.toml:2: {named} {NO_FILE}"]


def test_a_pipe_in_config_d_is_refused(write, tmp_path):
    main = write("c.toml", "")
    (tmp_path / "config.d").mkdir()
    os.mkfifo(tmp_path / "config.d" / "10.toml")
    assert problems(main) == [f"config.d/10.toml: {NO_FILE}"]


def test_a_device_in_place_of_a_text_file_is_refused(write):
    assert problems(write("c.toml", 'assistant.persona = "/dev/zero"')) == [f"c.toml:1: /dev/zero {NO_FILE}"]


def test_a_link_to_nothing_is_a_missing_file_even_where_none_is_required(tmp_path):
    link = tmp_path / "c.toml"
    link.symlink_to(tmp_path / "gone.toml")
    assert problems(link) == ["c.toml: cannot be read: No such file or directory"]
    assert read_sources(link, required=False, environ={}).problems


def test_a_link_in_a_circle_is_told_on_one_line(tmp_path):
    link = tmp_path / "c.toml"
    link.symlink_to(link)
    assert problems(link) == ["c.toml: cannot be read: Too many levels of symbolic links"]


@pytest.mark.skipif(AS_ROOT, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(write):
    file = write("c.toml", "")
    file.chmod(0)
    assert problems(file) == ["c.toml: cannot be read: Permission denied"]
