"""Bad input and bad surroundings: one clear line, the rest goes on, nothing half-stored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from capibara.config.schema import RagSettings
from capibara.rag import FileOutcome, Library, ModelNotFound, StoreError
from capibara.rag.loaders.document import StreamedDocument
from capibara.rag.loaders.registry import loader_for
from capibara.rag.values import Block

SHARED = (Path(__file__).resolve().parents[2].parent / "shared" / "data" / "documents").resolve()
TEXT = "The boat number {n} is on the river {n}. The pump {n} has a green valve. " * 3


@pytest.fixture
def settings(tiny_settings: RagSettings) -> RagSettings:
    return tiny_settings.model_copy(update={"reranker": "none"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "good.txt").write_text(TEXT.format(n=1))
    return tmp_path / "documents"


def outcomes(data: Path, settings: RagSettings, folder: Path) -> dict[str, FileOutcome]:
    """Ingest ``folder``; whatever else happened, the good file is stored and nothing is left half-done."""
    with Library.open(data, settings) as library:
        report = library.ingest([folder])
        found = {Path(outcome.source).name: outcome for outcome in report.files}
        assert found["good.txt"].status == "added"
        stored = {name for name, outcome in found.items() if outcome.status == "added"}
        assert {Path(document.source).name for document in library.documents()} == stored
        assert library.store.database.rows("SELECT 1 FROM documents WHERE state != 'ready'") == []
        assert library._indexes.dense.ids("default") == library.store.indexed_ids("default")
    for outcome in found.values():
        assert "\n" not in outcome.reason
        assert outcome.status != "failed" or outcome.reason
    return found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.txt", b""),
        ("blank.txt", b" \n\t\n"),
        ("empty.pdf", b""),
        ("truncated.pdf", b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog"),
        ("text.docx", b"this is not a zip archive"),
        ("binary.txt", bytes(range(256)) * 64),
        ("heading.md", b"#\n"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_the_rest_goes_on(
    tmp_path: Path, settings: RagSettings, folder: Path, name: str, content: bytes
) -> None:
    (folder / name).write_bytes(content)
    assert outcomes(tmp_path / "data", settings, folder)[name].status == "failed"


def test_a_document_that_breaks_in_the_middle_leaves_nothing_of_itself(
    tmp_path: Path, settings: RagSettings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capibara.rag.ingest.BATCH_CHUNKS", 2)
    rows = "\n".join(f"{n},{TEXT.format(n=n)}" for n in range(300))
    (folder / "broken.txt").write_bytes(rows.encode() + b"\n" + bytes(range(32)) * 4096)
    found = outcomes(tmp_path / "data", settings, folder)
    assert found["broken.txt"].status == "failed"


@dataclass(frozen=True)
class BrokenLoader:
    """A loader with a bug, which shows when the file is opened (0 blocks) or later."""

    blocks: int
    suffixes = (".md",)

    def load(self, path: Path) -> StreamedDocument:
        if not self.blocks:
            raise KeyError("no\nsuch key")
        return StreamedDocument(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        for n in range(self.blocks):
            yield Block(TEXT.format(n=n) + "\n\n")
        raise KeyError("no\nsuch key")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the file system refuses such names")
def test_names_that_are_not_utf8_fail_and_are_told_as_text_and_line_breaks_are_kept(
    tmp_path: Path, settings: RagSettings, folder: Path
) -> None:
    for name in (b"caf\xe9.txt", b"caf\xe9.exe", b".caf\xe9", b"two\nlines.txt"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text(f"The boat {name!r}.")
    found = outcomes(tmp_path / "data", settings, folder)
    reasons = {name: outcome.reason for name, outcome in found.items() if outcome.status == "failed"}
    assert reasons == dict.fromkeys((r"caf\xe9.txt", r"caf\xe9.exe"), "its name is not valid UTF-8: rename it")
    assert (found[r".caf\xe9"].status, found["two\nlines.txt"].status) == ("skipped", "added")


@pytest.mark.parametrize("blocks", [0, 1, 40])
def test_a_loader_that_breaks_fails_its_own_file_and_the_rest_goes_on(
    tmp_path: Path, settings: RagSettings, folder: Path, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    monkeypatch.setattr("capibara.rag.ingest.BATCH_CHUNKS", 2)
    monkeypatch.setattr(
        "capibara.rag.ingest.loader_for",
        lambda path, settings: BrokenLoader(blocks) if path.suffix == ".md" else loader_for(path, settings),
    )
    (folder / "a.md").write_text("text")
    found = outcomes(tmp_path / "data", settings, folder)
    assert (found["a.md"].status, "KeyError" in found["a.md"].reason) == ("failed", True)


def test_an_error_in_writing_a_batch_ends_the_run_and_is_no_failure_of_the_file_at_hand(
    tmp_path: Path, settings: RagSettings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capibara.rag.ingest.BATCH_CHUNKS", 2)
    for n in range(4):
        (folder / f"{n}.txt").write_text(TEXT.format(n=n) * 4)
    told: list[str] = []
    with Library.open(tmp_path / "data", settings) as library:
        apply = library._indexes.apply

        def broken() -> int:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(library._indexes, "apply", broken)
        with pytest.raises(OSError, match="Input/output error"):
            library.ingest([folder], progress=lambda now: told.append(now.outcome.status) if now.outcome else None)
        assert told == []
        monkeypatch.setattr(library._indexes, "apply", apply)
        assert library.ingest([folder]).count("failed") == 0
        assert len(library.documents()) == 5
        assert library._indexes.dense.ids("default") == library.store.indexed_ids("default")


def test_publishing_a_ready_version_again_keeps_it(tmp_path: Path, settings: RagSettings, folder: Path) -> None:
    with Library.open(tmp_path / "data", settings) as library:
        library.ingest([folder])
        number = library.store.database.rows("SELECT number FROM documents")[0][0]
        library._versions.publish(number, library.documents()[0])
        assert len(library.documents()) == 1
        assert library.chunks(library.documents()[0].id)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(tmp_path: Path, settings: RagSettings, folder: Path) -> None:
    (folder / "secret.txt").write_text("x")
    (folder / "secret.txt").chmod(0)
    assert "permission" in outcomes(tmp_path / "data", settings, folder)["secret.txt"].reason


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path, settings: RagSettings, folder: Path) -> None:
    with (folder / "huge.txt").open("wb") as stream:
        stream.truncate(3 << 20)
    small = settings.model_copy(update={"max_file_mb": 2})
    assert "2 MiB" in outcomes(tmp_path / "data", small, folder)["huge.txt"].reason


def test_links_out_of_the_folder_and_loops_are_skipped_and_counted(
    tmp_path: Path, settings: RagSettings, folder: Path
) -> None:
    (tmp_path / "outside.txt").write_text("outside")
    (folder / "out.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "loop").symlink_to(folder)
    found = outcomes(tmp_path / "data", settings, folder)
    assert {name: found[name].status for name in ("out.txt", "loop")} == {"out.txt": "skipped", "loop": "skipped"}


def test_a_changed_file_that_can_no_longer_be_read_keeps_its_earlier_version(
    tmp_path: Path, settings: RagSettings, folder: Path
) -> None:
    with Library.open(tmp_path / "data", settings) as library:
        library.ingest([folder])
        (folder / "good.txt").write_bytes(b"")
        assert library.ingest([folder]).count("failed") == 1
        assert library.search("boat").passages


def test_text_with_characters_no_encoding_can_write_is_stored(
    tmp_path: Path, settings: RagSettings, folder: Path
) -> None:
    (folder / "odd.md").write_text("The boat &#xD800; and \x00 \ufffe \U0001f9ab the river.", "utf-8")
    found = outcomes(tmp_path / "data", settings, folder)
    assert found["odd.md"].status in ("added", "failed")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no evaluation data beside the project")
def test_real_broken_documents_fail_and_real_good_ones_do_not(tmp_path: Path, settings: RagSettings) -> None:
    rows = [json.loads(line) for line in (SHARED / "manifest.jsonl").read_text("utf-8").splitlines()]
    small = [row for row in rows if row["bytes"] < 40_000]
    chosen = [SHARED / row["path"] for row in small]
    with Library.open(tmp_path / "data", settings) as library:
        status = {outcome.source: outcome for outcome in library.ingest(chosen).files}
    for row in small:
        outcome = status[str(SHARED / row["path"])]
        if row["expect"] == "text":
            assert outcome.status == "added" or "not supported" in outcome.reason, (row["path"], outcome)
        elif row["expect"] in ("broken", "empty", "password", "unsupported"):
            assert outcome.status == "failed", (row["path"], outcome)


def test_a_missing_model_folder_is_named(tmp_path: Path, folder: Path) -> None:
    settings = RagSettings(embedding_model=str(tmp_path / "nowhere"))
    with Library.open(tmp_path / "data", settings) as library:
        with pytest.raises(ModelNotFound, match="nowhere"):
            library.ingest([folder])
        assert library.documents() == []


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path, settings: RagSettings) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/data"):
        Library.open(tmp_path / "file" / "data", settings)


FULL_DISK = """
import json, resource, sys
from pathlib import Path
from capibara.config.schema import RagSettings
from capibara.rag import DiskFull, Library, ingest
ingest.BATCH_CHUNKS = 8
data, documents, model, limit = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
settings = RagSettings(embedding_model=model, embedding_backend="openvino", reranker="none", sparse_index="fts5")
stored = []
library = Library.open(data, settings)
library.warm_up()
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    library.ingest([documents], progress=lambda now: stored.append(now.outcome.source) if now.outcome else None)
    error = ""
