"""Cuts a document's blocks into chunks that fit the embedding model, at heading, paragraph and sentence borders.

The walk is lazy: beside the block at hand it holds at most two chunks' worth of text. Every block is tokenised once;
the cost of a unit is the number of tokens that begin in it. A chunk that comes near the limit is counted once more
together with its context, because tokens of some models reach across a border.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from .chunk_context import HeadingPath, joined
from .chunk_units import Unit, units_of, word_border
from .protocols import Embedder
from .values import Block, Chunk

_CHARACTERS_PER_TOKEN = 16
_SMALL_SECTION = 1 / 8
_LARGEST_OVERLAP = 1 / 2


def embedding_text(chunk: Chunk) -> str:
    """What is embedded of ``chunk``: its context, a line break, its text."""
    return joined(chunk.context, chunk.text)


def chunk(
    blocks: Iterable[Block],
    embedder: Embedder,
    *,
    document_id: str,
    title: str,
    max_tokens: int | None = None,
    overlap_sentences: int = 0,
) -> Iterator[Chunk]:
    """Cut ``blocks`` into chunks, lazily.

    A chunk never crosses a page, nor a heading unless the section before it is tiny and the next one its sibling or
    child. A section longer than one chunk is cut into parts of about equal size, at paragraph borders where they are
    near, else between sentences (prose) or lines (rows, code). A sentence longer than a chunk is cut between words, a
    word longer than a chunk between tokens.

    Args:
        max_tokens: limit for context and text together; none or too large: the embedding model's own.
        overlap_sentences: sentences of the chunk before that are repeated, within a section of prose.
    """
    limit = min(max_tokens or embedder.max_tokens, embedder.max_tokens)
    chunker = _Chunker(embedder, document_id, title, limit, overlap_sentences)
    for block in blocks:
        yield from chunker.add(block)
    yield from chunker.finish()


class _Chunker:
    """The state of one walk: the section being filled, its units, and the text they stand in."""

    def __init__(self, embedder: Embedder, document_id: str, title: str, limit: int, overlap: int) -> None:
        self._embedder = embedder
        self._document_id = document_id
        self._path = HeadingPath(embedder, title, limit // 4)
        self._limit = limit
        self._overlap = overlap
        self._ordinal = 0
        self._window = ""  # the document's text from self._origin on
        self._origin = 0
        self._pending: list[Unit] = []
        self._repeated = 0  # leading units of self._pending that the chunk before holds too
        self._page: int | None = None
        self._context = self._path.context()

    def add(self, block: Block) -> Iterator[Chunk]:
        """Take one block in; yield the chunks that are complete by it."""
        if self._pending and self._starts_section(block):
            yield from self.finish()
        start = self._origin + len(self._window)
        self._window += block.text
        if not self._pending:
            self._page = block.page
            self._context = self._path.context_above(block.heading)
        if block.heading is not None:
            self._path.enter(block.heading, block.text)
        budget = min(self._budget(), self._limit - self._path.cost(self._path.context()))
        for unit in units_of(block, start, self._embedder, budget, budget * _CHARACTERS_PER_TOKEN):
            self._pending.append(unit)
            while self._cost(len(self._pending)) > 2 * self._budget() or self._too_wide(len(self._pending)):
                yield self._emit(self._greedy_end(self._budget()), within_section=True)
        if self._trailing_blanks() > budget * _CHARACTERS_PER_TOKEN:
            yield from self.finish()
        if not self._pending:
            self._forget(start + len(block.text))

    def finish(self) -> Iterator[Chunk]:
        """Yield what is left of the section, in parts of about equal size."""
        while len(self._pending) > self._repeated:
            cost, budget = self._cost(len(self._pending)), self._budget()
            parts = -(-cost // budget)
            if parts <= 1 and not self._too_wide(len(self._pending), 1):
                yield self._emit(len(self._pending), within_section=False)
            else:
                yield self._emit(self._greedy_end(budget, target=-(-cost // max(parts, 2))), within_section=True)
        self._pending.clear()
        self._repeated = 0

    def _starts_section(self, block: Block) -> bool:
        if block.page != self._page:
            return True
        if block.heading is None:
            return False
        small = self._cost(len(self._pending)) <= _SMALL_SECTION * self._budget()
        heading_only = all(unit.heading for unit in self._pending)
        opened = self._pending[0].level
        stays_inside = opened is None or block.heading >= opened
        return not (stays_inside and (small or heading_only))

    def _budget(self) -> int:
        """Tokens left for text beside the context."""
        return max(1, self._limit - self._path.cost(self._context))

    def _cost(self, end: int) -> int:
        return sum(unit.tokens for unit in self._pending[:end])

    def _too_wide(self, end: int, chunks: int = 2) -> bool:
        """More characters than so many tokens ever have: white space, or words the model does not split."""
        width = self._pending[end - 1].end - self._pending[0].start
        return width > chunks * self._budget() * _CHARACTERS_PER_TOKEN

    def _greedy_end(self, budget: int, target: int | None = None) -> int:
        """How many pending units make the next chunk.

        As many as fit ``budget``; of the ends that fit, the one nearest to ``target`` (none: the largest), where a
        paragraph's end is worth an eighth of the budget and a heading is never left alone at the end.
        """
        target = budget if target is None else target
        widest = budget * _CHARACTERS_PER_TOKEN
        best, best_distance, cost = 0, float("inf"), 0
        fitting = self._repeated + 1
        for i, unit in enumerate(self._pending[:-1]):
            cost += unit.tokens
            if cost > budget or unit.end - self._pending[0].start > widest:
                break
            if i < self._repeated:
                continue
            fitting = i + 1
            if unit.heading:
                continue
            distance = abs(cost - target) + (0 if unit.ends_paragraph else budget / 8)
            if distance <= best_distance:
                best, best_distance = i + 1, distance
        return best or fitting

    def _emit(self, end: int, *, within_section: bool) -> Chunk:
        """Make a chunk of the first ``end`` pending units, or of fewer if the exact count is over the limit."""
        text = self._text(end)
        while not self._fits(end, text):
            if end > self._repeated + 1:
                end, within_section = end - 1, True
            elif self._repeated:
                self._drop_repeated()
                end = 1
            else:
                self._pending[:1] = self._halved(self._pending[0])
                end, within_section = 1, True
            text = self._text(end)
        start = self._pending[0].start
        made = Chunk(
            id=_chunk_id(self._document_id, start, start + len(text), text),
            document_id=self._document_id,
            ordinal=self._ordinal,
            text=text,
            start=start,
            end=start + len(text),
            page=self._page,
            context=self._context,
        )
        self._ordinal += 1
        self._advance(end if within_section else len(self._pending))
        return made

    def _text(self, end: int) -> str:
        return self._window[self._pending[0].start - self._origin : self._pending[end - 1].end - self._origin]

    def _fits(self, end: int, text: str) -> bool:
        """Whether context and text are within the limit; counted again only where the units' sum may mislead."""
        estimate = self._cost(end) + self._path.cost(self._context)
        if estimate <= self._limit - max(8, self._limit // 16) and all(unit.whole for unit in self._pending[:end]):
            return True
        return len(self._embedder.token_offsets(joined(self._context, text))) <= self._limit

    def _halved(self, unit: Unit) -> list[Unit]:
        """Two halves of a unit, which the model counts differently alone than inside its block."""
        text = self._window[unit.start - self._origin : unit.end - self._origin]
        middle = word_border(text, 0, (len(text) + 1) // 2)
        if middle in (0, len(text)):
            raise ValueError(f"a chunk limit of {self._limit} tokens leaves no room for one character")
        tokens = -(-unit.tokens // 2)
        left = unit.start + len(text[:middle].rstrip())
        right = unit.end - len(text[middle:].lstrip())
        return [
            replace(unit, end=left, tokens=tokens, sentence=False, whole=False, ends_paragraph=False),
            replace(unit, start=right, tokens=tokens, sentence=False, whole=False),
        ]

    def _advance(self, end: int) -> None:
        """Forget the first ``end`` units, but for those the next chunk repeats."""
        kept = self._repeatable(end) if end < len(self._pending) else 0
        del self._pending[: end - kept]
        self._repeated = kept
        self._context = self._path.context()
        if self._pending and self._overflows():
            self._drop_repeated()
        self._forget(self._pending[0].start if self._pending else self._origin)

    def _repeatable(self, end: int) -> int:
        """How many of the units before ``end`` are repeated: whole sentences of prose, at most half a chunk."""
        kept = cost = 0
        for unit in reversed(self._pending[1:end]):
            cost += unit.tokens
            if kept == self._overlap or not unit.sentence or cost > _LARGEST_OVERLAP * self._budget():
                break
            kept += 1
        return kept

    def _trailing_blanks(self) -> int:
        """Characters of the window behind the last pending unit."""
        return self._origin + len(self._window) - self._pending[-1].end if self._pending else 0

    def _overflows(self) -> bool:
        end = self._repeated + 1
        return self._cost(end) > self._budget() or self._too_wide(end, 1)

    def _drop_repeated(self) -> None:
        del self._pending[: self._repeated]
        self._repeated = 0

    def _forget(self, start: int) -> None:
        """Drop the text before ``start``."""
        self._window = self._window[start - self._origin :]
        self._origin = start


def _chunk_id(document_id: str, start: int, end: int, text: str) -> str:
    """The same span of the same document with the same text has the same id, on every machine."""
    digest = hashlib.sha256("\0".join((document_id, str(start), str(end), text)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]
