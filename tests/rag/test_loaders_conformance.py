"""What holds of every loader: one small document per format, and every way a file cannot be read."""

import os
from pathlib import Path

import docx
import pytest
from reportlab.pdfgen.canvas import Canvas

from capibara.config.schema import RagSettings
from capibara.rag.errors import DocumentError
from capibara.rag.loaders import SUPPORTED_SUFFIXES, loader_for
from capibara.rag.loaders.registry import _LOADERS

TEXT = "The lighthouse keeper counts forty herons every morning."


def write_docx(path: Path) -> None:
    document = docx.Document()
    document.add_paragraph(TEXT)
    document.save(str(path))


def write_pdf(path: Path) -> None:
    canvas = Canvas(str(path))
    canvas.drawString(72, 700, TEXT)
    canvas.save()


WRITERS = {
    "txt": lambda path: path.write_text(TEXT),
    "text": lambda path: path.write_text(TEXT),
    "md": lambda path: path.write_text(TEXT),
    "markdown": lambda path: path.write_text(TEXT),
    "html": lambda path: path.write_text(f"<p>{TEXT}</p>"),
    "htm": lambda path: path.write_text(f"<p>{TEXT}</p>"),
    "xhtml": lambda path: path.write_text(f'<?xml version="1.0" encoding="utf-8"?><html><body>{TEXT}</body></html>'),
    "pdf": write_pdf,
    "docx": write_docx,
    "docm": write_docx,
    "csv": lambda path: path.write_text(f'"{TEXT}",2\n'),
    "tsv": lambda path: path.write_text(f"{TEXT}\t2\n"),
    "tab": lambda path: path.write_text(f"{TEXT}\t2\n"),
}


@pytest.fixture(params=WRITERS)
def path(request, tmp_path) -> Path:
    path = tmp_path / f"document.{request.param}"
    WRITERS[request.param](path)
    return path


def load(path: Path, **settings):
    return loader_for(path, RagSettings(**settings)).load(path)


def test_every_supported_format_is_tested():
    assert {f".{name}" for name in WRITERS} == set(SUPPORTED_SUFFIXES)


def test_the_loader_names_its_suffix(path):
    assert path.suffix in loader_for(path, RagSettings()).suffixes


def test_the_text_is_read_and_the_suffix_may_be_in_capitals(path):
    shouted = path.rename(path.with_suffix(path.suffix.upper()))
    assert TEXT in "".join(block.text for block in load(shouted).blocks())


def test_blocks_come_once_and_no_warning_without_reason(path):
    document = load(path)
    assert list(document.blocks())
    assert list(document.blocks()) == []
    assert list(document.warnings) == []


def test_pages_are_counted_where_the_format_has_them(path):
    document = load(path)
    paged = path.suffix == ".pdf"
    assert document.pages == (1 if paged else None)
    assert {block.page for block in document.blocks()} == {1 if paged else None}


def test_a_missing_file_is_said_to_be_missing(path):
    path.unlink()
    with pytest.raises(DocumentError, match=r"^no such file$"):
        load(path)


def test_an_empty_file_is_said_to_be_empty(path):
    path.write_bytes(b"")
    with pytest.raises(DocumentError, match=r"^empty: zero bytes$"):
        load(path)


def test_a_folder_is_no_file(path):
    path.unlink()
    path.mkdir()
    with pytest.raises(DocumentError, match=r"^not a regular file$"):
        load(path)


def test_too_large_a_file_is_refused_naming_the_setting(path):
    os.truncate(path, 2**20 + 1)
    with pytest.raises(DocumentError, match=r"too large: 1 MiB, the limit rag.max_file_mb is 1"):
        load(path, max_file_mb=1)


def test_a_file_without_read_permission_is_said_to_be_unreadable(path):
    loader = loader_for(path, RagSettings())
    path.chmod(0)
    root = os.geteuid() == 0  # who may read everything
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(DocumentError, match=r"^not readable: permission denied$"):
            loader.load(path)
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8, os.urandom(4096)], ids=["png", "noise"]
)
def test_binary_content_is_refused_in_one_line(path, content):
    path.write_bytes(content)
    with pytest.raises(DocumentError) as caught:
        list(load(path).blocks())
    assert "\n" not in str(caught.value)
    assert path.name not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["slides.pptx", "sheet.xlsx", "book.epub", "note.rtf", "mail.eml", "data.xml", "x.bin"]
)
def test_other_formats_are_refused_naming_the_supported_ones(name):
    with pytest.raises(DocumentError, match=rf"format \{Path(name).suffix} is not supported; supported are .*\.pdf"):
        loader_for(Path(name), RagSettings())


def test_a_name_without_suffix_is_refused():
    with pytest.raises(DocumentError, match=r"a file without suffix is not supported"):
        loader_for(Path("README"), RagSettings())


def test_the_registry_names_only_loaders_that_exist():
    assert all(suffix in loader_for(Path("x" + suffix), RagSettings()).suffixes for suffix in _LOADERS)
