"""A document on its way into the store: its chunks and pieces of text that are not yet staged."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from .analysis import detect_language
from .chunking import chunk, embedding_text
from .protocols import Embedder
from .rows import Piece
from .values import Block, Chunk, Document

PIECE_CHARACTERS = 1 << 16
_LANGUAGE_CHARACTERS = 5_000


@dataclass(slots=True)
class Draft:
    """What is known of a document being read. ``version`` is its staged version, once there is one; ``taken`` says
    that chunks of it were. A ``dropped`` one will not be finished: what was taken of it is not to be staged."""

    document: Document
    bytes: int
    updates: bool
    version: int | None = None
    chunks: list[Chunk] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    taken: bool = False
    finished: bool = False
    dropped: bool = False
    embedded: int = 0
    duplicates: int = 0
    _blocks: list[Block] = field(default_factory=list)
    _piece_start: int = 0
    _head: str = ""
    _occurrences: Counter[bytes] = field(default_factory=Counter)
    _language_known: bool = False

    def read(
        self, blocks: Iterable[Block], embedder: Embedder, max_tokens: int | None, overlap: int
    ) -> Iterator[Chunk]:
        """Yield the document's chunks as they are cut, keeping the text they stand in; then it is complete."""
        made = chunk(
            self._kept(blocks),
            embedder,
            document_id=self.document.id,
            title=self.document.title,
            max_tokens=max_tokens,
            overlap_sentences=overlap,
        )
        for one in made:
            yield replace(one, id=self._chunk_id(one))
        self._cut_piece()

    def take(self) -> tuple[list[Chunk], list[Piece]]:
        """Hand over what is in no batch yet."""
        chunks, pieces = self.chunks, self.pieces
        self.taken = self.taken or bool(chunks)
        self.chunks, self.pieces = [], []
        return chunks, pieces

    def language(self) -> str | None:
        """The language of the document's beginning; decided once, for all its chunks."""
        if not self._language_known:
            self.document = replace(self.document, language=detect_language(self._head))
            self._language_known = True
            self._head = ""
        return self.document.language

    def _kept(self, blocks: Iterable[Block]) -> Iterator[Block]:
        characters = 0
        for block in blocks:
            one = _storable(block)
            if not self._language_known and len(self._head) < _LANGUAGE_CHARACTERS:
                self._head += one.text[:_LANGUAGE_CHARACTERS]
            self._blocks.append(one)
            characters += len(one.text)
            self.document = replace(self.document, characters=self.document.characters + len(one.text))
            if characters >= PIECE_CHARACTERS:
                self._cut_piece()
                characters = 0
            yield one

    def _cut_piece(self) -> None:
        if self._blocks:
            piece = Piece(self._piece_start, tuple(self._blocks))
            self.pieces.append(piece)
            self._piece_start = piece.end
            self._blocks = []

    def _chunk_id(self, made: Chunk) -> str:
        """An id that stays when text before the chunk changes: by what is embedded, and its how-manieth occurrence."""
        digest = hashlib.blake2b(embedding_text(made).encode("utf-8"), digest_size=8).digest()
        self._occurrences[digest] += 1
        return f"{self.document.id}-{digest.hex()}-{self._occurrences[digest]}"


def _storable(block: Block) -> Block:
    """The block, with lone surrogates, which no encoding can write, replaced one for one."""
    if block.text.isascii():
        return block
    try:
        block.text.encode("utf-8")
    except UnicodeEncodeError:
        text = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in block.text)
        return replace(block, text=text)
    return block
