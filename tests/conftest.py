"""The order of the test files: those that take long come first, so that no worker is left alone with one at the end."""

from __future__ import annotations

import pytest

_LONG = (
    "tests/rag/test_crash.py",
    "tests/assistant/test_cli_documents.py",
    "tests/assistant/test_cli_talk.py",
    "tests/model/test_parity.py",
    "tests/test_offline.py",
    "tests/test_probes.py",
    "tests/config/test_watch.py",
    "tests/config/test_live_watch.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable: within a file, and among the others, the order stays."""
    rank = {name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: rank.get(item.nodeid.split("::")[0], len(_LONG)))
