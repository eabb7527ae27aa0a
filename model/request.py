"""One generation from being asked for to its last piece: between the engine's thread and whoever reads the text."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypedDict

from .engine.job import End
from .once import Once
from .protocol import Delta, Sampling
from .transcript import Transcript

if TYPE_CHECKING:
    from .constraints import Constraint
    from .rules import TokenRule
    from .runner import DecoderRunner
    from .thinking import ThinkingBudget


class Demands(TypedDict, total=False):
    """What else a generation can be asked to keep to.

    Attributes:
        deadline_seconds: it fails unless it is done by then.
        constraint: what its text must be (`JsonSchema`, `Regex`, …).
        thinking: how long it thinks before it answers.
    """

    deadline_seconds: float
    constraint: Constraint
    thinking: ThinkingBudget


Submit = Callable[["Request", Callable[[int | End], object]], None]
"""Hands a request to the engine, which tells the given function each token and the end."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a generation is made from, how, until when, by which network, which one drafts for it, and its text.

    ``deadline`` is in seconds of `time.monotonic`. It is given up when ``cancel`` is set, or once nobody reads on.
    """

    prompt: list[int]
    sampling: Sampling
    cancel: threading.Event
    runner: Once[DecoderRunner]
    deadline: float | None
    transcript: Transcript
    rule: TokenRule | None = None
    draft: Once[DecoderRunner] | None = None
    _left: threading.Event = field(default_factory=threading.Event)

    def load(self) -> None:
        """Load the networks, if they are not yet."""
        self.runner()
        if self.draft is not None:
            self.draft()

    def given_up(self) -> bool:
        return self._left.is_set() or self.cancel.is_set()

    def leave(self) -> None:
        """Nobody reads on."""
        self._left.set()

    def begin(self, submit: Submit) -> Iterator[Delta]:
        """Hand it over at once; its pieces come as the iterator is asked for them."""
        told: SimpleQueue[int | End] = SimpleQueue()
        submit(self, told.put)
        return self._pieces(told)

    def _pieces(self, told: SimpleQueue[int | End]) -> Iterator[Delta]:
        try:
            while not self.transcript.over:
                if (delta := self._add(told.get())) is not None:
                    yield delta
        finally:
            self.leave()

    async def pieces_async(self, submit: Submit) -> AsyncIterator[Delta]:
        """Its pieces, for a program of coroutines."""
        loop, told = asyncio.get_running_loop(), asyncio.Queue[int | End]()

        def tell(event: int | End) -> None:
            try:
                loop.call_soon_threadsafe(told.put_nowait, event)
            except RuntimeError:  # the loop was closed: nobody is left to read on
                self.leave()

        await asyncio.to_thread(self.load)
        try:
            submit(self, tell)
            while not self.transcript.over:
                if (delta := self._add(await told.get())) is not None:
                    yield delta
        finally:
            self.leave()

    def _add(self, event: int | End) -> Delta | None:
        delta = self.transcript.add(event)
        if self.transcript.complete:
            self.leave()
        return delta
