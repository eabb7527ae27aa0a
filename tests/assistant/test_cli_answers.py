"""How an answer is laid out: wrapped on a terminal, its citations without what the answer has shown already."""

from __future__ import annotations

import io
import sys

import pytest

from capibara.assistant.cli.answers import show_citations, show_stream
from capibara.assistant.values import Answer, AnswerReady, Citation, TextDelta

QUOTE = "Die Boje\nbrennt."
CITATION = Citation(1, "/far/away/boje.pdf", "d1", "Boje", 2, 0, len(QUOTE), QUOTE)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ("„Die Boje brennt.“ [1]", "[1] boje.pdf, page 2\n"),
        ("Sie brennt. „Ja“ [1]", "[1] boje.pdf, page 2: „Die Boje brennt.“\n"),
        ("Sí, «arde». [1]", "[1] boje.pdf, page 2: «Die Boje brennt.»\n"),
        ("It burns. [1]", "[1] boje.pdf, page 2: “Die Boje brennt.”\n"),
    ],
)
def test_a_quote_follows_only_where_the_answer_lacks_it_in_the_marks_of_the_answer(capsys, answer, line):
    show_citations([CITATION], answer)
    assert capsys.readouterr().out == line


def test_a_document_below_the_working_directory_is_named_by_its_relative_path(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    show_citations([Citation(1, str(tmp_path / "in" / "a.md"), "d", "a", None, 0, 1, "x")], "“x” [1]")
    assert capsys.readouterr().out == "[1] in/a.md\n"


@pytest.mark.parametrize("pieces", [["one"], ["a b " * 40], ["long", "er wo", "rds ", "and 灯台 の 光 " * 9, "w" * 50]])
@pytest.mark.parametrize("terminal", [True, False])
def test_streamed_text_is_wrapped_between_words_on_a_terminal_only(monkeypatch, pieces, terminal):
    from rich.cells import cell_len

    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "30")
    text = "".join(pieces)
    show_stream(iter([*map(TextDelta, pieces), AnswerReady(Answer(text, "?"))]))
    lines = screen.getvalue().splitlines()
    if terminal:
        assert " ".join(screen.getvalue().split()) == " ".join(text.split())
        assert [line for line in lines if cell_len(line) > 30 and " " in line] == []
    else:
        assert lines == [text]
