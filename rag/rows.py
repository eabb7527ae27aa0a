"""How values of this room become rows of the store, and rows values."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from .values import Alias, Block, Chunk, Document

DOCUMENT_COLUMNS = (
    "d.id, d.collection, d.source, d.title, d.content_hash, d.pages, d.chunks, d.characters, d.language, "
    "d.ingested_at, d.warnings"
)
CHUNK_COLUMNS = 'c.id, d.id, c.ordinal, c.text, c.start, c."end", c.page, c.context'
ALIAS_COLUMNS = 'd.id, d.source, c.start, c."end", c.page'
DOCUMENT_ID_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class StagedChunk:
    """A chunk on its way into the store.

    ``number`` is the row it will be; ``owner`` the row it is an alias of, None for a kept chunk. ``vector`` is None
    when the store holds the embedding of ``embedding_hash`` already.
    """

    number: int
    chunk: Chunk
    terms: str
    embedding_hash: bytes
    vector: np.ndarray | None
    owner: int | None


@dataclass(frozen=True, slots=True)
class Piece:
    """Some 64 kB of a document's text: whole blocks in a row, from character ``start`` on."""

    start: int
    blocks: tuple[Block, ...]

    @property
    def text(self) -> str:
        return "".join(block.text for block in self.blocks)

    @property
    def end(self) -> int:
        return self.start + sum(len(block.text) for block in self.blocks)

    def borders(self) -> str:
        """What `blocks_of` needs beside the text to get the blocks back."""
        return json.dumps([[len(b.text), b.page, b.heading, b.kind] for b in self.blocks], separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """What the indexes hold of a kept chunk: ``vector`` float32 [D], ``terms`` as analysed."""

    id: str
    collection: str
    vector: np.ndarray
    terms: list[str]


def blocks_of(text: str, borders: str) -> list[Block]:
    """The blocks of a stored piece."""
    blocks, at = [], 0
    for length, page, heading, kind in json.loads(borders):
        blocks.append(Block(text[at : at + length], page, heading, kind))
        at += length
    return blocks


def document_of(row: tuple) -> Document:
    """From `DOCUMENT_COLUMNS`."""
    return Document(*row[:10], warnings=tuple(json.loads(row[10])))


def chunk_of(row: tuple) -> Chunk:
    """From `CHUNK_COLUMNS`."""
    return Chunk(*row)


def alias_of(row: tuple) -> Alias:
    """From `ALIAS_COLUMNS`."""
    return Alias(*row)


def vector_of(blob: bytes) -> np.ndarray:
    """float32 [D], read-only."""
    return np.frombuffer(blob, dtype="<f4")


def blob_of(vector: np.ndarray) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def document_id(collection: str, source: str) -> str:
    """The identity of a document: its collection and its absolute source."""
    return _digest(f"{collection}\0{source}").hex()[:DOCUMENT_ID_CHARACTERS]


def text_key(text: str) -> int:
    """A signed 64-bit key by which equal texts find one another."""
    return int.from_bytes(_digest(text)[:8], "big", signed=True)


def embedding_hash(fingerprint: str, text: str) -> bytes:
    """The key of the embedding of ``text`` by the model with ``fingerprint``."""
    return _digest(f"{fingerprint}\0{text}")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
