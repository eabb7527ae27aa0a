"""``capibara ask QUESTION``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .failures import INTERRUPTED
from .interrupt import Interruption
from .invocation import Collection, Invocation, command
from .output import note


@command
def ask(
    invocation: Invocation,
    question: Annotated[str, typer.Argument(help="What to ask; - reads it from standard input.")],
    collection: Collection = None,
) -> None:
    """Answer a question, with citations. The text is shown as it is written."""
    from .answers import answer_document, show_stream

    words = sys.stdin.read() if question == "-" else question
    with Interruption() as interruption, invocation.open_filled(collection) as assistant:
        if invocation.as_json:
            answer = assistant.ask(words, collection, cancel=interruption.cancel)
            invocation.emit(answer_document(answer))
        else:
            answer = show_stream(assistant.stream(words, collection, cancel=interruption.cancel))
    if interruption.cancel.is_set():
        note("capibara: the answer was cut short")
        raise typer.Exit(INTERRUPTED)
