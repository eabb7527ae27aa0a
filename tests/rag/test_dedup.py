"""Which chunks are one: equal ones and similar ones that state the same facts, and no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from capibara.config.schema import RagSettings
from capibara.rag import Embedder, Library, dedup, open_embedder
from capibara.rag.dedup import Deduplicator, Fresh
from capibara.rag.dense import ChromaIndex
from capibara.rag.duplicates import is_self_contained, say_the_same
from capibara.rag.store import Store
from capibara.rag.values import Chunk

SAME = [
    ("", ""),
    ("The Eiffel Tower is located in Paris, France.", "The Eiffel Tower is situated in Paris, France."),
    ("The office opens at nine in the morning on weekdays.", "On weekdays the office opens at nine in the morning."),
    ("It doesn’t leak.", "It does not leak."),
    ("The colour is bright.", "The color is bright."),
    ("Up  to\n9 kg", "Up to 9 kg"),
    ("El tren sale a las ocho de la mañana.", "El tren sale a las ocho, de la mañana."),
]
DIFFERENT = [
    ("Invoice 12 was paid by Ann.", "Invoice 13 was paid by Ann."),
    ("Invoice 12 was paid by Ann.", "Invoice 12 was paid by Bob."),
    ("Invoice 12 was paid by Ann.", "Invoice 12 was paid."),
    ("The price is 3.50 €.", "The price is 3.60 €."),
    ("The price is 5 €.", "The price is 5 $."),
    ("The pump is safe to use.", "The pump is not safe to use."),
    ("The pump is safe to use.", "The pump is rarely safe to use."),
    ("It doesn't leak.", "It does leak."),
    ("Alice beat Bob.", "Bob beat Alice."),
    ("Carol likes tea.", "Alice likes tea."),
    ("The valve is open.", "The valve is closed."),
    ("Take it before dinner.", "Take it after dinner."),
    ("Three rooms are free.", "Two rooms are free."),
    ("El tren sale a las ocho.", "El tren sale a las nueve."),
    ("El tren sale.", "El tren no sale."),
    ("東京は大きい", "大阪は大きい"),
]
LETTER = (
    "Dear {name}, we thank you for your order of {date} and are glad to confirm that the goods have left our warehouse "
    "in perfect condition this week. You will receive them within {days} working days at the address you gave us. "
    "Please keep this letter: it is {not_}valid as a guarantee for the whole period agreed in our conditions of sale."
)
FACTS = {"name": "Ms Pérez", "date": "3 May 2024", "days": "five", "not_": ""}


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return open_embedder(RagSettings())


@pytest.mark.parametrize(("a", "b"), SAME)
def test_texts_that_differ_in_wording_only_say_the_same(a: str, b: str) -> None:
    assert say_the_same(a, b)
    assert say_the_same(b, a)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_texts_with_another_number_name_or_negation_do_not(a: str, b: str) -> None:
    assert not say_the_same(a, b)
    assert not say_the_same(b, a)


@pytest.mark.parametrize(
    "change", [{"name": "Mr Gómez"}, {"date": "4 May 2024"}, {"days": "six"}, {"not_": "not "}, {"name": "Ms Perón"}]
)
def test_a_letter_with_one_fact_changed_is_another_letter_although_its_embedding_is_the_same(
    embedder: Embedder, tmp_path: Path, change: dict[str, str]
) -> None:
    a, b = LETTER.format(**FACTS), LETTER.format(**FACTS | change)
    vectors = embedder.embed([a, b])
    assert float(vectors[0] @ vectors[1]) > 0.9
    settings = RagSettings(reranker="none", dedup_threshold=0.9)
    assert chunks_and_aliases(tmp_path, settings, a, b) == (2, 0)


def test_a_letter_with_another_wording_is_merged_and_both_sources_are_listed(tmp_path: Path) -> None:
    a = LETTER.format(**FACTS)
    b = (
        a.replace("we thank you", "we  thank you")
        .replace("letter: it is", "letter; it is")
        .replace("days at", "day at")
    )
    settings = RagSettings(reranker="none", dedup_threshold=0.95)
    assert chunks_and_aliases(tmp_path, settings, a, b) == (1, 1)
    with Library.open(tmp_path / "data", settings) as library:
        passage = library.search("guarantee").passages[0]
        assert {Path(passage.document.source).name, *(Path(alias.source).name for alias in passage.aliases)} == {
            "0.txt",
            "1.txt",
        }
        alias = passage.aliases[0]
        assert library.text(alias.document_id, alias.start, alias.end).strip() in (a, b)
        library.remove(passage.document.id)
        assert [Path(p.document.source).name for p in library.search("guarantee").passages] == ["1.txt"]


def test_the_threshold_decides_which_similar_texts_are_one(tmp_path: Path) -> None:
    text = "The tall iron tower of the engineer is {} in the capital, near the river and the large green garden."
    texts = (text.format("located"), text.format("placed"))
    settings = RagSettings(reranker="none", dedup_threshold=1.0)
    assert chunks_and_aliases(tmp_path / "a", settings, *texts) == (2, 0)
    settings = RagSettings(reranker="none", dedup_threshold=0.8)
    assert chunks_and_aliases(tmp_path / "b", settings, *texts) == (1, 1)


@pytest.mark.parametrize(("text", "merged"), [("Open from nine to five.", False), (LETTER.format(**FACTS), True)])
def test_a_short_text_under_another_heading_is_another_fact(tmp_path: Path, text: str, merged: bool) -> None:
    store = Store.open(tmp_path)
    chunks = [
        Chunk(f"{n}", f"d{n}", 0, text, 0, len(text), context=context)
        for n, context in enumerate(("Library", "Museum"))
    ]
    fresh = [Fresh(n + 1, chunk, np.ones(1, dtype=np.float32), None) for n, chunk in enumerate(chunks)]
    assert Deduplicator(store, RetiredIndex(), "default", 0.9).owners(fresh) == [None, 1 if merged else None]
    store.close()


@pytest.mark.parametrize(("text", "expected"), [("", False), ("None.", False), (LETTER, True)])
def test_a_long_text_means_the_same_under_any_heading(text: str, expected: bool) -> None:
    assert is_self_contained(text) == expected


def test_beyond_the_limit_of_exact_comparison_the_dense_index_finds_the_same_duplicates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [LETTER.format(**FACTS | {"date": f"{n} May 2024"}) for n in range(1, 9)]
    again = [text.replace("we thank", "we  thank").replace("letter: it is", "letter; it is") for text in texts]
    settings = RagSettings(reranker="none", dedup_threshold=0.95)
    monkeypatch.setattr(dedup, "EXACT_UP_TO", 4)
    monkeypatch.setattr("capibara.rag.ingest.BATCH_CHUNKS", 3)
    assert chunks_and_aliases(tmp_path, settings, *texts, *again) == (8, 8)


class RetiredIndex(ChromaIndex):
    """A dense index that is never opened: nothing is stored that could be near."""

    def __init__(self) -> None:
        pass


def chunks_and_aliases(folder: Path, settings: RagSettings, *texts: str) -> tuple[int, int]:
    (folder / "documents").mkdir(parents=True)
    for number, text in enumerate(texts):
        (folder / "documents" / f"{number}.txt").write_text(text)
    with Library.open(folder / "data", settings) as library:
        library.ingest([folder / "documents"])
        status = library.status()
        return status.chunks, status.aliases
