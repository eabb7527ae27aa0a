"""Real documents of many makers: each is read so that its probe answers stand in the text, on the right page."""

import json
from pathlib import Path

import pytest

from capibara.config.schema import RagSettings
from capibara.rag.errors import DocumentError
from capibara.rag.loaders import SUPPORTED_SUFFIXES, loader_for

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "documents"
REFUSED = {
    "password": "encrypted: add its password to rag.pdf_passwords",
    "broken": "damaged or truncated: it cannot be parsed as PDF",
    "empty": "empty: zero bytes",
    "ocr": "no text layer; page images need OCR, which this version does not do",
    "unsupported": "is not supported; supported are .txt",
}


def rows(*expected: str) -> list:
    if not (FOLDER / "manifest.jsonl").exists():
        reason = pytest.mark.skip(reason="the shared evaluation data are not there")
        return [pytest.param(None, marks=reason)]
    with (FOLDER / "manifest.jsonl").open(encoding="utf-8") as file:
        found = [row for row in map(json.loads, file) if row["expect"] in expected]
    return [pytest.param(row, id=row["path"]) for row in found]


def blocks_of(row, **settings):
    path = FOLDER / row["path"]
    document = loader_for(path, RagSettings(**settings)).load(path)
    return document, list(document.blocks())


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("row", rows("text"))
def test_the_probe_answers_stand_in_the_text(row):
    if Path(row["path"]).suffix not in SUPPORTED_SUFFIXES:
        pytest.skip("this format is not read yet")
    document, blocks = blocks_of(row)
    assert document.pages == row.get("pages")
    assert any(character.isalpha() for block in blocks for character in block.text)
    probes = [(row["probe_answer"], row["page"])] if "probe_answer" in row else []
    probes += [(probe["answer"], probe["page"]) for probe in row.get("more_probes", ())]
    for answer, page in probes:
        assert squeezed(answer) in squeezed("".join(block.text for block in blocks if block.page == page))


@pytest.mark.parametrize("row", rows(*REFUSED))
def test_what_cannot_be_read_says_why(row):
    with pytest.raises(DocumentError) as caught:
        blocks_of(row)
    assert REFUSED[row["expect"]] in str(caught.value)


@pytest.mark.parametrize("row", rows("password"))
def test_a_password_of_the_settings_opens_the_file(row):
    _, blocks = blocks_of(row, pdf_passwords=("wrong", row["password"]))
    assert row["probe_answer"] in "".join(block.text for block in blocks)


@pytest.mark.parametrize("row", rows("password"))
def test_wrong_passwords_are_said_to_be_wrong(row):
    with pytest.raises(DocumentError, match=r"none of the passwords in rag.pdf_passwords opens it"):
        blocks_of(row, pdf_passwords=("wrong",))
