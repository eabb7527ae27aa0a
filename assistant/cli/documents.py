"""``capibara documents list``, ``show`` and ``remove``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .invocation import Collection, Invocation, command
from .output import name_on_line, plain, write_line, write_table

if TYPE_CHECKING:
    from ...rag.values import Document

app = typer.Typer(help="List, show and remove documents.", no_args_is_help=True)
Reference = Annotated[str, typer.Argument(metavar="DOCUMENT", help="Id, path, file name or title, or its beginning.")]


@app.command("list")
@command
def list_(invocation: Invocation, collection: Collection = None) -> None:
    """List the documents. Without --collection, those of all collections."""
    with invocation.open() as assistant:
        documents = [
            document for document in assistant.documents() if collection is None or document.collection == collection
        ]
    if invocation.as_json:
        invocation.emit({"documents": documents})
        return
    rows = [
        (
            document.id[:12],
            document.collection,
            str(document.pages or "-"),
            str(document.chunks),
            name_on_line(document.title),
            name_on_line(document.source),
        )
        for document in documents
    ]
    write_table(("id", "collection", "pages", "chunks", "title", "source"), rows)


@app.command()
@command
def show(invocation: Invocation, reference: Reference) -> None:
    """Show one document. Pages, chunks, warnings, and where its text stands too."""
    with invocation.open() as assistant:
        document = assistant.document(reference)
        library = assistant.library
        chunk_ids = [chunk.id for chunk in library.chunks(document.id)]
        kept = library.store.passages(chunk_ids)
    aliases = [alias for chunk_id in chunk_ids if chunk_id in kept for alias in kept[chunk_id][2]]
    merged = len(chunk_ids) - len(kept)
    if invocation.as_json:
        invocation.emit({**plain(document), "merged": merged, "aliases": plain(aliases)})
        return
    for name, value in _facts(document):
        write_line(f"{name + ':':<12}{value}")
    if merged:
        write_line(f"{'merged:':<12}{merged} chunks say what other documents say and are found through them")
    for warning in document.warnings:
        write_line(f"warning:    {warning}")
    for alias in aliases:
        page = f", page {alias.page}" if alias.page is not None else ""
        write_line(f"also in:    {name_on_line(alias.source)}{page}, characters {alias.start} to {alias.end}")


@app.command()
@command
def remove(
    invocation: Invocation,
    references: Annotated[list[str], typer.Argument(metavar="DOCUMENT", help="Id, path, file name or title.")],
) -> None:
    """Forget documents. The files themselves stay where they are."""
    with invocation.open() as assistant:
        # All must be known before the first is forgotten.
        found = [assistant.document(reference, whole=True) for reference in references]
        documents = {document.id: document for document in found}
        for document_id in documents:
            assistant.remove(document_id)
    if invocation.as_json:
        invocation.emit({"removed": list(documents.values())})
        return
    for document in documents.values():
        write_line(f"removed {name_on_line(document.source)}")


def _facts(document: Document) -> list[tuple[str, object]]:
    return [
        ("id", document.id),
        ("title", name_on_line(document.title)),
        ("source", name_on_line(document.source)),
        ("collection", document.collection),
        ("pages", document.pages if document.pages is not None else "-"),
        ("chunks", document.chunks),
        ("characters", document.characters),
        ("language", document.language or "-"),
        ("ingested", document.ingested_at),
        ("sha256", document.content_hash),
    ]
