"""Build the PDF and DOCX example documents from their plain sources.

    python examples/build_documents.py [FOLDER]

Reads ``examples/sources/*.md`` (headings, paragraphs, lists and tables) and writes the binary files into
FOLDER, by default ``examples/documents``. The same sources give the same bytes with the same versions of the
libraries. The built files are committed; only someone who changes a source needs to run this. It needs
reportlab (BSD) and python-docx (MIT): ``pip install -e '.[dev]'``.
"""

from __future__ import annotations

import argparse
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.sax.saxutils import escape

import docx
from docx.document import Document as WordDocument
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, ListFlowable, PageTemplate, Paragraph

HERE = Path(__file__).resolve().parent
INK = HexColor("#1f3a45")
GREY = HexColor("#6b6b6b")


@dataclass(frozen=True)
class Binary:
    """A document to build: the source's name without suffix, the file to write, and its metadata."""

    source: str
    file: str
    author: str
    language: str
    date: datetime


BINARIES = (
    Binary("station-handbook", "station-handbook.pdf", "Matías Corvane", "en", datetime(2024, 3, 1)),
    Binary("safety-procedures", "safety-procedures.pdf", "Oriana Velsegui", "en", datetime(2024, 4, 1)),
    Binary("council-minutes-2023", "council-minutes-2023.docx", "Wim Haverlund", "en", datetime(2023, 12, 2)),
    Binary("reglamento-laboratorio", "reglamento-laboratorio.docx", "Senén Abroña", "es", datetime(2024, 1, 15)),
)


@dataclass(frozen=True)
class Element:
    """One piece of a source: a heading (``level`` from 1), a paragraph, a list or a table."""

    kind: str
    lines: tuple[str, ...]
    level: int = 0

    @property
    def rows(self) -> list[list[str]]:
        """The cells of a table, row by row, without the rule under its head."""
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in self.lines]
        return [row for row in rows if not all(re.fullmatch(r"-+", cell) for cell in row)]


def read_source(text: str) -> Iterator[Element]:
    """Split a source at its blank lines into elements."""
    for piece in re.split(r"\n\s*\n", text.strip()):
        lines = tuple(piece.split("\n"))
        if heading := re.fullmatch(r"(#+) (.+)", piece):
            yield Element("heading", (heading[2],), len(heading[1]))
        elif lines[0].startswith("- "):
            yield Element("bullets", tuple(line.removeprefix("- ") for line in lines))
        elif re.match(r"\d+\. ", lines[0]):
            yield Element("numbers", tuple(re.sub(r"^\d+\. ", "", line) for line in lines))
        elif lines[0].startswith("|"):
            yield Element("table", lines)
        else:
            yield Element("paragraph", (" ".join(lines),))


def title_of(elements: list[Element]) -> str:
    """The text of the first heading."""
    return next(element.lines[0] for element in elements if element.kind == "heading")


def pdf_styles() -> dict[str, ParagraphStyle]:
    """The styles of a page, by kind of element; headings by their level."""
    body = ParagraphStyle(
        "body", fontName="Times-Roman", fontSize=12, leading=16.5, spaceAfter=8, allowWidows=0, allowOrphans=0
    )
    bold = {"fontName": "Helvetica-Bold", "textColor": INK, "keepWithNext": True}
    return {
        "paragraph": body,
        "item": ParagraphStyle("item", parent=body, spaceAfter=3),
        "1": ParagraphStyle("title", fontSize=21, leading=26, spaceAfter=12, **bold),
        "2": ParagraphStyle("section", fontSize=13.5, leading=17, spaceBefore=11, spaceAfter=6, **bold),
    }


def pdf_flowable(element: Element, styles: dict[str, ParagraphStyle]) -> Flowable:
    """Set one element; raises ValueError for a table, which no PDF source has."""
    if element.kind == "heading":
        return Paragraph(escape(element.lines[0]), styles[str(element.level)])
    if element.kind == "paragraph":
        return Paragraph(escape(element.lines[0]), styles["paragraph"])
    if element.kind == "bullets":
        items = [Paragraph(escape(line), styles["item"]) for line in element.lines]
        return ListFlowable(items, bulletType="bullet", start="•")
    raise ValueError(f"a PDF source cannot hold: {element.kind}")


def build_pdf(elements: list[Element], binary: Binary) -> bytes:
    """Typeset a PDF with a running title from page 2 on, and page numbers."""
    title, buffer = title_of(elements), io.BytesIO()

    def furniture(canvas: Canvas, page: BaseDocTemplate) -> None:
        canvas.setFillColor(GREY)
        canvas.setFont("Helvetica", 8.5)
        if page.page > 1:
            canvas.drawString(26 * mm, A4[1] - 15 * mm, title)
        canvas.drawCentredString(A4[0] / 2, 13 * mm, str(page.page))

    document = BaseDocTemplate(
        buffer, pagesize=A4, title=title, author=binary.author, lang=binary.language, invariant=1
    )
    frame = Frame(26 * mm, 22 * mm, A4[0] - 52 * mm, A4[1] - 44 * mm, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate(frames=[frame], onPageEnd=furniture))
    styles = pdf_styles()
    document.build([pdf_flowable(element, styles) for element in elements])
    return buffer.getvalue()


def add_to_word(document: WordDocument, element: Element) -> None:
    """Append one element with Word's own styles."""
    if element.kind == "heading":
        document.add_heading(element.lines[0], level=element.level - 1)
    elif element.kind == "table":
        rows = element.rows
        table = document.add_table(rows=len(rows), cols=len(rows[0]), style="Light Grid Accent 1")
        for row, cells in zip(table.rows, rows, strict=True):
            for cell, text in zip(row.cells, cells, strict=True):
                cell.text = text
        document.add_paragraph()
    else:
        style = {"bullets": "List Bullet", "numbers": "List Number"}.get(element.kind)
        for line in element.lines:
            document.add_paragraph(line, style=style)


def build_docx(elements: list[Element], binary: Binary) -> bytes:
    """Write a Word file whose archive entries all bear the document's own date."""
    document = docx.Document()
    for element in elements:
        add_to_word(document, element)
    properties = document.core_properties
    properties.title, properties.author, properties.language = title_of(elements), binary.author, binary.language
    properties.created = properties.modified = binary.date
    properties.last_modified_by, properties.comments = binary.author, ""
    buffer = io.BytesIO()
    document.save(buffer)
    return dated_archive(buffer, binary.date)


def dated_archive(archive: io.BytesIO, date: datetime) -> bytes:
    """Copy a ZIP archive, giving every entry ``date`` instead of the time of writing."""
    stamp = (date.year, date.month, date.day, 0, 0, 0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name, stamp), old.read(name), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def build(folder: Path) -> list[Path]:
    """Build every binary document into ``folder`` (made if missing); return the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for binary in BINARIES:
        source = HERE / "sources" / f"{binary.source}.md"
        elements = list(read_source(source.read_text(encoding="utf-8")))
        make = build_pdf if binary.file.endswith(".pdf") else build_docx
        path = folder / binary.file
        path.write_bytes(make(elements, binary))
        written.append(path)
    return written


def main() -> None:
    """Build into the folder named on the command line."""
    parser = argparse.ArgumentParser(description="Build the PDF and DOCX example documents.")
    parser.add_argument("folder", type=Path, nargs="?", default=HERE / "documents")
    for path in build(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    main()
