"""Shows an answer: its text as it comes, then the passages it quotes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..values import Answer, AnswerEvent, AnswerReady, Citation, TextDelta
from .output import name_on_line, note, one_line, plain, write_line
from .wrapping import WrappedText, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable

_QUOTATION_MARKS = (("«", "»"), ("„", "“"), ("“", "”"))


def show_stream(events: Iterator[AnswerEvent]) -> Answer:
    """Write the text of ``events`` as it arrives, then the citations; return the answer."""
    answer = None
    shown = ShownAnswer()
    for event in events:
        if isinstance(event, TextDelta):
            shown.add(event.text)
        elif isinstance(event, AnswerReady):
            answer = event.answer
    if answer is None:
        raise RuntimeError("the stream ended without an answer")
    shown.finish(answer)
    return answer


class ShownAnswer:
    """An answer on its way to standard output."""

    def __init__(self) -> None:
        self._text = WrappedText()

    def add(self, text: str) -> None:
        """Show the next piece of its text."""
        self._text.write(text)

    def finish(self, answer: Answer | None) -> None:
        """End the text, and show the citations; None: the answer was cut short."""
        self._text.finish()
        if answer is None:
            return
        if answer.citations:
            write_line()
            show_citations(answer.citations, answer.text)
        for part in answer.degraded:
            note(f"capibara: answered without full strength: {part}")
        sys.stdout.flush()


def show_citations(citations: Iterable[Citation], answer: str) -> None:
    """One line for each, ``[1] document, page N``; its quote follows where the text of ``answer`` lacks it."""
    shown = one_line(answer)
    opening, closing = next((pair for pair in _QUOTATION_MARKS if pair[0] in answer), _QUOTATION_MARKS[-1])
    for citation in citations:
        page = f", page {citation.page}" if citation.page is not None else ""
        quote = one_line(citation.quote)
        behind = "" if quote in shown else f": {opening}{quote}{closing}"
        line = f"[{citation.marker}] {_place(citation.document)}{page}{behind}"
        write_line(wrapped(line))


def _place(document: str) -> str:
    """A document's path, relative to the working directory where it lies below it; else its file name."""
    path = Path(document)
    return name_on_line(str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name)


def answer_document(answer: Answer) -> dict[str, Any]:
    """The answer as a JSON document."""
    return plain(answer)
