"""Notes, where the rooms meet, with which save's values each request works; two different ones are a mixed request.

Every save leaves a number in settings that go different ways: `rag.rrf_k` and `generation.seed` are that of the TOML
file, the text of `assistant.persona` ends in that of the text file. What the search is given, the models that were
opened, and what the language model is told must all belong to one save of each, and the two must have been in force
together.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from capibara.assistant import Assistant
from capibara.model import JaxLanguageModel


@dataclass(frozen=True, slots=True)
class Expected:
    """What goes with one save of the TOML file: part of the names of models, and plain values."""

    alpha: float
    reranker: str
    model: str
    context_tokens: int | None


@dataclass(slots=True)
class Seen:
    """What a request has met so far."""

    number: int = 0
    wrong: list[str] = field(default_factory=list)
    texts: set[int] = field(default_factory=set)
    model: str = ""


class Witness:
    """To be told of every save before it is made. ``mixed`` has a line for each request that met two; thread-safe."""

    def __init__(self) -> None:
        self.expected: dict[int, Expected] = {}
        self.together: set[tuple[int, int]] = set()
        self.mixed: list[str] = []
        self.numbers: set[int] = set()
        self._own = threading.local()

    @property
    def seen(self) -> Seen:
        """Of the request on this thread."""
        if not hasattr(self._own, "seen"):
            self.begin()
        return self._own.seen

    def begin(self) -> None:
        """A request begins on this thread."""
        self._own.seen = Seen()

    def check(self) -> None:
        """The request on this thread is over."""
        seen = self.seen
        together = all((seen.number, text) in self.together for text in seen.texts)
        self.numbers.add(seen.number)
        if seen.wrong or not together:
            self.mixed.append(f"save {seen.number}, texts {seen.texts}: {seen.wrong}")

    @contextlib.contextmanager
    def watching(self, assistant: Assistant) -> Iterator[None]:
        """Look on, without changing anything."""
        search, answered = assistant.library.search, assistant.stream
        generate, stream = JaxLanguageModel.generate, JaxLanguageModel.stream

        def watched_answers(*args, **options):
            self.begin()
            yield from answered(*args, **options)
            self.check()

        def watched_search(query, collection, settings, top_k=None, parts=None):
            self._searched(settings, parts)
            return search(query, collection, settings, top_k, parts)

        def watched_generate(model, prompt, sampling, *rest, **options):
            self._asked(model, prompt, sampling)
            return generate(model, prompt, sampling, *rest, **options)

        def watched_stream(model, prompt, sampling, *rest, **options):
            self._asked(model, prompt, sampling)
            return stream(model, prompt, sampling, *rest, **options)

        with (
            patch.object(assistant, "stream", watched_answers),
            patch.object(assistant.library, "search", watched_search),
            patch.object(JaxLanguageModel, "generate", watched_generate),
            patch.object(JaxLanguageModel, "stream", watched_stream),
        ):
            yield

    def _searched(self, settings: Any, parts: Any) -> None:
        expected = self._of(settings.rrf_k)
        reranker = parts.reranker.name if parts.reranker is not None else "none"
        _compare(self.seen, "alpha", settings.alpha, expected.alpha)
        _compare(self.seen, "reranker", settings.reranker, expected.reranker)
        _compare(self.seen, "open reranker", reranker, expected.reranker)

    def _asked(self, model: JaxLanguageModel, prompt: str | Sequence[Any], sampling: Any) -> None:
        if sampling.max_tokens == 2 and prompt == "a":  # a model that is loaded beside the one in use
            return
        if sampling.seed is None:  # a follow-up question is made to stand alone with a sampling of its own
            return
        expected = self._of(sampling.seed)
        self.seen.model = model.name
        _compare(self.seen, "model", expected.model in model.name, True)
        if expected.context_tokens is not None:
            _compare(self.seen, "context", model.context_tokens, expected.context_tokens)
        told = None if isinstance(prompt, str) else re.search(r"warden number (\d+)\.", prompt[0]["content"])
        if told is not None:
            self.seen.texts.add(int(told.group(1)))

    def _of(self, number: int) -> Expected:
        """What goes with the save that the request has met; it is to be the same from its first step to its last."""
        seen = self.seen
        seen.number = seen.number or number
        _compare(seen, "save", number, seen.number)
        return self.expected[seen.number]


def _compare(seen: Seen, name: str, value: object, expected: object) -> None:
    if value != expected:
        seen.wrong.append(f"{name} {value!r}, not {expected!r}")
