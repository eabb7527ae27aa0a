"""The dense index keeps its promises, finds what exact search finds, and names damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from capibara.rag.dense import ChromaIndex
from capibara.rag.errors import IndexDamaged
from capibara.rag.protocols import DenseIndex


def unit_vectors(count: int, dimension: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def names(count: int) -> list[str]:
    return [f"chunk-{number}" for number in range(count)]


class DenseIndexConformance:
    """What every `DenseIndex` promises; a subclass gives the fixture ``index``, empty."""

    def test_an_unknown_collection_is_empty(self, index: DenseIndex) -> None:
        assert index.query("none", unit_vectors(1)[0], 5) == []
        assert index.ids("none") == set()
        assert index.collections() == set()
        index.delete("none", ["x"])
        index.drop("none")

    @pytest.mark.parametrize("count", [1, 3, 600])
    def test_the_nearest_come_first_with_their_cosine_similarity(self, index: DenseIndex, count: int) -> None:
        vectors = unit_vectors(count)
        index.upsert("c", names(count), vectors)
        query = unit_vectors(1, seed=1)[0]
        exact = vectors @ query
        found = index.query("c", query, 5)
        best = np.argsort(-exact)[:5]
        assert [identifier for identifier, _ in found] == [f"chunk-{number}" for number in best]
        np.testing.assert_allclose([score for _, score in found], exact[best], atol=1e-5)

    def test_adding_nothing_is_allowed(self, index: DenseIndex) -> None:
        index.upsert("c", [], np.zeros((0, 16), dtype=np.float32))
        assert index.query("c", unit_vectors(1)[0], 5) == []

    def test_upsert_replaces(self, index: DenseIndex) -> None:
        vectors = unit_vectors(4)
        index.upsert("c", names(3), vectors[:3])
        index.upsert("c", ["chunk-0"], vectors[3:])
        assert index.ids("c") == set(names(3))
        assert index.query("c", vectors[3], 1)[0] == ("chunk-0", pytest.approx(1.0, abs=1e-5))

    def test_delete_forgets_and_ignores_unknown_ids(self, index: DenseIndex) -> None:
        vectors = unit_vectors(3)
        index.upsert("c", names(3), vectors)
        index.delete("c", ["chunk-1", "never there"])
        index.delete("c", [])
        assert index.ids("c") == {"chunk-0", "chunk-2"}
        assert "chunk-1" not in dict(index.query("c", vectors[1], 3))

    @pytest.mark.parametrize("pair", [("a", "A"), ("x/y", "x y"), ("é", "日本"), ("n" * 600, "n" * 601)])
    def test_collections_with_any_name_are_apart(self, index: DenseIndex, pair: tuple[str, str]) -> None:
        vectors = unit_vectors(2)
        for name, vector in zip(pair, vectors, strict=True):
            index.upsert(name, [name[:5]], vector[None])
        assert index.collections() == set(pair)
        assert index.ids(pair[0]) == {pair[0][:5]}
        index.drop(pair[0])
        assert index.collections() == {pair[1]}
        assert index.query(pair[0], vectors[0], 1) == []

    def test_ids_and_vectors_must_match(self, index: DenseIndex) -> None:
        with pytest.raises(ValueError, match="2 ids for 1 vectors"):
            index.upsert("c", names(2), unit_vectors(1))


class TestChromaIndex(DenseIndexConformance):
    @pytest.fixture
    def index(self, tmp_path: Path):
        index = ChromaIndex(tmp_path / "chroma")
        yield index
        index.close()

    def test_what_was_added_is_there_after_reopening(self, index: ChromaIndex, tmp_path: Path) -> None:
        vectors = unit_vectors(1100)
        index.upsert("c", names(1100), vectors)
        index.close()
        again = ChromaIndex(tmp_path / "chroma")
        assert again.ids("c") == set(names(1100))
        assert again.query("c", vectors[7], 1)[0][0] == "chunk-7"
        again.close()

    def test_recall_against_exact_search(self, index: ChromaIndex) -> None:
        vectors, queries = unit_vectors(2000, 64), unit_vectors(30, 64, seed=1)
        index.upsert("c", names(2000), vectors)
        shared = 0
        for query in queries:
            exact = {f"chunk-{number}" for number in np.argsort(-(vectors @ query))[:100]}
            shared += len(exact & {identifier for identifier, _ in index.query("c", query, 100)})
        assert shared / 3000 >= 0.99

    def test_the_folder_can_be_deleted_and_made_anew_in_one_process(self, index: ChromaIndex, tmp_path: Path) -> None:
        index.upsert("c", names(300), unit_vectors(300))
        index.close()
        shutil.rmtree(tmp_path / "chroma")
        again = ChromaIndex(tmp_path / "chroma")
        assert again.collections() == set()
        again.upsert("c", names(2), unit_vectors(2))
        assert again.ids("c") == set(names(2))
        again.close()

    def test_a_closed_index_says_so(self, index: ChromaIndex) -> None:
        index.close()
        with pytest.raises(ValueError, match="closed"):
            index.collections()

    def test_a_damaged_database_is_named(self, index: ChromaIndex, tmp_path: Path) -> None:
        index.upsert("c", names(3), unit_vectors(3))
        index.close()
        (tmp_path / "chroma" / "chroma.sqlite3").write_bytes(b"not a database at all" * 400)
        with pytest.raises(IndexDamaged, match="chroma"):
            ChromaIndex(tmp_path / "chroma").ids("c")

    def test_damaged_vector_files_are_named_or_harmless(self, index: ChromaIndex, tmp_path: Path) -> None:
        vectors = unit_vectors(1500)
        index.upsert("c", names(1500), vectors)
        index.close()
        files = [path for path in (tmp_path / "chroma").rglob("*") if path.suffix in (".bin", ".pickle")]
        assert files, "Chroma writes its vectors beside the database past a thousand of them"
        for path in files:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
        assert self.nearest(tmp_path / "chroma", vectors[7]) in ("chunk-7", "damaged")

    @staticmethod
    def nearest(folder: Path, vector: np.ndarray) -> str:
        try:
            index = ChromaIndex(folder)
        except IndexDamaged:
            return "damaged"
        try:
            return index.query("c", vector, 1)[0][0]
        except IndexDamaged:
            return "damaged"
        finally:
            index.close()
