"""Shows an answer: its text as it comes, then the passages it quotes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..values import Answer, AnswerEvent, AnswerReady, Citation, TextDelta
from .output import note, one_line, plain, printable, write_line

if TYPE_CHECKING:
    from collections.abc import Iterable


def show_stream(events: Iterator[AnswerEvent]) -> Answer:
    """Write the text of ``events`` as it arrives, then the citations; return the answer."""
    answer = None
    for event in events:
        if isinstance(event, TextDelta):
            sys.stdout.write(printable(event.text))
            sys.stdout.flush()
        elif isinstance(event, AnswerReady):
            answer = event.answer
    if answer is None:
        raise RuntimeError("the stream ended without an answer")
    write_line()
    if answer.citations:
        write_line()
        show_citations(answer.citations)
    for part in answer.degraded:
        note(f"capibara: answered without full strength: {part}")
    sys.stdout.flush()
    return answer


def show_citations(citations: Iterable[Citation]) -> None:
    """One line for each: ``[1] document, page N: “quote”``."""
    for citation in citations:
        page = f", page {citation.page}" if citation.page is not None else ""
        write_line(f"[{citation.marker}] {citation.document}{page}: “{one_line(citation.quote)}”")


def answer_document(answer: Answer) -> dict[str, Any]:
    """The answer as a JSON document."""
    return plain(answer)
