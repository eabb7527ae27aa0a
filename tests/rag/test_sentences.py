"""Sentence borders: cases by name, invariants on any text, and real answers that must not be cut."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capibara.config.schema import RagSettings
from capibara.rag.chunking import chunk
from capibara.rag.embedding import open_embedder
from capibara.rag.loaders.delimited import DelimitedLoader
from capibara.rag.sentences import sentence_spans

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


ONE_SENTENCE = {
    "title": "Mr. Brown met Dr. Ana Ruiz and Prof. Lee.",
    "initials": "It was J. R. R. Tolkien who wrote it.",
    "initials that are also words": "In 1907 A. A. Michelson won it.",
    "country before a name": "The U.S. Supreme Court met.",
    "decimal": "It costs 3.5 or 1,000.25 euros.",
    "for example": "Some fruit, e.g. Granny Smith apples, is sour.",
    "number sign": "He wore No. 10 and sang Op. 53 by Chopin.",
    "versus": "Brown v. Board of Education was decided in 1954.",
    "ellipsis inside": "All I Want for Christmas ..., a book, sold well.",
    "exclamation in a name": "The firm Yahoo! was founded in 1994.",
    "stop in brackets": "He (see Fig. 3. It shows more.) left early.",
    "web address": "See www.example.com/a.b for the file notes.txt now.",
    "German abbreviation": "Viele Tiere, z. B. Hunde, u. a. Katzen, schlafen.",
    "German ordinal": "Am 3. Oktober 1990 und im 19. Jahrhundert geschah viel.",
    "Spanish title": "El Sr. Pérez y la Dra. Gómez viven en la Av. Corrientes.",
    "wrapped line": "The quick brown fox jumps over the lazy dog and\nran over the hill to see whether the sheep came.",
    "formula copied as lines": "The gas O\n2 is needed by animals.",
}

MANY_SENTENCES = {
    "plain": ["One here.", "Two there!", "Three where?"],
    "country at the end": ["He lives in the U.S.", "The weather is fine."],
    "company at the end": ["He founded Acme Inc.", "It grew."],
    "initial at the end": ["He won World War I.", "After that he slept."],
    "year at the end": ["It ended in 1954.", "Many were glad."],
    "quotation": ["He said “Stop.”", "She did not."],
    "bracketed sentence": ["It rained.", "(Nobody minded.)", "Then it stopped."],
    "reference marks": ["He was born in 1968.[1]", "He grew up there.[2][13]", "The end."],
    "ellipsis at the end": ["He waited...", "Nobody came."],
    "inverted marks": ["¿Dónde está?", "¡Aquí!", "No lo sé."],
    "brand in lower case": ["It was late.", "iPhone sales rose."],
    "digits begin": ["That was all.", "42 people came."],
}


@pytest.mark.parametrize("text", ONE_SENTENCE.values(), ids=ONE_SENTENCE.keys())
def test_what_only_looks_like_an_end_is_none(text):
    assert sentences(text) == [text]


@pytest.mark.parametrize("parts", MANY_SENTENCES.values(), ids=MANY_SENTENCES.keys())
def test_sentences_are_found(parts):
    assert sentences(" ".join(parts)) == parts


def test_chinese_and_japanese_stops_need_no_blank():
    assert sentences("今日は晴れです。明日は雨ですか？はい。") == ["今日は晴れです。", "明日は雨ですか？", "はい。"]


@pytest.mark.parametrize("text", ["", "  \n\n\t "])
def test_blank_text_has_no_sentence(text):
    assert sentence_spans(text) == []


@pytest.mark.parametrize("stop", [".", "!", "?", "…"])
def test_a_long_run_of_stops_is_read_once(stop):
    text = f"Chapter one {stop * 30_000}12 next"
    assert sentences(text) == [text]


def test_paragraphs_headings_and_list_items_are_borders():
    text = "A heading\n\nSome text follows here\n- first item\n- second item\n1. third item"
    assert sentences(text) == ["A heading", "Some text follows here", "- first item", "- second item", "1. third item"]


def test_lines_that_were_not_wrapped_are_apart():
    text = "Full name Iwan Wyn Roberts\nDate of birth 26 June 1968\nPlace of birth Bangor, Wales"
    assert sentences(text) == text.split("\n")


@given(st.text(alphabet="aAbB zZ.!?…。()[]\"'”1 \n\t¿é-,;:", max_size=200))
def test_every_character_lies_in_exactly_one_span_in_order(text):
    spans = sentence_spans(text)
    assert "".join("".join(text[a:b].split()) for a, b in spans) == "".join(text.split())
    assert all(a < b and not text[a].isspace() and not text[b - 1].isspace() for a, b in spans)
    assert all(left[1] <= right[0] for left, right in pairwise(spans))


@pytest.mark.parametrize("name", ["squad/dev", "xquad-es"])
def test_hardly_any_reference_answer_is_cut(name):
    folder = SHARED / name
    if not folder.exists():
        pytest.skip("the shared evaluation data are not there")
    with gzip.open(folder / "passages.jsonl.gz", "rt", encoding="utf-8") as file:
        parts = {row["id"]: sentences(row["text"]) for row in map(json.loads, file)}
    with gzip.open(folder / "questions.jsonl.gz", "rt", encoding="utf-8") as file:
        answers = [(row["passage_id"], answer) for row in map(json.loads, file) for answer in row["answers"]]
    cut = sum(not any(answer in part for part in parts[passage]) for passage, answer in answers)
    assert cut <= 0.003 * len(answers)
    assert sum(map(len, parts.values())) > 4 * len(parts)  # not by leaving passages whole


TOOLS = """name,price,owner,location
Torque wrench,120 EUR,Ana Ruiz,Shelf 4
Angle grinder 125 mm with guard,89.50 EUR,The harbour workshop,Locker B. Ask first
Pump,,Workshop,Pier 2
Ladder,45 EUR,Bo,
Soldering iron,30 EUR,Dr. Lee,Drawer 1
"""


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_every_row_of_a_table_is_one_span(tmp_path, rows):
    path = tmp_path / "tools.csv"
    path.write_text("".join(TOOLS.splitlines(keepends=True)[: rows + 1]))
    embedder = open_embedder(RagSettings())
    loaded = DelimitedLoader(RagSettings()).load(path)
    chunks = list(chunk(loaded.blocks(), embedder, document_id="0", title="tools"))
    found = [sentence for made in chunks for sentence in sentences(made.text)]
    assert found == [line for made in chunks for line in made.text.splitlines()]
    assert len(found) == rows + 1
    whole = "".join(block.text for block in DelimitedLoader(RagSettings()).load(path).blocks())
    assert sentences(whole) == whole.splitlines()


@pytest.mark.parametrize("text", ["The boat | 4\nThe harbour of the north | 5", "Tool: a pump\nTool: a ladder"])
def test_rows_of_one_column_and_rows_without_header_are_spans(text):
    assert sentences(text) == text.splitlines()


def test_prose_with_colons_and_semicolons_is_wrapped_as_before():
    text = "He said this: the boat leaves at seven; all of us agreed that it was\nMonday: the day of the fair."
    assert sentences(text) == [text]
