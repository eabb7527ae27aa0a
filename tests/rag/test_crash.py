"""An ingest killed at any point loses nothing that was acknowledged, and leaves nothing half-done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from capibara.config.schema import RagSettings
from capibara.rag import Library

POINTS = 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are made by fork")
def test_whatever_is_killed_and_when_acknowledged_documents_are_retrievable_exactly_once(
    tiny_settings: RagSettings, tmp_path: Path
) -> None:
    with Library.open(tmp_path / "warm", tiny_settings) as library:  # converts the model once, for all children
        library.warm_up()
    driver = Path(__file__).with_name("crash_driver.py")
    command = [sys.executable, str(driver), tiny_settings.embedding_model, str(tmp_path), "--points", str(POINTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    points = [json.loads(line) for line in done.stdout.splitlines()]
    assert [point for point in points if point["problems"]] == [], done.stderr[-2000:]
    assert len(points) == POINTS, done.stderr[-2000:]
    assert sum(not point["survived"] for point in points) > POINTS * 0.8
    assert len({point["acknowledged"] for point in points}) > 5  # they died at many different stages
