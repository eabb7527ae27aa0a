"""A small data set, written as a user would write one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from .harbours import PASSAGES, QUESTIONS

Write = Callable[..., Path]


def write_rows(path: Path, rows: Sequence[dict[str, Any] | str]) -> None:
    """Rows that are text are written as they are."""
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for row in rows:
            file.write((row if isinstance(row, str) else json.dumps(row)) + "\n")


@pytest.fixture
def data_set(tmp_path: Path) -> Write:
    def write(passages: Sequence[Any] = PASSAGES, questions: Sequence[Any] = QUESTIONS) -> Path:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        write_rows(folder / "passages.jsonl.gz", passages)
        write_rows(folder / "questions.jsonl.gz", questions)
        return folder

    return write
