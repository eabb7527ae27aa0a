"""Finds the document that a user means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from ..rag.values import Document
from .errors import AmbiguousDocument, UnknownDocument


def find_document(documents: Sequence[Document], reference: str) -> Document:
    """The one document whose id, source, file name or title is ``reference``, or else begins so.

    Raises:
        UnknownDocument: none fits.
        AmbiguousDocument: several fit; the message names them.
    """
    wanted = reference.casefold()
    exact = [document for document in documents if wanted in _names(document)]
    begun = [document for document in documents if any(name.startswith(wanted) for name in _names(document))]
    found = exact or (begun if wanted else [])
    if not found:
        raise UnknownDocument(f"no document is called {reference!r}; `capibara documents list` shows all")
    if len(found) > 1:
        listed = ", ".join(f"{document.source} ({document.id[:12]})" for document in found[:5])
        raise AmbiguousDocument(f"{reference!r} fits {len(found)} documents: {listed}; give more of the id")
    return found[0]


def _names(document: Document) -> tuple[str, ...]:
    names = (document.id, document.source, PurePath(document.source).name, document.title)
    return tuple(name.casefold() for name in names if name)
