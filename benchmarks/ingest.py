"""Chunks per second of a whole ingest (files on disk → retrievable), beside sentence-transformers' float32 `encode`.

Both embed the same texts with the same model, alternated in one run; models are loaded beforehand. Figures are medians.

    python benchmarks/ingest.py --passages 600 --rounds 3 --json
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from capibara.config.schema import RagSettings
from capibara.rag import Library
from capibara.rag.chunking import embedding_text
from capibara.rag.models import find_embedding_model

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def main() -> int:
    arguments = _arguments()
    if not arguments.data.is_dir():
        print(f"no evaluation data in {arguments.data}: give a folder with passages.jsonl.gz", file=sys.stderr)
        return 1
    settings = RagSettings(embedding_backend=arguments.backend)
    with tempfile.TemporaryDirectory() as temporary:
        documents = Path(temporary) / "documents"
        _write_documents(arguments.data, documents, arguments.passages)
        ours, texts = [], []
        reference = _Reference(settings.embedding_model)
        theirs = []
        for number in range(arguments.rounds + 1):
            seconds, texts = _ingest(Path(temporary) / f"data{number}", documents, settings)
            compared = reference.seconds(texts)
            if number:  # the first round warms both up
                ours.append(len(texts) / seconds)
                theirs.append(len(texts) / compared)
    _print(ours, theirs, len(texts), arguments)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "squad" / "dev")
    parser.add_argument("--passages", type=int, default=600, help="files to ingest, one passage each")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count, after one that does not")
    parser.add_argument("--backend", default="auto", help="rag.embedding_backend of the ingest")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args()


def _write_documents(data: Path, folder: Path, count: int) -> None:
    folder.mkdir()
    with gzip.open(data / "passages.jsonl.gz", "rt", encoding="utf-8") as lines:
        passages = [json.loads(line) for line in lines]
    for passage in passages[:: max(1, len(passages) // count)][:count]:
        (folder / f"{passage['id']}.txt").write_text(passage["text"], "utf-8")


def _ingest(data: Path, documents: Path, settings: RagSettings) -> tuple[float, list[str]]:
    with Library.open(data, settings) as library:
        library.warm_up()
        began = time.perf_counter()
        report = library.ingest([documents])
        seconds = time.perf_counter() - began
        chunks = [c for outcome in report.files if outcome.document_id for c in library.chunks(outcome.document_id)]
    return seconds, [embedding_text(chunk) for chunk in chunks]


class _Reference:
    """sentence-transformers as its documentation uses it."""

    def __init__(self, name: str) -> None:
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(find_embedding_model(name).folder), device="cpu")

    def seconds(self, texts: list[str]) -> float:
        began = time.perf_counter()
        self._model.encode(texts, batch_size=32, show_progress_bar=False)
        return time.perf_counter() - began


def _print(ours: list[float], theirs: list[float], chunks: int, arguments: argparse.Namespace) -> None:
    figures = {
        "chunks": chunks,
        "rounds": arguments.rounds,
        "ingest_chunks_per_second": round(statistics.median(ours), 1),
        "sentence_transformers_float32_texts_per_second": round(statistics.median(theirs), 1),
        "ratios": {
            "ingest_vs_sentence_transformers_float32": round(
                statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2
            )
        },
    }
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    raise SystemExit(main())
