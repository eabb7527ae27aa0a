"""HTML: main content only, headings, lists, tables, code, encodings."""

import pytest

from capibara.config.schema import RagSettings
from capibara.rag.errors import DocumentError
from capibara.rag.loaders.html import HtmlLoader

LONG = "The estuary is home to four thousand wading birds in winter. " * 5


@pytest.fixture
def load(tmp_path):
    def write_and_load(markup: str | bytes):
        path = tmp_path / "document.html"
        path.write_bytes(markup if isinstance(markup, bytes) else markup.encode())
        return HtmlLoader(RagSettings()).load(path)

    return write_and_load


def text(document) -> str:
    return "".join(block.text for block in document.blocks())


def test_boilerplate_around_the_content_is_left_out(load):
    page = f"""<html><head><title>T</title><style>p {{}}</style><script>var x = "scripted";</script></head><body>
    <header><a href=/>Home page</a></header><nav><ul><li><a>Navigate</a></ul></nav>
    <div class="sidebar"><a>Sidebar</a></div><div class=cookie-banner>Cookies</div>
    <p>{LONG}</p><p style="display:none">Invisible</p><p hidden>Hidden too</p><aside>Aside</aside>
    <footer>Imprint</footer></body></html>"""
    assert text(load(page)).strip() == LONG.strip()


@pytest.mark.parametrize("tag", ["main", "article", 'div role="main"'])
def test_the_marked_main_content_is_preferred(load, tag):
    name = tag.split()[0]
    page = f"<body><div>Promotion everywhere</div><{tag}><header><h1>Birds</h1></header><p>{LONG}</p></{name}></body>"
    assert text(load(page)) == f"Birds\n\n{LONG.strip()}\n\n"


def test_a_list_of_links_outside_the_content_is_left_out(load):
    links = "".join(f"<li><a href=/{i}>Link {i}</a></li>" for i in range(12))
    read = text(load(f"<body><ul>{links}</ul><p>{LONG}</p><ul><li>a plain item</li></ul></body>"))
    assert "Link 3" not in read
    assert "- a plain item" in read


def test_a_page_that_is_all_boilerplate_is_read_as_it_is(load):
    assert "Only this menu" in text(load('<body><div class="menu">Only this menu</div></body>'))


def test_headings_have_levels_and_the_title_drops_the_sites_name(load):
    document = load("<title>Birds | Site</title><h1>Birds</h1><p>a</p><h3>Herons <em>grey</em></h3><p>b</p>")
    assert document.title == "Birds"
    assert [(b.text.strip(), b.heading) for b in document.blocks() if b.heading] == [("Birds", 1), ("Herons grey", 3)]


def test_lists_breaks_and_entities(load):
    page = "<p>one<br>two &amp; 3&nbsp;m</p><ul><li>first<li>second<ol><li>inner</ol></ul><p>end"
    assert text(load(page)).split("\n") == [
        "one",
        "two & 3 m",
        "",
        "- first",
        "- second",
        "  - inner",
        "",
        "end",
        "",
        "",
    ]


def test_preformatted_text_is_code_with_its_lines(load):
    (code,) = [b for b in load("<p>a</p><pre><code>x = 1\n  y\n</code></pre>").blocks() if b.kind == "code"]
    assert code.text == "x = 1\n  y\n\n"


def test_a_table_with_a_header_names_the_columns_in_each_row(load):
    page = "<table><tr><th>Bird<th>Count<tr><td>Heron<td>40<tr><td>Teal<td>900</table>"
    assert text(load(page)) == "Bird: Heron; Count: 40\nBird: Teal; Count: 900\n\n"


def test_a_table_of_names_and_values_is_read_row_by_row(load):
    people = "<ul><li>A</li><li>B</li></ul>"
    page = f"<table><tr><th>Founded</th><td>1975</td></tr><tr><th>By</th><td>{people}</td></tr></table>"
    assert text(load(page)) == "Founded: 1975\nBy: A, B\n\n"


def test_a_table_that_lays_out_the_page_is_walked_into(load):
    page = f"<table><tr><td><h1>Title</h1></td><td><p>{LONG}</p></td></tr></table>"
    assert text(load(page)) == f"Title\n\n{LONG.strip()}\n\n"


@pytest.mark.parametrize(
    ("declaration", "codec"),
    [
        ('<meta charset="windows-1251">', "cp1251"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=shift_jis">', "shift_jis"),
        ('<?xml version="1.0" encoding="iso-8859-2"?>', "iso8859_2"),
        ('<meta charset="utf-8">', "utf-16"),
        ('<meta charset="nonsense">', "utf-8"),
        ("", "utf-8"),
    ],
)
def test_the_byte_order_mark_then_utf8_then_the_declared_charset_count(load, declaration, codec):
    word = {"cp1251": "Привет", "shift_jis": "東京", "iso8859_2": "Łódź"}.get(codec, "Łódź 東京")
    document = load(f"{declaration}<body><p>{word}</p></body>".encode(codec))
    assert text(document).strip() == word
    assert list(document.warnings) == []


@pytest.mark.parametrize("page", ["<html></html>", "   ", "<script>x</script>", "<!-- only a comment -->"])
def test_a_page_without_text_is_empty(load, page):
    with pytest.raises(DocumentError, match=r"empty"):
        load(page)


def test_control_characters_are_no_obstacle(load):
    read = text(
        load("<nav>menu</nav>a&#1;b\x02c<sup class=reference>[1]</sup>\x0bd <table><tr><th>k&#3;<td>v<br>&#4;w</table>")
    )
    assert "menu" not in read
    assert read.startswith("a")


def test_deep_nesting_is_no_obstacle(load):
    assert "deep" in text(load("<div>" * 1500 + "deep" + "</div>" * 1500))
