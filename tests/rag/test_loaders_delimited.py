"""CSV and TSV: dialects, headers, titles, quoting, ragged rows, encodings, any length."""

import pytest

from capibara.config.schema import RagSettings
from capibara.rag.errors import DocumentError
from capibara.rag.loaders.delimited import DelimitedLoader


@pytest.fixture
def load(tmp_path):
    def write_and_load(content: str | bytes, name: str = "table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return DelimitedLoader(RagSettings()).load(path)

    return write_and_load


def lines(document) -> list[str]:
    return [line for block in document.blocks() for line in block.text.splitlines() if line]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(load, delimiter):
    content = "Name|City, State|Age\nAna|Lima; Peru|30\nBo|Rome|7\n".replace("|", delimiter)
    if delimiter in ",;":
        content = content.replace("City, State", '"City, State"').replace("Lima; Peru", '"Lima; Peru"')
    assert lines(load(content))[1:] == [
        "Name: Ana; City, State: Lima; Peru; Age: 30",
        "Name: Bo; City, State: Rome; Age: 7",
    ]


def test_the_header_keeps_its_own_line_and_names_every_value(load):
    assert lines(load("Code\tName\nCOP\tColombian peso\n", "currencies.tsv")) == [
        "Code | Name",
        "Code: COP; Name: Colombian peso",
    ]


def test_rows_without_a_header_are_read_as_they_are(load):
    assert lines(load("Ana,30\nBo,7\n")) == ["Ana | 30", "Bo | 7"]


def test_title_lines_above_the_header_are_prose_and_the_first_is_the_title(load):
    document = load("Stanley Cups,,\nupdated in June,,\nTeam,Location,Cups\nFlyers,PHI,2\n")
    assert document.title == "Stanley Cups"
    assert lines(document)[2:] == ["Team | Location | Cups", "Team: Flyers; Location: PHI; Cups: 2"]


def test_quoted_line_breaks_stay_in_their_row(load):
    assert lines(load('Name,Note,N\nAna,"two\nlines, ""quoted""",1\n'))[1:] == [
        'Name: Ana; Note: two lines, "quoted"; N: 1'
    ]


def test_ragged_rows_keep_every_value(load):
    assert lines(load("A,B,C\n1,2\n1,2,3,4\n\n,,\n5,,6\n"))[1:] == ["A: 1; B: 2", "A: 1; B: 2; C: 3; 4", "A: 5; C: 6"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [("only one value", ["only one value"]), ("a,b\n", ["a | b"]), ("x\ny\n", ["x", "x: y"])],
)
def test_a_table_of_one_row_or_column_is_read(load, content, expected):
    assert lines(load(content)) == expected


def test_another_encoding_is_guessed_and_said(load):
    document = load("名前,年齢\r\n佐藤太郎,30\r\n".encode("cp932"))
    assert lines(document)[1] == "名前: 佐藤太郎; 年齢: 30"
    assert list(document.warnings) == ["decoded as cp932: it is not UTF-8"]


def test_every_row_of_a_long_table_is_read_in_bounded_blocks(load):
    document = load("Id,Name\n" + "".join(f"{i},name {i}\n" for i in range(30_000)))
    blocks = list(document.blocks())
    assert {block.kind for block in blocks} == {"rows"}
    assert max(len(block.text) for block in blocks) < 10_000
    assert "".join(block.text for block in blocks).splitlines()[1:] == [
        f"Id: {i}; Name: name {i}" for i in range(30_000)
    ]


def test_an_open_quotation_mark_is_named_with_its_line(load):
    with pytest.raises(DocumentError, match=r"line [0-9]+: .*quotation mark left open"):
        lines(load('A,B\n1,"open\n' + "2,3\n" * 60_000))


@pytest.mark.parametrize("content", [",,\n,,\n", "\n\n"])
def test_a_table_without_values_is_empty(load, content):
    with pytest.raises(DocumentError, match=r"empty"):
        load(content)
