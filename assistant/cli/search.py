"""``capibara search QUERY``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .invocation import Collection, Invocation, command
from .output import name_on_line, note, one_line, plain, write_line, write_table

if TYPE_CHECKING:
    from ...rag.values import Passage

_STAGES = ("final", "reranked", "fused", "dense", "sparse")


@command
def search(
    invocation: Invocation,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    collection: Collection = None,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, max=100, help="Passages to show.")] = None,
) -> None:
    """Show the best passages. Each with the scores of every stage."""
    with invocation.open_filled(collection) as assistant:
        result = assistant.search(query, collection, top_k)
    if invocation.as_json:
        passages = [_document(passage) for passage in result.passages]
        timings = plain(result.timings)
        invocation.emit(
            {"query": result.query, "passages": passages, "timings": timings, "degraded": list(result.degraded)}
        )
        return
    for part in result.degraded:
        note(f"capibara: searched without full strength: {part}")
    if not result.passages:
        write_line("nothing found")
        return
    rows = []
    for rank, passage in enumerate(result.passages, start=1):
        scores = [_score(passage, stage) for stage in _STAGES]
        rows.append((str(rank), *scores, _where(passage), one_line(passage.chunk.text, 200)))
    write_table(("#", *_STAGES, "where", "passage"), rows)


def _score(passage: Passage, stage: str) -> str:
    score = getattr(passage.scores, stage)
    return "-" if score is None else f"{score:.3f}"


def _where(passage: Passage) -> str:
    name = name_on_line(passage.document.source.rpartition("/")[2])
    return f"{name}, page {passage.chunk.page}" if passage.chunk.page is not None else name


def _document(passage: Passage) -> dict[str, Any]:
    chunk, document = passage.chunk, passage.document
    return {
        "document": document.source,
        "document_id": document.id,
        "title": document.title,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
        "scores": plain(passage.scores),
        "aliases": plain(passage.aliases),
    }
