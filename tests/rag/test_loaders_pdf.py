"""PDF: paragraphs out of lines, headings, pages, pages without text, damage, encryption."""

import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from capibara.config.schema import RagSettings
from capibara.rag.errors import DocumentError
from capibara.rag.loaders.pdf import PdfLoader
from capibara.rag.loaders.pdf_layout import PageLayout
from capibara.rag.loaders.pdf_lines import Line

WRAPPED = [
    "The estuary of the northern river is one of the few places",
    "where the grey heron and the spoonbill breed side by side in",
    "old willows that nobody has cut since the flood of that year.",
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "document.pdf"


def load(path, **settings):
    return PdfLoader(RagSettings(**settings)).load(path)


def write(path, pages, *, size=10.0, encrypt=None, title=None):
    """Each page is a list of lines: a text, or (text, type size); None leaves a gap."""
    canvas = Canvas(str(path), pagesize=(400, 600), encrypt=encrypt)
    if title:
        canvas.setTitle(title)
    for page in pages:
        y = 560.0
        for line in page:
            text, points = line if isinstance(line, tuple) else (line, size)
            if text is not None:
                canvas.setFont("Helvetica", points)
                canvas.drawString(40, y, text)
            y -= 1.3 * points
        canvas.showPage()
    canvas.save()


def lines(texts, *, size=10.0, top=500.0, width=5.0, left=40.0):
    return [Line(text, left, left + width * len(text), top - 12 * i, size, bold=False) for i, text in enumerate(texts)]


def layout(*pages):
    made = PageLayout()
    for page in pages:
        made.learn(page)
    return [block for number, page in enumerate(pages, 1) for block in made.blocks(page, number)]


def test_wrapped_lines_become_one_paragraph_and_gaps_part_paragraphs(path):
    write(path, [[*WRAPPED, None, *WRAPPED]])
    paragraph = " ".join(WRAPPED) + "\n\n"
    assert [block.text for block in load(path).blocks()] == [paragraph, paragraph]


def test_short_lines_stay_lines(path):
    write(path, [["Parts 2,100", "Labor 375", "TOTAL 2,475"]])
    assert [block.text for block in load(path).blocks()] == ["Parts 2,100\nLabor 375\nTOTAL 2,475\n\n"]


def test_larger_type_marks_headings_and_the_largest_gives_the_title(path):
    write(path, [[("Birds of the Estuary", 20), None, *WRAPPED, None, ("Their nests", 14), *WRAPPED]])
    document = load(path)
    assert document.title == "Birds of the Estuary"
    assert [(b.text.strip(), b.heading) for b in document.blocks() if b.heading] == [
        ("Birds of the Estuary", 1),
        ("Their nests", 2),
    ]


@pytest.mark.parametrize(
    ("declared", "title"),
    [("A real title", "A real title"), ("Microsoft Word - x.docx", None), ("untitled", None), ("scan_0042", None)],
)
def test_a_declared_title_counts_unless_it_is_a_file_name(path, declared, title):
    write(path, [WRAPPED], title=declared)
    assert load(path).title == title


def test_pages_are_physical_and_pages_without_text_are_reported(path):
    write(path, [["One here."], [], ["Three here."]])
    document = load(path)
    assert document.pages == 3
    assert [(block.text.strip(), block.page) for block in document.blocks()] == [("One here.", 1), ("Three here.", 3)]
    assert list(document.warnings) == ["1 of 3 pages hold no text; images need OCR, which this version does not do"]


@pytest.mark.parametrize("count", [1, 40])
def test_a_file_of_images_alone_is_refused(path, count):
    write(path, [[]] * count)
    with pytest.raises(DocumentError, match=r"no text layer; page images need OCR"):
        load(path)


def test_many_pages_come_in_order(path):
    write(path, [[f"This is page {i}."] for i in range(1, 41)])
    assert [block.text.strip() for block in load(path).blocks()] == [f"This is page {i}." for i in range(1, 41)]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_refused(path, share):
    write(path, [WRAPPED] * 5)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DocumentError, match=r"damaged or truncated|no text layer"):
        list(load(path).blocks())


@pytest.mark.parametrize("content", [b"just text", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n"])
def test_other_content_is_no_pdf(path, content):
    path.write_bytes(content)
    with pytest.raises(DocumentError, match=r"^not a PDF: its content is "):
        load(path)


def test_an_empty_user_password_opens_without_asking(path):
    write(path, [["Open to all."]], encrypt=StandardEncryption("", ownerPassword="owner", strength=128))
    assert next(load(path).blocks()).text == "Open to all.\n\n"


def test_the_passwords_of_the_settings_are_tried(path):
    write(path, [["Secret."]], encrypt=StandardEncryption("right", ownerPassword="owner", strength=128))
    assert next(load(path, pdf_passwords=("wrong", "right")).blocks()).text == "Secret.\n\n"


@pytest.mark.parametrize("passwords", [(), ("wrong",)])
def test_an_unknown_password_is_asked_for(path, passwords):
    write(path, [["Secret."]], encrypt=StandardEncryption("right", ownerPassword="owner", strength=128))
    with pytest.raises(DocumentError, match=r"encrypted: .*rag\.pdf_passwords"):
        load(path, pdf_passwords=passwords)


@pytest.mark.parametrize(
    ("first", "second", "elsewhere", "expected"),
    [
        ("is effi\x02", "cient at that", "", "is efficient at that"),
        ("is effi-", "cient at that", "", "is efficient at that"),
        ("a dual\x02", "encoder model", "the dual-encoder way", "a dual-encoder model"),
        ("the Lucene\x02", "BM25 engine", "", "the Lucene-BM25 engine"),
        ("an open\x02", "source engine", "open doors and source text", "an open-source engine"),
        ("we demon\x02", "strate this", "to demonstrate that", "we demonstrate this"),
    ],
)
def test_hyphens_at_line_ends_stay_only_where_they_belong(first, second, elsewhere, expected):
    page = lines([first, second])
    blocks = layout(page, lines([elsewhere or "nothing"]))
    assert blocks[0].text == expected + "\n\n"


def test_raised_signs_stay_in_their_line():
    page = [
        Line("as seen in practice", 40, 135, 500, 10, bold=False),
        Line("2", 135, 139, 504, 6, bold=False),
        Line(", and so on", 139, 190, 500, 10, bold=False),
    ]
    assert [block.text for block in layout(page)] == ["as seen in practice2, and so on\n\n"]


def test_a_paragraph_goes_on_in_the_next_column():
    left = lines(["words that fill the line", "until the column ends and"], top=100)
    right = lines(["then go on at its top.", "New sentence here too."], top=500, left=300)
    blocks = layout(left + right)
    assert blocks[0].text.startswith("words that fill the line until the column ends and then go on at its top.")
