"""Both BM25 engines keep the SparseIndex's promises and agree with one another."""

from __future__ import annotations

import gzip
import json
import random
import sqlite3
from pathlib import Path

import pytest

from capibara.rag.analysis import analyze, analyze_query
from capibara.rag.errors import IndexDamaged
from capibara.rag.fts5 import Fts5Index
from capibara.rag.protocols import SparseIndex
from capibara.rag.sparse import RankBm25Index

SQUAD = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "squad" / "dev"
ENTRIES = [
    ("boat", ["river", "boat", "pump"]),
    ("train", ["night", "train", "pump"]),
    ("pump", ["pump", "pump", "valve"]),
    ("odd", ['"', "AND", "日本", "größe", "NEAR(", "*", "pump"]),
]


class SparseIndexConformance:
    """What every `SparseIndex` promises; a subclass gives the fixture ``index``, empty."""

    def test_an_unknown_collection_is_empty(self, index: SparseIndex) -> None:
        assert index.query("none", ["river"], 5) == []
        assert index.ids("none") == set()
        assert index.collections() == set()
        index.delete("none", ["x"])
        index.drop("none")

    @pytest.mark.parametrize("size", [1, 2, 4])
    def test_a_passage_with_the_term_is_found_however_small_the_collection(self, index: SparseIndex, size: int) -> None:
        index.upsert("c", ENTRIES[:size])
        found = index.query("c", ["boat"], 5)
        assert [identifier for identifier, _ in found] == ["boat"]
        assert found[0][1] > 0

    def test_scores_are_positive_and_best_first_and_at_most_k(self, index: SparseIndex) -> None:
        index.upsert("c", ENTRIES)
        found = index.query("c", ["valve", "pump", "night"], 3)
        assert {"pump", "train"} <= {identifier for identifier, _ in found}
        assert len(found) == 3
        scores = [score for _, score in found]
        assert scores == sorted(scores, reverse=True)
        assert min(scores) > 0
        assert index.query("c", ["pump"], 0) == []

    @pytest.mark.parametrize("terms", [[], ["absent"]])
    def test_nothing_asked_or_nothing_shared_finds_nothing(self, index: SparseIndex, terms: list[str]) -> None:
        index.upsert("c", ENTRIES)
        assert index.query("c", terms, 5) == []

    @pytest.mark.parametrize("term", ['"', "AND", "日本", "größe", "NEAR(", "*"])
    def test_terms_are_taken_literally(self, index: SparseIndex, term: str) -> None:
        index.upsert("c", ENTRIES)
        assert {identifier for identifier, _ in index.query("c", [term, "night"], 5)} <= {"odd", "train"}
        index.upsert("c", [("größer", ["größer"]), ("日", ["日"])])
        assert "größer" not in dict(index.query("c", [term], 5))

    def test_upsert_replaces(self, index: SparseIndex) -> None:
        index.upsert("c", ENTRIES)
        index.upsert("c", [("boat", ["ferry"])])
        assert index.query("c", ["river"], 5) == []
        assert [identifier for identifier, _ in index.query("c", ["ferry"], 5)] == ["boat"]
        assert index.ids("c") == {"boat", "train", "pump", "odd"}

    def test_delete_forgets_and_ignores_unknown_ids(self, index: SparseIndex) -> None:
        index.upsert("c", ENTRIES)
        index.delete("c", ["boat", "never there"])
        assert index.query("c", ["river"], 5) == []
        assert index.ids("c") == {"train", "pump", "odd"}

    def test_a_passage_without_terms_is_kept_and_never_found(self, index: SparseIndex) -> None:
        index.upsert("c", [("empty", [])])
        assert index.ids("c") == {"empty"}
        assert index.query("c", ["river"], 5) == []

    def test_collections_are_apart(self, index: SparseIndex) -> None:
        index.upsert("a", ENTRIES[:1])
        index.upsert("b Ü/", ENTRIES[1:2])
        assert index.collections() == {"a", "b Ü/"}
        assert index.query("a", ["night"], 5) == []
        index.drop("a")
        assert index.collections() == {"b Ü/"}
        assert index.ids("b Ü/") == {"train"}


class TestRankBm25Index(SparseIndexConformance):
    @pytest.fixture
    def index(self) -> RankBm25Index:
        return RankBm25Index()


class TestFts5Index(SparseIndexConformance):
    @pytest.fixture
    def index(self, tmp_path: Path) -> Fts5Index:
        return Fts5Index(tmp_path / "sparse.sqlite3")

    def test_what_was_added_is_there_after_reopening(self, index: Fts5Index, tmp_path: Path) -> None:
        index.upsert("c", ENTRIES)
        index.close()
        again = Fts5Index(tmp_path / "sparse.sqlite3")
        assert again.ids("c") == {identifier for identifier, _ in ENTRIES}
        assert again.query("c", ["boat"], 1)[0][0] == "boat"

    def test_an_interrupted_upsert_leaves_nothing(self, index: Fts5Index) -> None:
        def interrupted():
            yield ENTRIES[0]
            raise KeyboardInterrupt

        index.upsert("c", ENTRIES[1:2])
        with pytest.raises(KeyboardInterrupt):
            index.upsert("c", interrupted())
        assert index.ids("c") == {"train"}

    def test_write_ahead_logging_is_off(self, index: Fts5Index, tmp_path: Path) -> None:
        index.upsert("c", ENTRIES)
        assert sqlite3.connect(tmp_path / "sparse.sqlite3").execute("PRAGMA journal_mode").fetchone() == ("delete",)

    def test_a_damaged_file_is_named(self, index: Fts5Index, tmp_path: Path) -> None:
        index.close()
        (tmp_path / "sparse.sqlite3").write_bytes(b"not a database at all" * 400)
        with pytest.raises(IndexDamaged, match=r"sparse\.sqlite3"):
            Fts5Index(tmp_path / "sparse.sqlite3")


@pytest.mark.skipif(not SQUAD.is_dir(), reason="the evaluation data ../shared/data/squad is not here")
def test_both_engines_agree_on_squad(tmp_path: Path) -> None:
    def rows(name: str) -> list[dict]:
        with gzip.open(SQUAD / name, "rt", encoding="utf-8") as stream:
            return [json.loads(line) for line in stream]

    entries = [(row["id"], analyze(row["text"], "en")) for row in rows("passages.jsonl.gz")]
    questions = random.Random(0).sample(rows("questions.jsonl.gz"), 100)
    reference, persistent = RankBm25Index(), Fts5Index(tmp_path / "sparse.sqlite3")
    reference.upsert("c", entries)
    persistent.upsert("c", entries)
    shared = hits = 0
    for question in questions:
        terms = analyze_query(question["question"], ["en"])
        expected = [identifier for identifier, _ in reference.query("c", terms, 10)]
        shared += len(set(expected) & {identifier for identifier, _ in persistent.query("c", terms, 10)})
        hits += expected[0] == question["passage_id"]
    assert shared / (10 * len(questions)) >= 0.9
    assert hits / len(questions) >= 0.7
