"""Plain text: encodings, binary data, paragraphs, headings, bounded memory."""

import tracemalloc

import pytest

from capibara.config.schema import RagSettings
from capibara.rag.chunking import chunk
from capibara.rag.embedding import open_embedder
from capibara.rag.errors import DocumentError
from capibara.rag.loaders.text import LONGEST_BLOCK, TextLoader, paragraphs

SPANISH = "El señor Núñez añadió: «¿Qué pingüino?»\n\nNadie respondió."
GERMAN = "Grüße aus Köln, wo die Straßen früh geräumt werden."
JAPANESE = "名前は佐藤太郎です。東京に住んでいます。"
RUSSIAN = "Широкая электрификация южных губерний даст мощный толчок подъёму сельского хозяйства. " * 6


@pytest.fixture
def path(tmp_path):
    return tmp_path / "document.txt"


def load(path):
    return TextLoader(RagSettings()).load(path)


def read(path):
    document = load(path)
    return "".join(block.text for block in document.blocks()), list(document.warnings)


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_is_read_without_a_word(path, codec):
    path.write_bytes((SPANISH + JAPANESE).encode(codec))
    assert read(path) == (SPANISH + JAPANESE, [])


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (SPANISH, "cp1252"),
        (GERMAN, "cp1252"),
        ("können äöüß", "cp1252"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"),
        ("我们在北京的大学学习中文，天气很好。", "gb18030"),
        ("안녕하세요 세계 여러분 반갑습니다", "cp949"),
        (RUSSIAN, "cp1251"),
        ("Plain words in sixteen bits, no mark before them.", "utf-16-le"),
    ],
)
def test_other_encodings_are_guessed_and_the_guess_is_said(path, text, codec):
    path.write_bytes(text.encode(codec))
    assert read(path) == (text, [f"decoded as {codec}: it is not UTF-8"])


def test_bytes_that_do_not_decode_are_counted(path):
    path.write_bytes(GERMAN.encode("cp1252") * 3000 + b"\x81\x8d")
    text, warnings = read(path)
    assert text.count("�") == 2
    assert warnings[1] == "2 characters could not be decoded as cp1252"


def test_a_character_may_stand_across_two_pieces(path):
    text = "x" * 8191 + "ñ€漢" * 20_000
    path.write_text(text, encoding="utf-8")
    assert read(path)[0] == text


def test_line_ends_become_one_kind(path):
    path.write_bytes(b"one\r\ntwo\rthree\n")
    assert read(path)[0] == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"%PDF-1.7 \n", "its content is a PDF file"),
        (b"PK\x03\x04abc", "its content is a ZIP archive"),
        (b"text " * 20_000 + b"\0\0more", "binary data"),
        (bytes(range(1, 32)) * 10, "binary data"),
    ],
)
def test_binary_data_under_a_text_name_is_refused(path, content, reason):
    path.write_bytes(content)
    with pytest.raises(DocumentError, match=f"not text: {reason}"):
        load(path)


def test_white_space_alone_is_no_document(path):
    path.write_text(" \n\n\t\n")
    with pytest.raises(DocumentError, match=r"empty: it holds no text"):
        load(path)


def test_blocks_are_paragraphs_and_join_to_the_text(path):
    text = "First paragraph\nin two lines.\n\n\nSecond one.\n \nThird."
    path.write_text(text)
    blocks = [block.text for block in load(path).blocks()]
    assert len(blocks) == 3
    assert "".join(blocks) == text


def test_a_short_line_above_a_long_paragraph_is_a_heading_and_the_first_is_the_title(path):
    body = "This paragraph is long enough to be told from a heading, since it fills more than one line of text.\n\n"
    path.write_text("The Harbour\n\n" + body + "Its boats\n\n" + body + "The end.\n")
    document = load(path)
    assert document.title == "The Harbour"
    assert [block.text.strip() for block in document.blocks() if block.heading] == ["The Harbour", "Its boats"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("VEHICLES\nRules for all drivers of the station\n\nMore.", "VEHICLES"),
        ("The quick brown fox jumps over\nThe lazy dog\n\nMore.", None),
        ("the second half of a sentence\nThat was broken here and goes on for long\n", None),
        ("Only this line", None),
    ],
)
def test_a_first_line_that_was_ended_on_purpose_is_the_title(path, text, title):
    path.write_text(text)
    assert load(path).title == title


@pytest.mark.parametrize("sizes", [1, 7, 1000, 100_000])
def test_paragraphs_do_not_depend_on_the_pieces_they_come_in(sizes):
    text = "Some words. More words here.\n\n" * 3000 + "tail"
    pieces = [text[i : i + sizes] for i in range(0, len(text), sizes)]
    assert list(paragraphs(pieces)) == list(paragraphs([text]))


@pytest.mark.parametrize("unit", ["word ", "Sentence one here. ", "x", "\n", "line\n"])
def test_no_block_grows_without_end(unit):
    text = unit * (300_000 // len(unit))
    parts = list(paragraphs(text[i : i + 65536] for i in range(0, len(text), 65536)))
    assert "".join(parts) == text
    assert max(map(len, parts)) <= 2 * LONGEST_BLOCK


def write_large(path, megabytes):
    line = "The ferry to the northern islands leaves at seven and returns at dusk, weather permitting.\n"
    page = (line * 6 + "\n") * 200
    with path.open("w") as file:
        for _ in range(megabytes * 2**20 // len(page)):
            file.write(page)


def peak_of(walk) -> int:
    tracemalloc.start()
    try:
        for _ in walk:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_large_file_is_read_in_bounded_memory(path):
    write_large(path, 24)
    assert peak_of(load(path).blocks()) < 4 * 2**20


def test_a_large_file_is_cut_in_bounded_memory(path):
    write_large(path, 1)
    embedder = open_embedder(RagSettings())
    embedder.token_offsets("load the tokenizer")
    assert peak_of(chunk(load(path).blocks(), embedder, document_id="d", title="t")) < 2**20
