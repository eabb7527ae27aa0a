"""The seams of the room. Each has one conformance suite in ``tests/rag`` that every implementation inherits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float

from .values import Block, TokenVectors


class DocumentLoader(Protocol):
    """Reads one family of file formats."""

    suffixes: tuple[str, ...]
    """File name endings, lower case, with the dot."""

    def load(self, path: Path) -> LoadedDocument:
        """Open ``path``; raise `DocumentError` (one line: what is wrong, what to do) if it cannot be read."""
        ...


class LoadedDocument(Protocol):
    """An opened document. ``blocks`` may read lazily, so that memory stays bounded on large files."""

    title: str | None
    pages: int | None

    @property
    def warnings(self) -> Sequence[str]:
        """Things to tell the user, such as the encoding guessed; complete once the blocks are consumed."""
        ...

    def blocks(self) -> Iterator[Block]:
        """Yield the document's blocks once, in order; may raise `DocumentError`."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors; light to construct, loads on `warm_up` or first use. Thread-safe."""

    @property
    def fingerprint(self) -> str:
        """Names model and weights; vectors of different fingerprints are never mixed. Cheap (no model load)."""
        ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Longest input in the model's own tokens, special tokens not counted."""
        ...

    def warm_up(self) -> None: ...

    def token_offsets(self, text: str) -> np.ndarray:
        """Character spans of the model's tokens in ``text``: int [T, 2], untruncated, no special tokens."""
        ...

    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """Embed ``texts``; float32, L2-normalised rows, in the order given; N may be 0."""
        ...

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """The contextual token vectors of each text, for late interaction."""
        ...


class DenseIndex(Protocol):
    """Nearest neighbours by cosine similarity. Derived data: may be rebuilt from the store at any time."""

    def upsert(self, collection: str, ids: Sequence[str], vectors: Float[np.ndarray, "N D"]) -> None: ...

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Forget ``ids``; unknown ones are ignored."""
        ...

    def query(self, collection: str, vector: Float[np.ndarray, " D"], k: int) -> list[tuple[str, float]]:
        """At most ``k`` pairs (id, cosine similarity), best first; empty for an unknown collection."""
        ...

    def ids(self, collection: str) -> set[str]: ...

    def collections(self) -> set[str]: ...

    def drop(self, collection: str) -> None: ...

    def close(self) -> None: ...


class SparseIndex(Protocol):
    """BM25 over analysed terms. Derived data: may be rebuilt from the store at any time."""

    def upsert(self, collection: str, entries: Iterable[tuple[str, Sequence[str]]]) -> None:
        """Add or replace pairs (id, terms)."""
        ...

    def delete(self, collection: str, ids: Sequence[str]) -> None: ...

    def query(self, collection: str, terms: Sequence[str], k: int) -> list[tuple[str, float]]:
        """At most ``k`` pairs (id, BM25 score) with a score above 0, best first."""
        ...

    def ids(self, collection: str) -> set[str]: ...

    def collections(self) -> set[str]: ...

    def drop(self, collection: str) -> None: ...

    def close(self) -> None: ...


class Reranker(Protocol):
    """Scores passages against a query, jointly."""

    name: str

    def warm_up(self) -> None: ...

    def score(self, query: str, passages: Sequence[str]) -> Float[np.ndarray, " N"]:
        """One float32 score per passage, higher is better; only comparable within one call."""
        ...
