"""Documents in, ranked passages out. Names load what they need when they are first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .embedding import open_embedder
    from .errors import (
        BackendUnavailable,
        DataFolderLocked,
        DiskFull,
        DocumentError,
        DocumentNotFound,
        EmbeddingModelChanged,
        IndexDamaged,
        ModelNotFound,
        NewerSchema,
        RagError,
        StoreError,
    )
    from .library import Library, LibraryStatus
    from .progress import IngestProgress
    from .protocols import DenseIndex, DocumentLoader, Embedder, LoadedDocument, Reranker, SparseIndex
    from .reranking import open_reranker
    from .retriever import Retriever
    from .values import (
        Alias,
        Block,
        Chunk,
        Document,
        FileOutcome,
        IngestReport,
        Passage,
        SearchResult,
        StageScores,
        TokenVectors,
    )

_HOMES = {
    "embedding": ("open_embedder",),
    "errors": (
        "BackendUnavailable", "DataFolderLocked", "DiskFull", "DocumentError", "DocumentNotFound",
        "EmbeddingModelChanged", "IndexDamaged", "ModelNotFound", "NewerSchema", "RagError", "StoreError",
    ),
    "library": ("Library", "LibraryStatus"),
    "progress": ("IngestProgress",),
    "protocols": ("DenseIndex", "DocumentLoader", "Embedder", "LoadedDocument", "Reranker", "SparseIndex"),
    "reranking": ("open_reranker",),
    "retriever": ("Retriever",),
    "values": (
        "Alias", "Block", "Chunk", "Document", "FileOutcome", "IngestReport", "Passage", "SearchResult", "StageScores",
        "TokenVectors",
    ),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Alias",
    "BackendUnavailable",
    "Block",
    "Chunk",
    "DataFolderLocked",
    "DenseIndex",
    "DiskFull",
    "Document",
    "DocumentError",
    "DocumentLoader",
    "DocumentNotFound",
    "Embedder",
    "EmbeddingModelChanged",
    "FileOutcome",
    "IndexDamaged",
    "IngestProgress",
    "IngestReport",
    "Library",
    "LibraryStatus",
    "LoadedDocument",
    "ModelNotFound",
    "NewerSchema",
    "Passage",
    "RagError",
    "Reranker",
    "Retriever",
    "SearchResult",
    "SparseIndex",
    "StageScores",
    "StoreError",
    "TokenVectors",
    "open_embedder",
    "open_reranker",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
