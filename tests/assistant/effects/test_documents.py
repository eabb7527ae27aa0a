"""How the next document is read, cut, embedded and compared after each change."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from capibara.assistant import Assistant
from capibara.rag import FileOutcome

from .observing import Changes, observes

SENTENCES = [f"The {name} boat carries {count} guests to the island." for count, name in enumerate(
    ("red", "green", "blue", "yellow", "white", "black", "small", "large"), start=2
)]  # fmt: skip


@pytest.fixture
def ingested(assistant: Assistant, tmp_path: Path) -> Iterator[Callable[..., dict[str, FileOutcome]]]:
    """Reads the files of a folder into a new collection; the outcomes by the name of the file."""
    numbers = itertools.count()
    documents: set[str] = set()

    def ingest(folder: Path = tmp_path) -> dict[str, FileOutcome]:
        report = assistant.ingest(folder, f"{tmp_path.name}-{next(numbers)}")
        documents.update(outcome.document_id for outcome in report.files if outcome.document_id)
        return {Path(outcome.source).name: outcome for outcome in report.files}

    yield ingest
    for document in documents:
        assistant.remove(document)


def texts(assistant: Assistant, outcome: FileOutcome) -> list[str]:
    assert outcome.document_id is not None
    return [chunk.text.strip() for chunk in assistant.library.chunks(outcome.document_id)]


@observes("rag.chunk_tokens")
def test_chunks_hold_no_more_tokens_than_are_set(assistant, change, tmp_path, ingested):
    (tmp_path / "boats.txt").write_text(" ".join(SENTENCES))
    assert ingested()["boats.txt"].chunks == 1
    change(assistant, {"rag.chunk_tokens": 16})
    assert ingested()["boats.txt"].chunks == len(SENTENCES)


@observes("rag.chunk_overlap_sentences")
def test_a_chunk_begins_with_as_many_sentences_of_the_one_before_as_are_set(assistant, change, tmp_path, ingested):
    (tmp_path / "boats.txt").write_text(" ".join(SENTENCES))
    change(assistant, {"rag.chunk_tokens": 48})
    plain = texts(assistant, ingested()["boats.txt"])
    change(assistant, {"rag.chunk_overlap_sentences": 1})
    overlapping = texts(assistant, ingested()["boats.txt"])
    assert " ".join(plain) == " ".join(SENTENCES)
    assert len(overlapping) > 1
    for before, after in itertools.pairwise(overlapping):
        assert after.startswith(before[before.rindex("The ") :])


@observes("rag.dedup")
def test_chunks_that_say_the_same_are_merged_only_where_that_is_set(assistant, change, tmp_path, ingested):
    for name in ("one", "other"):
        (tmp_path / f"{name}.txt").write_text(SENTENCES[0])
    before = assistant.status().aliases
    ingested()
    merged = assistant.status().aliases
    change(assistant, {"rag.dedup": False})
    ingested()
    assert merged == before + 1
    assert assistant.status().aliases == merged


@observes("rag.dedup_threshold")
def test_chunks_are_one_from_the_similarity_on_that_is_set(assistant, change, tmp_path, ingested):
    said = "The office at the harbour {} at nine in the morning, and visitors wait in the old library beside the pier."
    (tmp_path / "one.txt").write_text(said.format("opens"))
    (tmp_path / "other.txt").write_text(said.format("begins"))
    change(assistant, {"rag.dedup_threshold": 0.8})
    assert [outcome.duplicates for outcome in ingested().values()] == [0, 1]
    change(assistant, {"rag.dedup_threshold": 1.0})
    assert [outcome.duplicates for outcome in ingested().values()] == [0, 0]


@observes("rag.follow_symlinks")
def test_links_are_followed_only_where_that_is_set(assistant, change, tmp_path, ingested):
    (tmp_path / ".kept").mkdir()
    (tmp_path / ".kept" / "boats.txt").write_text(SENTENCES[0])
    (tmp_path / "linked.txt").symlink_to(tmp_path / ".kept" / "boats.txt")
    outcome = ingested()["linked.txt"]
    assert (outcome.status, outcome.reason) == ("skipped", "symbolic link (rag.follow_symlinks is off)")
    change(assistant, {"rag.follow_symlinks": True})
    assert ingested()["linked.txt"].status == "added"


def large_page(path: Path) -> None:
    """Little to embed, and a comment of 1.1 MiB."""
    path.write_text(f"<p>{SENTENCES[0]}</p><!-- {'x' * 1_150_000} -->")


def large_report(path: Path) -> None:
    """It unpacks to more than 1 MiB, of which little is text."""
    import zipfile

    from docx import Document

    document = Document()
    document.add_paragraph(SENTENCES[0])
    document.save(str(path))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("word/media/image.bin", os.urandom(1_150_000))


def secret(path: Path) -> None:
    """A PDF that needs the password ``open sesame``."""
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), encrypt=StandardEncryption("open sesame", ownerPassword="owner", strength=128))
    canvas.drawString(40, 560, SENTENCES[0])
    canvas.save()


READABLE = {
    "rag.max_file_mb": (1, "page.html", large_page, ["added", "failed"]),
    "rag.max_unpacked_mb": (1, "report.docx", large_report, ["added", "failed"]),
    "rag.pdf_passwords": (["wrong", "open sesame"], "secret.pdf", secret, ["failed", "added"]),
}


@observes(*READABLE)
@pytest.mark.parametrize("key", READABLE)
def test_whether_a_file_is_read(assistant, change, tmp_path, ingested, key: str):
    value: Any
    value, name, write, expected = READABLE[key]
    write(tmp_path / name)
    before = ingested()[name]
    change(assistant, {key: value})
    after = ingested()[name]
    assert [before.status, after.status] == expected
    refused = before if before.status == "failed" else after
    assert key in refused.reason


@observes("rag.embedding_batch")
def test_as_many_texts_are_embedded_together_as_are_set(
    assistant: Assistant, change: Changes, tmp_path: Path, ingested, monkeypatch: pytest.MonkeyPatch
):
    """What the engine is given is noted, and it computes as ever."""
    from capibara.rag.openvino_backend import OpenVinoEngine
    from capibara.rag.torch_backend import TorchEngine

    batches: list[int] = []
    for engine in (OpenVinoEngine, TorchEngine):

        def encode(self, ids, mask, real=engine.encode):
            batches.append(len(ids))
            return real(self, ids, mask)

        monkeypatch.setattr(engine, "encode", encode)
    (tmp_path / "boats.txt").write_text(" ".join(SENTENCES))
    change(assistant, {"rag.chunk_tokens": 16})
    ingested()
    change(assistant, {"rag.embedding_batch": 3})
    together = list(batches)
    batches.clear()
    (tmp_path / "boats.txt").write_text(" ".join(SENTENCES).replace("island", "harbour"))
    ingested()
    assert together == [len(SENTENCES)]
    assert sorted(batches, reverse=True) == [3, 3, 2]
