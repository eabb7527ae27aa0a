"""What the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .parts import FIRST
from .watching import Settings


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file into the test's folder, and makes the folders it needs."""

    def write(name: str, content: str | bytes) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file that holds `FIRST`."""
    file = tmp_path / "capibara.toml"
    file.write_text(FIRST)
    return file


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Files to watch; their watchers end with the test."""
    made = Settings(tmp_path)
    yield made
    for watcher in made.watchers:
        watcher.stop()
