"""A watcher tells when what was just read is not what it saw settle."""

from __future__ import annotations

import hashlib

import pytest

from capibara.config.watch import FileWatcher


@pytest.fixture
def watcher(tmp_path):
    (tmp_path / "config.d").mkdir()
    (tmp_path / "capibara.toml").write_text("one")
    (tmp_path / "config.d" / "a.toml").write_text("two")
    made = FileWatcher(lambda: [tmp_path / "capibara.toml", tmp_path / "config.d"], lambda: None)
    made.start()
    yield made
    made.stop()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("name", "read", "disagrees"),
    [
        ("capibara.toml", digest("one"), False),
        ("capibara.toml", digest("on"), True),
        ("capibara.toml", "", True),
        ("config.d/a.toml", digest("two"), False),
        ("config.d/a.toml", digest("tw"), True),
        ("config.d", "a.toml", False),
        ("unknown.toml", digest("x"), False),
    ],
)
def test_only_a_file_that_holds_something_else_disagrees(watcher, tmp_path, name, read, disagrees):
    assert watcher.disagrees({tmp_path / name: read}) is disagrees
