"""A search: every stage's score, the settings of one call, and what happens when a part is missing."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from capibara.config.schema import CollectionSettings, RagSettings
from capibara.rag import Embedder, Library, Retriever, open_embedder, open_reranker
from capibara.rag.dense import ChromaIndex
from capibara.rag.errors import IndexDamaged
from capibara.rag.sparse import RankBm25Index

DOCUMENTS = {
    "ferry": "The ferry to Colonia leaves from pier three every morning at seven.",
    "train": "The night train to Salta has a dining car and sleeping berths.",
    "capybara": "The largest living rodent grazes beside rivers and lakes of South America.",
    "bread": "Knead the dough for ten minutes, let it rise, and bake it in a hot oven.",
    "gaucho": "Los gauchos toman mate al amanecer antes de salir a caballo por la pampa.",
}


@pytest.fixture(scope="module")
def settings() -> RagSettings:
    return RagSettings(top_k=3)


@pytest.fixture(scope="module")
def library(settings: RagSettings, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("retriever")
    (folder / "documents").mkdir()
    for name, text in DOCUMENTS.items():
        (folder / "documents" / f"{name}.txt").write_text(text)
    with Library.open(folder / "data", settings) as opened:
        opened.ingest([folder / "documents"])
        yield opened


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return open_embedder(RagSettings())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("When does the boat to Colonia depart?", "ferry"),
        ("sleeping berths", "train"),
        ("the biggest rodent", "capybara"),
        ("¿Qué toman los gauchos?", "gaucho"),
        ("GAUCHO", "gaucho"),
    ],
)
def test_the_passage_that_answers_comes_first(library: Library, query: str, expected: str) -> None:
    result = library.search(query)
    assert Path(result.passages[0].document.source).stem == expected
    assert len(result.passages) == 3
    assert result.degraded == ()
    assert {"embed", "dense", "sparse", "fuse", "rerank"} <= result.timings.keys()


def test_every_stage_tells_its_score_and_the_final_one_orders(library: Library) -> None:
    passages = library.search("the ferry to Colonia", top_k=5).passages
    first = passages[0].scores
    assert first.dense is not None
    assert 0.5 < first.dense <= 1.0
    assert first.sparse is not None
    assert first.sparse > 0
    assert first.fused == pytest.approx(1.0)
    assert first.reranked is not None
    assert first.final == pytest.approx(1.0)
    finals = [passage.scores.final for passage in passages]
    assert finals == sorted(finals, reverse=True)
    assert all(passage.scores.dense is not None for passage in passages)
    assert any(passage.scores.sparse is None for passage in passages)


@pytest.mark.parametrize("query", ["", "  \n", "?!…", "zzzzzz", "the", "日本"])
def test_a_query_without_words_of_the_documents_is_no_error(library: Library, query: str) -> None:
    assert len(library.search(query).passages) == (3 if query.strip() else 0)


@pytest.mark.parametrize("top_k", [1, 2, 5, 50])
def test_at_most_top_k_passages_come_back_each_once(library: Library, top_k: int) -> None:
    passages = library.search("the river", top_k=top_k).passages
    assert len(passages) == min(top_k, len(DOCUMENTS))
    assert len({passage.chunk.id for passage in passages}) == len(passages)


def test_only_the_first_passages_are_reranked_and_the_others_follow(library: Library, settings: RagSettings) -> None:
    chosen = settings.model_copy(update={"rerank_top": 2})
    passages = library.search("night train", settings=chosen, top_k=5).passages
    assert [passage.scores.reranked is not None for passage in passages] == [True, True, False, False, False]
    assert passages[1].scores.final >= 0 >= passages[2].scores.final


def test_without_a_reranker_the_fused_order_is_final(library: Library, settings: RagSettings) -> None:
    for update in ({"reranker": "none"}, {"rerank_mix": 0.0}):
        passages = library.search("night train", settings=settings.model_copy(update=update), top_k=5).passages
        assert all(passage.scores.reranked is None for passage in passages)
        assert [passage.scores.final for passage in passages] == [passage.scores.fused for passage in passages]


@pytest.mark.parametrize(("alpha", "stage"), [(1.0, "dense"), (0.0, "sparse")])
def test_alpha_of_the_collection_outweighs_the_general_one(
    library: Library, settings: RagSettings, alpha: float, stage: str
) -> None:
    own = {"default": CollectionSettings(alpha=alpha, rerank_mix=0.0)}
    chosen = settings.model_copy(update={"alpha": 1.0 - alpha, "collections": own})
    passages = library.search("the morning train of the rodent", settings=chosen, top_k=5).passages
    scores = [getattr(passage.scores, stage) or 0.0 for passage in passages]
    assert scores == sorted(scores, reverse=True)


def test_reciprocal_rank_fusion_can_be_chosen_per_call(library: Library, settings: RagSettings) -> None:
    chosen = settings.model_copy(update={"fusion": "rrf", "rrf_k": 10, "rerank_mix": 0.0})
    first = library.search("ferry to Colonia", settings=chosen).passages[0]
    assert first.scores.fused == pytest.approx(2 / 11)
    assert library.search("ferry to Colonia").passages[0].scores.fused == pytest.approx(1.0)


def test_searches_of_a_library_open_its_models_once(library: Library, settings: RagSettings) -> None:
    library.search("ferry")
    embedder = weakref.ref(library.parts().embedder)
    library.ingest([], settings=settings)
    library.search("ferry", settings=settings.model_copy(update={"alpha": 0.1}))
    gc.collect()
    assert library.parts(settings).embedder is embedder()
    assert library.parts().embedder is embedder()


def test_models_of_other_settings_go_with_whoever_holds_them(library: Library, settings: RagSettings) -> None:
    other = library.parts(settings.model_copy(update={"embedding_batch": 7}))
    embedder = weakref.ref(other.embedder)
    assert library.parts(settings.model_copy(update={"embedding_batch": 7})).embedder is embedder()
    del other
    gc.collect()
    assert embedder() is None


def test_a_retriever_is_usable_alone_and_finds_the_same(
    library: Library, embedder: Embedder, settings: RagSettings, tmp_path: Path
) -> None:
    dense, sparse = ChromaIndex(tmp_path / "chroma"), RankBm25Index()
    for entries in library.store.all_entries("default"):
        for entry in entries:
            dense.upsert("default", [entry.id], entry.vector[None])
            sparse.upsert("default", [(entry.id, entry.terms)])
    reranker = open_reranker(settings, embedder)
    retriever = Retriever(library.store, dense, sparse, embedder, reranker, settings)
    for query in ("rodent", "pier three"):
        ours, theirs = retriever.search(query).passages, library.search(query).passages
        assert [p.chunk for p in ours] == [p.chunk for p in theirs]
    dense.close()


def test_an_index_that_cannot_be_read_is_left_out_and_named(
    library: Library, settings: RagSettings, tmp_path: Path, embedder: Embedder
) -> None:
    class Broken(ChromaIndex):
        def query(self, collection: str, vector: object, k: int) -> list[tuple[str, float]]:
            raise IndexDamaged("the dense index cannot be used (disk error)")

    dense = Broken(tmp_path / "chroma")
    retriever = Retriever(library.store, dense, library._indexes.sparse, embedder, None, settings)
    result = retriever.search("ferry to Colonia")
    assert Path(result.passages[0].document.source).stem == "ferry"
    assert result.degraded == ("dense: the dense index cannot be used (disk error)",)
    dense.close()


def test_a_chunk_the_index_still_has_and_the_store_no_longer_is_not_returned(library: Library, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("A submarine dives under the ice of the pole.")
    library.ingest([tmp_path / "new.txt"])
    library._versions.remove(library.document("new.txt").id)
    assert library.store.counts()["pending"] == 1
    assert "submarine" not in {word for p in library.search("submarine").passages for word in p.chunk.text.split()}
    library._indexes.apply()
