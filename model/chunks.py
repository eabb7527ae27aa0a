"""Cuts prompts into pieces of few sizes, and sizes the caches they go into: each size is compiled for once."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_CHUNK = 256
SMALLEST_CHUNK = 32
SMALLEST_CACHE = 512


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens ``[start, start + count)`` of a prompt, run as a step of ``size`` tokens."""

    start: int
    count: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.count


def next_chunk(start: int, tokens: int, slots: int, largest: int = LARGEST_CHUNK) -> Chunk:
    """The piece that begins at ``start`` of a prompt of ``tokens``: the largest there is, the rest in the next power of
    two, and no more than ``slots`` have room for."""
    size = min(largest, _bucket(tokens - start, SMALLEST_CHUNK))
    while start + size > slots:
        size //= 2
    return Chunk(start, min(size, tokens - start), size)


def chunks_of(tokens: int, slots: int | None = None) -> list[Chunk]:
    """All pieces of a prompt, for caches of ``slots``; None: those that `cache_slots` has for it."""
    found: list[Chunk] = []
    while (start := found[-1].start + found[-1].count if found else 0) < tokens:
        found.append(next_chunk(start, tokens, slots or cache_slots(tokens)))
    return found


def cache_slots(tokens: int) -> int:
    """Slots of the cache for a sequence that may grow to ``tokens``: a power of two, so that there are few shapes."""
    return _bucket(tokens, SMALLEST_CACHE)


def _bucket(count: int, smallest: int) -> int:
    return max(smallest, 1 << (count - 1).bit_length())
