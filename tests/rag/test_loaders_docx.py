"""Word documents: order, headings, lists, tables, revisions, notes; bad and hostile archives."""

import zipfile
from itertools import islice

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from capibara.config.schema import RagSettings
from capibara.rag.errors import DocumentError
from capibara.rag.loaders.docx import DocxLoader

NAMESPACE = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "document.docx"


def load(path, **settings):
    return DocxLoader(RagSettings(**settings)).load(path)


def text(path) -> str:
    return "".join(block.text for block in load(path).blocks())


def write_parts(path, body: str, **parts: str):
    document = f'<w:document xmlns:w="{NAMESPACE}"><w:body>{body}</w:body></w:document>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", parts.pop("prolog", "") + document)
        for name, content in parts.items():
            archive.writestr(f"word/{name}.xml", content)


def test_paragraphs_headings_lists_and_tables_keep_their_order(path):
    document = docx.Document()
    document.add_heading("Harbour", level=1)
    document.add_paragraph("Boats leave daily.")
    table = document.add_table(rows=3, cols=3)
    for row, cells in zip(
        table.rows, [("Boat", "Seats", "Port"), ("Ana", "40", "West"), ("Eva", "9", "")], strict=True
    ):
        for cell, value in zip(row.cells, cells, strict=True):
            cell.text = value
    document.add_heading("Fares", level=2)
    document.add_paragraph("adults", style="List Bullet")
    document.add_paragraph("children", style="List Number")
    document.add_paragraph("The end.")
    document.save(str(path))
    blocks = [block for block in load(path).blocks() if block.text.strip()]
    assert [(block.text.strip(), block.heading, block.kind) for block in blocks] == [
        ("Harbour", 1, "prose"),
        ("Boats leave daily.", None, "prose"),
        ("Boat | Seats | Port\nBoat: Ana; Seats: 40; Port: West\nBoat: Eva; Seats: 9", None, "rows"),
        ("Fares", 2, "prose"),
        ("- adults", None, "prose"),
        ("- children", None, "prose"),
        ("The end.", None, "prose"),
    ]


def test_a_declared_title_is_the_title(path):
    document = docx.Document()
    document.core_properties.title = "Fares and seats"
    document.add_heading("Other", level=1)
    document.save(str(path))
    assert load(path).title == "Fares and seats"


def test_a_style_inherits_its_heading_level(path):
    document = docx.Document()
    style = document.styles.add_style("House heading", docx.enum.style.WD_STYLE_TYPE.PARAGRAPH)
    style.base_style = document.styles["Heading 3"]
    document.add_paragraph("Deep", style=style)
    document.save(str(path))
    assert [block.heading for block in load(path).blocks()] == [3]


def test_insertions_are_read_deletions_are_not(path):
    write_parts(
        path,
        "<w:p><w:r><w:t>We </w:t></w:r><w:del><w:r><w:delText>never </w:delText><w:t>not </w:t></w:r></w:del>"
        "<w:ins><w:r><w:t>always</w:t></w:r></w:ins><w:r><w:t> sail.</w:t></w:r></w:p>",
    )
    assert text(path) == "We always sail.\n\n"


def test_tabs_breaks_hyphens_links_controls_and_formulas_are_read(path):
    math = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
    write_parts(
        path,
        "<w:sdt><w:sdtContent><w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/></w:r>"
        f"<w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink><m:oMath {math}><m:r><m:t>x</m:t></m:r></m:oMath>"
        "<w:r><w:instrText>PAGE</w:instrText></w:r></w:p></w:sdtContent></w:sdt>",
    )
    assert text(path) == "a\tb\nc-linkx\n\n"


def test_text_boxes_are_read_once(path):
    box = "<w:txbxContent><w:p><w:r><w:t>Boxed.</w:t></w:r></w:p></w:txbxContent>"
    compat = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    write_parts(
        path,
        f"<w:p><w:r><w:t>Plain.</w:t><mc:AlternateContent {compat}><mc:Choice>{box}</mc:Choice>"
        f"<mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r></w:p>",
    )
    assert text(path) == "Plain.\n\nBoxed.\n\n"


@pytest.mark.parametrize("depth", [1, 2, 40])
def test_text_boxes_in_text_boxes_are_each_read_once_in_order(path, depth):
    body = ""
    for level in reversed(range(depth)):
        box = f"<w:r><w:txbxContent>{body}</w:txbxContent></w:r>" if body else ""
        body = f"<w:p><w:r><w:t>Box {level}.</w:t></w:r>{box}</w:p><w:p><w:r><w:t>After {level}.</w:t></w:r></w:p>"
    write_parts(path, f"<w:p><w:r><w:txbxContent>{body}</w:txbxContent></w:r></w:p>")
    order = [f"Box {level}." for level in range(depth)] + [f"After {level}." for level in reversed(range(depth))]
    blocks = list(islice((block.text.strip() for block in load(path).blocks()), 2 * depth + 1))
    assert blocks == order


