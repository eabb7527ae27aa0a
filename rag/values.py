"""The values that travel through the room: blocks, chunks, documents, passages.

Offsets are Python string indices (Unicode code points) into the *document text*, which is the
concatenation of the texts of the document's blocks, in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a document as its loader read it; the blocks of a document, joined, are its text.

    ``page`` counts physical pages from 1 and is None where the format has none. ``heading`` is the level
    (1 is the highest) when the block is a heading. ``kind`` "rows" marks text whose lines are records
    (CSV) that must not be cut or merged into sentences.
    """

    text: str
    page: int | None = None
    heading: int | None = None
    kind: Literal["prose", "rows", "code"] = "prose"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of one document: ``text == document_text[start:end]``, on one page.

    ``context`` is the title and heading path the chunk stands under; it is embedded and indexed with the
    text, and is not part of the span.
    """

    id: str
    document_id: str
    ordinal: int
    text: str
    start: int
    end: int
    page: int | None = None
    context: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A document as stored. ``content_hash`` is the SHA-256 of the file's bytes, in hex."""

    id: str
    collection: str
    source: str
    title: str
    content_hash: str
    pages: int | None = None
    chunks: int = 0
    characters: int = 0
    language: str | None = None
    ingested_at: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alias:
    """Another place where a kept chunk's text stands too."""

    document_id: str
    source: str
    start: int
    end: int
    page: int | None


@dataclass(frozen=True, slots=True)
class StageScores:
    """What each stage said of a passage; None where the stage did not see it. Higher is better.

    ``dense`` is a cosine similarity, ``sparse`` a BM25 score, ``fused`` lies in [0, 1] for convex fusion,
    ``reranked`` is the reranker's own score, ``final`` is what the passages are ordered by.
    """

    dense: float | None = None
    sparse: float | None = None
    fused: float | None = None
    reranked: float | None = None
    final: float = 0.0


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved chunk with the scores of every stage and all places where it stands."""

    chunk: Chunk
    document: Document
    scores: StageScores
    aliases: tuple[Alias, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Passages, best first. ``timings`` are seconds per stage; ``degraded`` names parts that were missing."""

    query: str
    passages: tuple[Passage, ...]
    timings: Mapping[str, float] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """The token vectors of one text: ``vectors`` float32 [T, D], L2-normalised; ``offsets`` int [T, 2].

    Special tokens are left out; offsets are character positions in the text.
    """

    vectors: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of one file of an ingest run."""

    source: str
    status: Literal["added", "updated", "unchanged", "removed", "skipped", "failed"]
    reason: str = ""
    document_id: str | None = None
    chunks: int = 0
    embedded: int = 0
    duplicates: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IngestReport:
    """The outcome of an ingest run, file by file."""

    files: tuple[FileOutcome, ...]
    seconds: float
    cancelled: bool = False

    def count(self, status: str) -> int:
        """Number of files with ``status``."""
        return sum(outcome.status == status for outcome in self.files)
