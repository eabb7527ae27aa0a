"""Runs the blocking calls under asyncio, so that cancelling the task stops the work behind it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from ..rag.values import IngestReport, SearchResult
    from .values import Answer, AnswerEvent

P = ParamSpec("P")
T = TypeVar("T")

_END = object()


async def run_cancellable(function: Callable[..., T], *args: object, **options: object) -> T:
    """Await ``function`` on a thread; cancellation sets its ``cancel`` event and waits until it has stopped."""
    cancel = options.setdefault("cancel", threading.Event())
    if cancel is None:
        cancel = options["cancel"] = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **options))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        cast("threading.Event", cancel).set()
        await asyncio.wait([work])
        raise


async def iterate_cancellable(
    function: Callable[..., Iterator[T]], *args: object, **options: object
) -> AsyncIterator[T]:
    """Iterate over ``function``'s iterator on one thread; leaving early sets ``cancel`` and closes it."""
    cancel = options.get("cancel") or threading.Event()
    options["cancel"] = cancel
    loop = asyncio.get_running_loop()
    finished = False
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="capibara-stream") as worker:
        iterator = function(*args, **options)
        try:
            while (item := await loop.run_in_executor(worker, next, iterator, _END)) is not _END:
                yield cast("T", item)
            finished = True
        finally:
            if not finished:
                cast("threading.Event", cancel).set()
            await loop.run_in_executor(worker, _close, iterator)


def _close(iterator: object) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


class AsyncTwins:
    """The methods of `Assistant` that work long, for use under asyncio; cancelling the task stops the work."""

    ingest: Callable[..., IngestReport]
    search: Callable[..., SearchResult]
    ask: Callable[..., Answer]
    stream: Callable[..., Iterator[AnswerEvent]]

    async def ingest_async(
        self, paths: Sequence[Path | str] | Path | str, collection: str | None = None, **options: Any
    ) -> IngestReport:
        """`ingest` under asyncio."""
        return await run_cancellable(self.ingest, paths, collection, **options)

    async def search_async(
        self, query: str, collection: str | None = None, top_k: int | None = None, **options: Any
    ) -> SearchResult:
        """`search` under asyncio."""
        return await asyncio.to_thread(self.search, query, collection, top_k, **options)

    async def ask_async(self, question: str, collection: str | None = None, **options: Any) -> Answer:
        """`ask` under asyncio."""
        return await run_cancellable(self.ask, question, collection, **options)

    def stream_async(self, question: str, collection: str | None = None, **options: Any) -> AsyncIterator[AnswerEvent]:
        """`stream` under asyncio; leaving the loop early stops the work."""
        return iterate_cancellable(self.stream, question, collection, **options)
