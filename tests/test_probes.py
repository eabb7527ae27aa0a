"""Questions about real documents of many formats find the passage, on its page, that answers them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from capibara.assistant import Assistant
from capibara.rag.loaders import SUPPORTED_SUFFIXES

DOCUMENTS = (Path(__file__).resolve().parents[2] / "shared" / "data" / "documents").resolve()
pytestmark = pytest.mark.skipif(not DOCUMENTS.is_dir(), reason="the evaluation documents are not there")

LEAST_SHARE = 0.9
# A handbook of 800,000 characters would take most of the suite's time; `benchmarks/probes.py` includes it.
LEFT_OUT = {"trustee-handbook.docx"}


def probes() -> list[tuple[str, str, str, int | None]]:
    """(file, question, answer, page) of every readable document in a supported format."""
    if not DOCUMENTS.is_dir():
        return []
    found = []
    for line in (DOCUMENTS / "manifest.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        readable = row["expect"] == "text" and Path(row["path"]).suffix in SUPPORTED_SUFFIXES
        if not readable or row["path"] in LEFT_OUT:
            continue
        if row.get("probe_question"):
            found.append((row["path"], row["probe_question"], row["probe_answer"], row.get("page")))
        found += [(row["path"], more["question"], more["answer"], more["page"]) for more in row.get("more_probes", [])]
    return found


def squeezed(text: str) -> str:
    return "".join(text.casefold().split())


def test_nine_of_ten_probes_are_answered_in_the_top_three_on_the_right_page(tmp_path):
    asked = probes()
    assert len(asked) >= 20
    missed = []
    with Assistant.open(tmp_path) as assistant:
        report = assistant.ingest(sorted({DOCUMENTS / path for path, *_ in asked}))
        assert report.count("failed") == 0
        for path, question, answer, page in asked:
            passages = assistant.search(question, top_k=3).passages
            holds = any(
                squeezed(answer) in squeezed(passage.chunk.text) and page in (None, passage.chunk.page)
                for passage in passages
                if Path(passage.document.source).name == path
            )
            if not holds:
                missed.append(f"{path}: {question}")
    assert len(missed) <= (1 - LEAST_SHARE) * len(asked), missed
