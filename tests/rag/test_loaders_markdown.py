"""Markdown without its markup: headings, code, tables, lists, admonitions, front matter, inline."""

import pytest

from capibara.config.schema import RagSettings
from capibara.rag.loaders.markdown import MarkdownLoader
from capibara.rag.loaders.markdown_inline import plain


@pytest.fixture
def load(tmp_path):
    def write_and_load(text: str):
        path = tmp_path / "document.md"
        path.write_text(text, encoding="utf-8")
        return MarkdownLoader(RagSettings()).load(path)

    return write_and_load


def texts(document):
    return [block.text.strip() for block in document.blocks() if block.text.strip()]


@pytest.mark.parametrize(
    ("markup", "seen"),
    [
        ("a **bold** and *slanted* __word__ _here_", "a bold and slanted word here"),
        ("***both*** ~~gone~~", "both gone"),
        ("snake_case_name and 2*3*4", "snake_case_name and 2*3*4"),
        ("[text](http://a.b/c_(d)) and [more][ref]", "text and more"),
        ('![a heron](x.png "title") stands', "a heron stands"),
        ("[![badge](b.svg)](link)", "badge"),
        ("<https://a.b/c>", "https://a.b/c"),
        ("`*literal*` and ``a ` b``", "*literal* and a ` b"),
        (r"\*not slanted\* 5 \< 6", "*not slanted* 5 < 6"),
        ("a<br>b <!-- hidden --> &amp; &copy;", "ab  & ©"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("[Alex] [1]", "[Alex] [1]"),
    ],
)
def test_inline_markup_is_taken_off(markup, seen):
    assert plain(markup) == seen


def test_both_kinds_of_headings_have_their_level(load):
    document = load("# One #\n\nTwo\n---\n\n### Three\ntext\n\nTop\n===\n")
    assert [(b.text.strip(), b.heading) for b in document.blocks() if b.heading] == [
        ("One", 1),
        ("Two", 2),
        ("Three", 3),
        ("Top", 1),
    ]


def test_code_keeps_its_lines_and_its_markup(load):
    document = load("Before\n```python\n# not a heading\nx = **1**\n\n    y\n```\nAfter")
    (code,) = [block for block in document.blocks() if block.kind == "code"]
    assert code.text.rstrip("\n") == "# not a heading\nx = **1**\n\n    y"


def test_an_unclosed_fence_reaches_to_the_end(load):
    assert texts(load("a\n\n~~~\n# b\n")) == ["a", "# b"]


def test_front_matter_gives_the_title_and_is_not_text(load):
    document = load('---\ntitle: "The guide"\ntags: [a]\n---\n# Heading\n')
    assert document.title == "The guide"
    assert texts(document) == ["Heading"]


def test_a_rule_at_the_top_is_no_front_matter(load):
    assert texts(load("---\nText after a rule.\n")) == ["Text after a rule."]


@pytest.mark.parametrize("count", [0, 1, 1200])
def test_table_rows_name_their_columns(load, count):
    rows = "".join(f"| n{i} | **{i}** | a \\| b |\n" for i in range(count))
    document = load(f"Intro\n\n| Name | Size | Note |\n|:-----|-----:|---|\n{rows}\nOutro\n")
    lines = [line for block in document.blocks() if block.kind == "rows" for line in block.text.splitlines() if line]
    expected = [f"Name: n{i}; Size: {i}; Note: a | b" for i in range(count)]
    assert lines == (expected or ["Name | Size | Note"])


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("!!! warning\n    Mind the step.", "Warning:\n    Mind the step."),
        ('!!! note "Good to know"\n    Text.', "Good to know:\n    Text."),
        ("> [!TIP]\n> Use less.", "Tip:\nUse less."),
        ("/// check | Done\nText.\n///", "Done:\nText."),
        (":::info\nText.\n:::", "Info:\nText."),
    ],
)
def test_admonitions_keep_their_name(load, markup, expected):
    assert "\n".join(texts(load(markup))) == expected


def test_quotes_rules_and_link_definitions_lose_their_marks(load):
    assert texts(load("> quoted\n> more\n\n***\n\n[ref]: http://x.y\n\nend")) == ["quoted\nmore", "end"]


def test_list_items_keep_their_lines_and_marks(load):
    assert texts(load("Intro:\n\n- one\n- **two**\n  - three\n1. four\n")) == [
        "Intro:",
        "- one\n- two\n  - three\n1. four",
    ]
