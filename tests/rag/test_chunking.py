"""Chunks: exact spans, the model's own limit, borders, pages, stable ids; with the real tokenizer."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capibara.config.schema import RagSettings
from capibara.rag.chunking import chunk, embedding_text
from capibara.rag.embedding import open_embedder
from capibara.rag.sentences import sentence_spans
from capibara.rag.values import Block

WORDS = ["river", "stone", "winter", "lamp", "copper", "harbour", "seven", "walking", "the", "of", "and", "green"]


@pytest.fixture(scope="module")
def embedder():
    return open_embedder(RagSettings())


def prose(sentences: int, words: int = 12, seed: int = 0) -> str:
    choose = random.Random(seed)
    return " ".join(" ".join(choose.choices(WORDS, k=words)).capitalize() + "." for _ in range(sentences))


def cut(blocks, embedder, *, title="", max_tokens=64, overlap=0, document_id="doc"):
    return list(
        chunk(blocks, embedder, document_id=document_id, title=title, max_tokens=max_tokens, overlap_sentences=overlap)
    )


def assert_whole(chunks, blocks, embedder, limit):
    """What holds of every cut without overlap: exact spans, nothing lost, nothing twice, all within the limit."""
    text = "".join(block.text for block in blocks)
    assert all(part.text == text[part.start : part.end] for part in chunks)
    assert "".join("".join(part.text.split()) for part in chunks) == "".join(text.split())
    assert all(left.end <= right.start for left, right in itertools.pairwise(chunks))
    assert all(len(embedder.token_offsets(embedding_text(part))) <= limit for part in chunks)
    assert [part.ordinal for part in chunks] == list(range(len(chunks)))


@pytest.mark.parametrize("blocks", [[], [Block("")], [Block(" \n\n"), Block("\n")]], ids=["none", "empty", "blank"])
def test_nothing_gives_no_chunk(blocks, embedder):
    assert cut(blocks, embedder) == []


def test_a_short_document_is_one_chunk(embedder):
    (only,) = cut([Block("  One sentence. Two.\n\n")], embedder, title="A title")
    assert (only.text, only.start, only.end, only.context) == ("One sentence. Two.", 2, 20, "A title")


def test_the_models_own_limit_holds_when_none_or_a_larger_one_is_set(embedder):
    blocks = [Block(prose(120))]
    assert cut(blocks, embedder, max_tokens=None) == cut(blocks, embedder, max_tokens=10_000)
    assert_whole(cut(blocks, embedder, max_tokens=None), blocks, embedder, embedder.max_tokens)


@pytest.mark.parametrize("limit", [16, 33, 64, 254])
def test_cuts_fall_between_sentences(embedder, limit):
    blocks = [Block(prose(30, words=6) + "\n\n") for _ in range(3)]
    chunks = cut(blocks, embedder, title="Title", max_tokens=limit)
    assert_whole(chunks, blocks, embedder, limit)
    text = "".join(block.text for block in blocks)
    ends = {end for _, end in sentence_spans(text)}
    assert all(part.end in ends for part in chunks)


def test_a_section_is_cut_into_parts_of_about_equal_size(embedder):
    chunks = cut([Block(prose(6, words=12))], embedder, max_tokens=64)
    sizes = [len(part.text) for part in chunks]
    assert len(sizes) > 1
    assert min(sizes) > 0.6 * max(sizes)


def test_a_paragraphs_end_near_the_limit_is_preferred(embedder):
    blocks = [Block(prose(4, words=11) + "\n\n"), Block(prose(5, words=11, seed=1) + "\n\n")]
    first, *_ = cut(blocks, embedder, max_tokens=64)
    assert first.text == blocks[0].text.strip()


def test_a_heading_begins_a_chunk_and_is_the_context_of_what_follows(embedder):
    blocks = [
        Block("Guide\n\n", heading=1),
        Block(prose(3) + "\n\n"),
        Block("Boats\n\n", heading=2),
        Block(prose(12, seed=1) + "\n\n"),
        Block("Birds\n\n", heading=2),
        Block(prose(3, seed=2) + "\n\n"),
    ]
    chunks = cut(blocks, embedder, title="Handbook")
    assert_whole(chunks, blocks, embedder, 64)
    boats = next(i for i, part in enumerate(chunks) if part.text.startswith("Boats"))
    birds = next(i for i, part in enumerate(chunks) if part.text.startswith("Birds"))
    assert chunks[0].context == "Handbook"
    assert chunks[boats].context == "Handbook › Guide"
    assert {part.context for part in chunks[boats + 1 : birds]} == {"Handbook › Guide › Boats"}
    assert chunks[birds].context == "Handbook › Guide"


def test_a_heading_is_not_left_alone_at_the_end_of_a_chunk(embedder):
    blocks = [Block("Top\n\n", heading=1), Block("Below\n\n", heading=2), Block(prose(1, words=50) + "\n\n")]
    chunks = cut(blocks, embedder)
    assert chunks[0].text.startswith("Top\n\nBelow\n\n")
    assert len(chunks[0].text) > len("Top\n\nBelow")


def test_tiny_sections_of_one_rank_share_a_chunk(embedder):
    blocks = [block for name in "abc" for block in (Block(f"Term {name}\n\n", heading=2), Block("Short.\n\n"))]
    assert len(cut(blocks, embedder, max_tokens=254)) == 1


def test_the_context_takes_at_most_a_quarter_of_the_limit(embedder):
    headings = [Block(prose(1, words=20, seed=level) + "\n\n", heading=level) for level in range(1, 5)]
    blocks = [*headings, Block(prose(40) + "\n\n")]
    chunks = cut(blocks, embedder, title=prose(1, words=60, seed=9))
    assert_whole(chunks, blocks, embedder, 64)
    assert all(0 < len(embedder.token_offsets(part.context)) <= 16 for part in chunks)


def test_a_chunk_stays_on_its_page(embedder):
    blocks = [Block(prose(2, seed=page) + "\n\n", page=page) for page in (1, 1, 2, 4)]
    chunks = cut(blocks, embedder, max_tokens=254)
    assert [part.page for part in chunks] == [1, 2, 4]
    assert_whole(chunks, blocks, embedder, 254)


@pytest.mark.parametrize("kind", ["rows", "code"])
def test_rows_and_code_are_cut_between_lines(embedder, kind):
    lines = [f"name: n{i}. Next; place: P. Q. {i}; sum: {i * 7}" for i in range(40)]
    blocks = [Block("".join(line + "\n" for line in lines), kind=kind)]
    chunks = cut(blocks, embedder)
    assert_whole(chunks, blocks, embedder, 64)
    assert [line for part in chunks for line in part.text.split("\n")] == lines


def test_a_sentence_beyond_the_limit_is_cut_between_words(embedder):
    blocks = [Block(" ".join(WORDS * 40))]
    chunks = cut(blocks, embedder)
    assert_whole(chunks, blocks, embedder, 64)
    assert [word for part in chunks for word in part.text.split()] == WORDS * 40


@pytest.mark.parametrize("word", ["x1-" * 2000, "x" * 40_000, "漢字" * 900], ids=["pieces", "one token", "signs"])
def test_a_word_beyond_the_limit_is_cut_inside(embedder, word):
    blocks = [Block(word)]
    chunks = cut(blocks, embedder)
    assert_whole(chunks, blocks, embedder, 64)
    assert max(len(part.text) for part in chunks) <= 64 * 16


def test_a_stretch_of_blanks_does_not_swell_a_chunk(embedder):
    blocks = [Block("One."), Block(" " * 30_000), Block("Two.\n"), Block("\n" * 30_000), Block("Three.")]
    chunks = cut(blocks, embedder)
    assert [part.text for part in chunks] == ["One.", "Two.", "Three."]
    assert_whole(chunks, blocks, embedder, 64)


def test_overlap_repeats_whole_sentences_within_a_section(embedder):
    blocks = [Block(prose(20, words=8) + "\n\n"), Block("New\n\n", heading=1), Block(prose(2, seed=3))]
    chunks = cut(blocks, embedder, overlap=1)
    text = "".join(block.text for block in blocks)
    assert all(part.text == text[part.start : part.end] for part in chunks)
    section = [part for part in chunks if part.start < text.index("New")]
    for left, right in itertools.pairwise(section):
        repeated = text[right.start : left.end]
        assert len(sentence_spans(repeated)) == 1
    assert next(part for part in chunks if part.text.startswith("New")).start == text.index("New")
    assert all(len(embedder.token_offsets(embedding_text(part))) <= 64 for part in chunks)


def test_ids_are_stable_distinct_and_follow_document_span_and_text(embedder):
    blocks = [Block(prose(30))]
    again = [part.id for part in cut(blocks, embedder)]
    assert again == [part.id for part in cut(blocks, embedder, title="")]
    assert len(set(again)) == len(again)
    assert not set(again) & {part.id for part in cut(blocks, embedder, document_id="other")}
    assert not set(again) & {part.id for part in cut([Block("Xy " + blocks[0].text)], embedder)}


def test_blocks_are_asked_for_as_chunks_are_taken(embedder):
    taken = itertools.count()

    def blocks():
        while True:
            next(taken)
            yield Block(prose(4) + "\n\n")

    walk = chunk(blocks(), embedder, document_id="d", title="", max_tokens=64, overlap_sentences=0)
    list(itertools.islice(walk, 10))
    assert next(taken) < 20


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Block,
            text=st.text(alphabet="abcde fg.!? \n\nÜ漢é-1️\t", max_size=120),
            page=st.sampled_from([None, 1, 2]),
            heading=st.sampled_from([None, None, None, 1, 2, 3]),
            kind=st.sampled_from(["prose", "prose", "rows", "code"]),
        ),
        max_size=12,
    ),
    st.integers(16, 80),
)
def test_any_blocks_are_cut_exactly_within_the_limit(embedder, blocks, limit):
    chunks = cut(blocks, embedder, title="A title", max_tokens=limit)
    assert_whole(chunks, blocks, embedder, limit)
