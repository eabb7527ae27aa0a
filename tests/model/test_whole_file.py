"""A file is written beside its place and moved there, or leaves nothing."""

from __future__ import annotations

import pytest

from capibara.model.whole_file import whole_file


def test_what_is_written_is_there_in_the_end_and_not_before(tmp_path):
    file = tmp_path / "made" / "file"
    with whole_file(file) as unfinished:
        unfinished.write_text("new")
        assert not file.exists()
    assert [(each.name, each.read_text()) for each in file.parent.iterdir()] == [("file", "new")]


def test_an_error_leaves_what_was_there_and_no_half(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "file") as unfinished:
        unfinished.write_text(f"ne{1 / unfinished.write_bytes(b'')}")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file", "old")]


def test_a_file_that_cannot_be_moved_leaves_no_half(tmp_path):
    (tmp_path / "file" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="file"), whole_file(tmp_path / "file") as unfinished:
        unfinished.write_text("new")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
