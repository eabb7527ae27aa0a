"""The indexes follow the truth, and are healed from it whatever happens to their files."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from capibara.config.schema import RagSettings
from capibara.rag import Library
from capibara.rag.embedding import TransformerEmbedder
from capibara.rag.outbox import Outbox

Damage = Callable[[Path], object]


def write_documents(folder: Path, count: int = 6) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number}.txt").write_text(f"The boat number {number} anchor{number} is on the river {number}.")
    return folder


@pytest.fixture
def settings(tiny_settings: RagSettings) -> RagSettings:
    """BM25 on disk, so that both indexes have files."""
    return tiny_settings.model_copy(update={"sparse_index": "fts5", "reranker": "none", "alpha": 0.1})


@pytest.fixture
def data(settings: RagSettings, tmp_path: Path) -> Path:
    """A closed data folder with six documents."""
    with Library.open(tmp_path / "data", settings) as library:
        assert library.ingest([write_documents(tmp_path / "documents")]).count("added") == 6
    return tmp_path / "data"


def assert_whole(library: Library, count: int = 6) -> None:
    """The indexes hold what the store holds, and every document is found."""
    truth = library.store.indexed_ids("default")
    assert len(truth) == count
    assert library._indexes.dense.ids("default") == truth
    assert library._indexes.sparse.ids("default") == truth
    for number in range(count):
        result = library.search(f"anchor{number}")
        assert result.degraded == ()
        assert result.passages[0].document.source.endswith(f"{number}.txt")
    for entries in library.store.all_entries("default"):
        for entry in entries:
            assert library._indexes.dense.query("default", entry.vector, 1)[0][1] > 0.999


def delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scribble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    draw = random.Random(7)
    for _ in range(max(8, len(content) // 256)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    path.write_bytes(content)


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(content)


def test_a_folder_that_was_closed_opens_again_with_nothing_to_heal(data: Path, settings: RagSettings) -> None:
    for _ in range(3):
        with Library.open(data, settings) as library:
            assert_whole(library)
            assert library.status().healed == ()
            assert library.status().pending == 0


@pytest.mark.parametrize("damage", [delete, truncate, empty, scribble, one_bit])
def test_damage_to_chromas_database_is_healed_from_the_store(data: Path, settings: RagSettings, damage: Damage) -> None:
    damage(data / "chroma" / "chroma.sqlite3")
    assert_healed(data, settings, "dense")


@pytest.fixture(scope="module")
def large(tiny_settings: RagSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of more than a thousand chunks, from which on Chroma writes its graph to files."""
    folder = tmp_path_factory.mktemp("large")
    lines = [f"The boat number {n} is on the river {n}.\n\n" for n in range(1050)]
    (folder / "all.txt").write_text("".join(line * 3 for line in lines))
    settings = tiny_settings.model_copy(update={"chunk_tokens": 40, "dedup": False})
    with Library.open(folder / "data", settings) as library:
        library.ingest([folder / "all.txt"])
        assert library.status().chunks > 1000
    return folder / "data"


@pytest.mark.parametrize(
    ("damage", "name"),
    [(delete, "data_level0.bin"), (truncate, "header.bin"), (empty, "link_lists.bin"), (one_bit, "data_level0.bin")]
    + [(scribble, name) for name in ("data_level0.bin", "header.bin", "length.bin", "index_metadata.pickle")],
)
def test_damage_to_chromas_graph_is_healed_from_the_store(
    large: Path, tiny_settings: RagSettings, damage: Damage, name: str
) -> None:
    file, *_ = (large / "chroma").rglob(name)
    damage(file)
    with Library.open(large, tiny_settings) as library:
        assert library.status().healed == ("dense: rebuilt: files changed or damaged",)
        assert library._indexes.dense.ids("default") == library.store.indexed_ids("default")
        for entry in library.store.sample_entries("default", 20):
            assert library._indexes.dense.query("default", entry.vector, 1)[0][1] > 0.999


def test_a_deleted_chroma_folder_is_rebuilt_without_embedding_anything(
    data: Path, settings: RagSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(data / "chroma")
    texts: list[str] = []
    embed = TransformerEmbedder.embed
    monkeypatch.setattr(TransformerEmbedder, "embed", lambda self, given: (texts.extend(given), embed(self, given))[1])
    with Library.open(data, settings) as library:
        assert any("dense" in what for what in library.status().healed)
        assert texts == []
        assert_whole(library)


@pytest.mark.parametrize("damage", [delete, truncate, empty, scribble, one_bit])
def test_damage_to_the_sparse_index_is_healed_from_the_store(data: Path, settings: RagSettings, damage: Damage) -> None:
    damage(data / "sparse.sqlite3")
    assert_healed(data, settings, "sparse")


def assert_healed(data: Path, settings: RagSettings, part: str) -> None:
    with Library.open(data, settings) as library:
        assert [what.split(":")[0] for what in library.status().healed] == [part]
        assert_whole(library)
    with Library.open(data, settings) as library:
        assert library.status().healed == ()


def test_without_a_seal_entries_that_are_missing_or_foreign_are_found_and_set_right(
    data: Path, settings: RagSettings
) -> None:
    with Library.open(data, settings) as library:
        dense, store = library._indexes.dense, library.store
        first, *_ = sorted(store.indexed_ids("default"))
        vector = store.entries([first])[0].vector
        dense.delete("default", [first])
        dense.upsert("default", ["foreign"], vector[None])
        dense.upsert("gone", ["foreign"], vector[None])
    with Library.open(data, settings) as library:
        assert library.status().healed == ("dense: 3 entries differed from the store",)
        assert_whole(library)
        assert library._indexes.dense.collections() == {"default"}


def test_without_a_seal_a_wrong_vector_is_found(data: Path, settings: RagSettings) -> None:
    with Library.open(data, settings) as library:
        ids = sorted(library.store.indexed_ids("default"))
        vector = library.store.entries(ids[:1])[0].vector
        library._indexes.dense.upsert("default", ids, (-vector)[None].repeat(len(ids), axis=0))
    with Library.open(data, settings) as library:
        assert [what.split(":")[0] for what in library.status().healed] == ["dense"]
        assert_whole(library)


def test_changes_that_were_committed_and_not_applied_are_applied_at_the_next_start(
    data: Path, settings: RagSettings
) -> None:
    with Library.open(data, settings) as library:
        document = library.documents()[0]
        library._versions.remove(document.id)
        assert len(Outbox(library.store.database).pending(10)) == 1
    with Library.open(data, settings) as library:
        assert library.status().pending == 0
        assert library.status().healed == ()
        assert len(library._indexes.dense.ids("default")) == 5
        assert len(library._indexes.sparse.ids("default")) == 5


def test_applying_the_same_changes_again_changes_nothing(data: Path, settings: RagSettings) -> None:
    with Library.open(data, settings) as library:
        assert library.status().pending == 0
        with library.store.database.transaction() as connection:
            for chunk_id in library.store.indexed_ids("default"):
                connection.execute("INSERT INTO outbox (collection, chunk_id) VALUES ('default', ?)", (chunk_id,))
        assert library._indexes.apply() == 6
        assert library._indexes.apply() == 0
        assert_whole(library)


def test_a_change_of_the_sparse_index_needs_no_healing(data: Path, tiny_settings: RagSettings) -> None:
    for choice in ("fts5", "rank-bm25", "fts5", "auto"):
        settings = tiny_settings.model_copy(update={"sparse_index": choice, "reranker": "none", "alpha": 0.1})
        with Library.open(data, settings) as library:
            assert_whole(library)
            assert library.status().healed == ()
