"""Ingests the example documents and answers three questions about them: ``make demo``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from capibara.assistant import AnswerReady, Assistant, Citation, Retrieved, TextDelta

DOCUMENTS = Path(__file__).parent / "documents"
QUESTIONS = (
    "Where is the muster point when the alarm sounds?",
    "How much does a night in Casa Garza cost?",
    "¿Cuándo se celebra la Fiesta de la Red?",
)


def main() -> None:
    began = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path(".demo"), help="where the demo keeps its index")
    data_dir = parser.parse_args().data_dir
    with Assistant.open(data_dir) as assistant:
        print(f"Reading {DOCUMENTS.name}/ ...", flush=True)
        report = assistant.ingest(DOCUMENTS)
        print(
            f"{len(report.files)} documents: {report.count('added')} added, {report.count('updated')} updated, "
            f"{report.count('unchanged')} unchanged, {report.count('failed')} failed ({report.seconds:.1f} s)\n"
        )
        for number, question in enumerate(QUESTIONS):
            answer(assistant, question, began if number == 0 else None)
    print(
        "Go on:\n"
        f"  .venv/bin/capibara chat --data-dir {data_dir}          talk about these documents\n"
        "  .venv/bin/capibara ingest YOUR_FOLDER            read your own\n"
        "  .venv/bin/capibara chat                          and ask about them"
    )


def answer(assistant: Assistant, question: str, began: float | None) -> None:
    """Print the answer as it comes, then what it rests on."""
    print(f"> {question}")
    waited = None
    for event in assistant.stream(question):
        match event:
            case Retrieved():
                continue
            case TextDelta(text):
                print(text, end="", flush=True)
                if began is not None and waited is None:
                    waited = time.perf_counter() - began
            case AnswerReady(answer):
                print()
                if waited is not None:
                    print(f"  (first text {waited:.1f} s after the start)", file=sys.stderr)
                for citation in answer.citations:
                    print(f"  [{citation.marker}] {place(citation)}")
                print(f"  ({answer.timings['total']:.1f} s)\n")


def place(citation: Citation) -> str:
    """Where a citation stands, in words."""
    page = f", page {citation.page}" if citation.page else ""
    return f"{Path(citation.document).name}{page}, characters {citation.start}-{citation.end}"


if __name__ == "__main__":
    main()
