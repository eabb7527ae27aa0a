"""``capibara chat``: a conversation at a prompt, or line by line from a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .collector import leave_out_what_is_loaded
from .interrupt import Interruption
from .invocation import Collection, Invocation, command
from .output import note, write_line

if TYPE_CHECKING:
    from ..assistant import Assistant
    from ..values import Answer

_HELP = """\
/sources  the passages that the last answer quotes
/new      begin a new conversation
/quit     leave (so do quit, exit and Ctrl-D); Ctrl-C stops the answer that is being written"""
_LEAVING = ("/quit", "/exit", "quit", "exit")


@command
def chat(invocation: Invocation, collection: Collection = None) -> None:
    """Ask question after question. Later ones may refer to earlier ones.

    \b
    /sources  the passages that the last answer quotes
    /new      begin a new conversation
    /help     list these commands
    /quit     leave; so do quit, exit and Ctrl-D
    Ctrl-C stops the answer that is being written.
    """
    with invocation.open_filled(collection, watch=True) as assistant:
        talk = Chat(assistant, collection, as_json=invocation.as_json)
        if sys.stdin.isatty():
            note("Ask your documents; /help lists the commands.")
        with _line_history(assistant.data_dir / "chat_history"):
            for line in _lines():
                try:
                    if not talk.take(line):
                        break
                except KeyboardInterrupt:  # came before the answer had begun
                    note("(stopped)")
    if invocation.as_json:
        invocation.emit({"answers": talk.answers})


class Chat:
    """One run of the prompt: takes lines, answers questions, obeys commands."""

    def __init__(self, assistant: Assistant, collection: str | None, *, as_json: bool) -> None:
        self.answers: list[Answer] = []
        self._assistant = assistant
        self._collection = collection
        self._as_json = as_json
        self._conversation = assistant.start_conversation(collection)

    def take(self, line: str) -> bool:
        """Handle one line; False when it asks to leave."""
        words = line.strip()
        if words.lower() in _LEAVING:
            return False
        if words == "/help":
            self._say(_HELP)
        elif words == "/new":
            self._conversation = self._assistant.start_conversation(self._collection)
            note("a new conversation")
        elif words == "/sources":
            self._sources()
        elif words.startswith("/"):
            note(f"{words.split()[0]} is not a command; /help lists them")
        elif words:
            self._answer(words)
            if len(self.answers) == 1:  # the models are loaded by now
                leave_out_what_is_loaded()
        return True

    def _answer(self, question: str) -> None:
        from .answers import show_stream

        with Interruption("(stopping)") as interruption:
            events = self._assistant.stream(
                question, self._collection, conversation=self._conversation, cancel=interruption.cancel
            )
            if self._as_json:
                from ..values import AnswerReady

                self.answers += [event.answer for event in events if isinstance(event, AnswerReady)]
                return
            if not sys.stdin.isatty():  # where no one types, the output alone must tell who said what
                if self.answers:
                    write_line()
                write_line(f"> {question}")
            self.answers.append(show_stream(events))

    def _sources(self) -> None:
        from .answers import show_citations

        citations = self.answers[-1].citations if self.answers else ()
        if citations:
            show_citations(citations, "")
        else:
            note("no answer yet that quotes a document")

    def _say(self, text: str) -> None:
        note(text) if self._as_json else write_line(text)


def _lines() -> Iterator[str]:
    """The lines of standard input, with a prompt on a terminal; Ctrl-C at the prompt clears the line."""
    prompt = "› " if sys.stdin.isatty() else ""
    while True:
        try:
            yield input(prompt)
        except EOFError:
            return
        except KeyboardInterrupt:
            note("\nCtrl-D or /quit leaves")


@contextlib.contextmanager
def _line_history(file: Path) -> Iterator[None]:
    """Line editing and a history kept in ``file``, where standard input is a terminal and there is readline."""
    if not sys.stdin.isatty():
        yield
        return
    try:
        import readline
    except ImportError:
        yield
        return
    if file.exists():
        readline.read_history_file(file)
    readline.set_history_length(1000)
    try:
        yield
    finally:
        readline.write_history_file(file)