def test_nested_tables_are_read_into_their_cell_and_footnotes_at_the_end(path):
    def cell(inner):
        return f"<w:tc>{inner}</w:tc>"

    def paragraph(words):
        return f"<w:p><w:r><w:t>{words}</w:t></w:r></w:p>"

    nested = f"<w:tbl><w:tr>{cell(paragraph('inner'))}</w:tr></w:tbl>"
    notes = f'<w:footnotes xmlns:w="{NAMESPACE}"><w:footnote>{paragraph("A note.")}</w:footnote></w:footnotes>'
    table = f"<w:tbl><w:tr>{cell(paragraph('outer') + nested)}{cell(paragraph('beside'))}</w:tr></w:tbl>"
    write_parts(path, table + paragraph("After."), footnotes=notes)
    assert text(path) == "outer inner | beside\n\nAfter.\n\nA note.\n\n"


def test_a_long_document_is_streamed(path):
    paragraph = "<w:p><w:r><w:t>The ferry leaves at seven. </w:t></w:r></w:p>"
    write_parts(path, paragraph * 20_000)
    assert sum(1 for _ in load(path).blocks()) == 20_000


def test_a_document_without_text_is_empty(path):
    docx.Document().save(str(path))
    with pytest.raises(DocumentError, match=r"empty: it holds no text"):
        load(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"plain text", "^not a Word document: its content is no ZIP archive$"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "old binary or an encrypted Office document"),
        (b"%PDF-1.4", "its content is a PDF file"),
        (b"PK\x03\x04 and no more", "^damaged or truncated: not a complete ZIP archive"),
    ],
)
def test_what_is_no_archive_says_what_it_is(path, content, reason):
    path.write_bytes(content)
    with pytest.raises(DocumentError, match=reason):
        load(path)


def test_another_kind_of_archive_is_no_word_document(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "x")
    with pytest.raises(DocumentError, match=r"not a Word document: it has no part word/document\.xml"):
        load(path)


def test_a_bomb_is_refused_by_its_declared_size(path):
    write_parts(path, " " * (3 * 2**20))
    with pytest.raises(DocumentError, match=r"unpacks to more than rag.max_unpacked_mb, 2 MiB"):
        load(path, max_unpacked_mb=2)


def test_a_bomb_is_refused_by_its_ratio(path):
    write_parts(path, " " * (20 * 2**20))
    with pytest.raises(DocumentError, match=r"suspected zip bomb: it unpacks to [0-9,]+ times its size"):
        load(path)


def test_an_archive_that_lies_about_its_sizes_does_not_unpack_further(path):
    write_parts(path, "<w:p><w:r><w:t>" + "x" * 2**20 + "</w:t></w:r></w:p>")
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DocumentError, match=r"^damaged"):
        list(load(path).blocks())


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED])
def test_a_part_whose_packed_bytes_are_damaged_is_damage(path, method):
    body = "".join(f"<w:p><w:r><w:t>Line {n}, {n * n}.</w:t></w:r></w:p>" for n in range(3000))
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{NAMESPACE}"><w:body>{body}</w:body></w:document>')
        begin, size = len("word/document.xml") + 30, archive.infolist()[0].compress_size
    data = bytearray(path.read_bytes())
    for offset in range(begin + 9, begin + size, 101):
        data[offset] ^= 255
    path.write_bytes(data)
    with pytest.raises(DocumentError, match=r"^damaged: its part word/document\.xml"):
        list(load(path).blocks())


def test_declared_entities_are_refused(path):
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'
    write_parts(path, "<w:p><w:r><w:t>&b;</w:t></w:r></w:p>", prolog=bomb)
    with pytest.raises(DocumentError, match=r"declares XML entities"):
        list(load(path).blocks())


@pytest.mark.parametrize("part", ["document", "styles"])
def test_broken_xml_is_damage(path, part):
    write_parts(
        path,
        "<w:p><w:r><w:t>open" if part == "document" else "<w:p/>",
        **({} if part == "document" else {"styles": "<w"}),
    )
    with pytest.raises(DocumentError, match=rf"damaged: its part word/{part}\.xml is not well-formed XML"):
        list(load(path).blocks())


def test_an_outline_level_makes_a_heading(path):
    document = docx.Document()
    paragraph = document.add_paragraph("Levelled")
    paragraph._p.get_or_add_pPr().append(parse_xml(f'<w:outlineLvl {nsdecls("w")} w:val="1"/>'))
    document.save(str(path))
    assert [block.heading for block in load(path).blocks()] == [2]
