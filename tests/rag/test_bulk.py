"""Many queries at once find what one query at a time finds."""

from __future__ import annotations

import pytest

from capibara.config.schema import RagSettings
from capibara.rag.bulk import BulkRetriever
from capibara.rag.library import Library

TEXTS = {
    f"town{number}.txt": f"The harbour of {town} was built in {1801 + 7 * number}. Its merchants grew rich on {goods}."
    for number, (town, goods) in enumerate(
        zip(("Arden", "Bexley", "Corvo", "Dunmore", "Elvas"), ("copper", "salt", "wool", "tea", "glass"), strict=True)
    )
}
QUERIES = ["When was the harbour of Corvo built?", "Who sold tea?", "wool", "¿Qué puerto?", "zzz"]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towns")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    with Library.open(tmp_path_factory.mktemp("data"), RagSettings(sparse_index="fts5", reranker="none")) as library:
        library.ingest([folder])
        yield library


@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_the_ranking_is_that_of_the_search(library, fusion):
    settings = RagSettings(sparse_index="fts5", reranker="none", fusion=fusion)
    bulk = list(BulkRetriever(library.store, library.embedder, settings).search(QUERIES, 3))
    for query, ids in zip(QUERIES, bulk, strict=True):
        passages = library.search(query, settings=settings, top_k=3).passages
        assert ids == [passage.chunk.id for passage in passages]


def test_no_queries_find_nothing(library):
    assert list(BulkRetriever(library.store, library.embedder, RagSettings()).search([], 3)) == []


def test_an_empty_collection_finds_nothing(library):
    bulk = BulkRetriever(library.store, library.embedder, RagSettings(), "nowhere")
    assert list(bulk.search(QUERIES[:2], 3)) == [[], []]