except DiskFull as full:
    error = str(full)
listed = [document.source for document in library.documents()]
print(json.dumps({"error": error, "stored": stored, "listed": listed}))
"""


@pytest.mark.parametrize("limit_kb", [150, 260])
def test_a_full_disk_is_said_and_what_was_acknowledged_is_there_when_space_is_back(
    tmp_path: Path, settings: RagSettings, folder: Path, limit_kb: int
) -> None:
    for number in range(150):
        (folder / f"{number}.txt").write_text(f"anchor{number} " + TEXT.format(n=number))
    data = tmp_path / "data"
    Library.open(data, settings).close()
    command = [sys.executable, "-c", FULL_DISK, str(data), str(folder), settings.embedding_model, str(limit_kb * 1000)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert "no space left" in told["error"]
    assert str(data) in told["error"]
    assert set(told["stored"]) <= set(told["listed"])
    assert len(told["listed"]) < 151
    with Library.open(data, settings) as library:
        assert {document.source for document in library.documents()} >= set(told["stored"])
        assert library.ingest([folder]).count("failed") == 0
        assert len(library.documents()) == 151
        assert library._indexes.dense.ids("default") == library.store.indexed_ids("default")


GROWTH = """
import resource, sys, threading
from pathlib import Path
from capibara.config.schema import RagSettings
from capibara.rag import Library
data, file, model = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
settings = RagSettings(embedding_model=model, embedding_backend="openvino", reranker="none")
cancel = threading.Event()
peaks = []
def progress(now):
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    if len(peaks) >= 24:
        cancel.set()
with Library.open(data, settings) as library:
    library.warm_up()
    report = library.ingest([file], progress=progress, cancel=cancel)
    assert report.cancelled and library.documents() == [], report
print((peaks[-1] - peaks[3]) // 1024)
"""


def test_a_text_of_200_megabytes_is_staged_in_bounded_memory(tmp_path: Path, settings: RagSettings) -> None:
    line = TEXT.format(n=7) + "\n"
    with (tmp_path / "long.txt").open("w") as stream:
        block = "".join(f"{n} {line}" for n in range(4000))
        for _ in range(200_000_000 // len(block) + 1):
            stream.write(block)
    Library.open(tmp_path / "data", settings).close()
    command = [
        sys.executable,
        "-c",
        GROWTH,
        str(tmp_path / "data"),
        str(tmp_path / "long.txt"),
        settings.embedding_model,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 60
