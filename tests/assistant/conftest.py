"""What the tests of this room share: an assistant over the example documents, with the bundled models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from capibara.assistant import Assistant

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "documents"


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Assistant]:
    """The example documents, ingested once; tests read and ask, and do not change them."""
    with Assistant.open(tmp_path_factory.mktemp("examples")) as assistant:
        report = assistant.ingest(EXAMPLES)
        assert report.count("added") == len(report.files)
        yield assistant
