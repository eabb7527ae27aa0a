"""Who runs next: pure decisions over the sequences that are under way.

All that decode take a step each turn, together where they can; then pieces of prompts are run, in turn, up to a number
of tokens. A long prompt so holds nobody up for longer than that, and short prompts are not held up by long ones
(Sarathi: Agrawal et al., 2403.02310). Pieces of several prompts are run in one step, which reads the weights once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Protocol, TypeVar

from ..chunks import LARGEST_CHUNK, SMALLEST_CHUNK

BATCHES = (1, 2, 4, 8)
"""Sequences that one step is compiled for; it is filled up to the next of these."""
PROMPTS = (1, 2, 4)
"""Prompts of which one step, compiled for so many, runs a piece."""
SHARED_CHUNK = 128
"""Tokens of prompts that are run in a turn while others decode."""
SHARED_PIECE = 64
"""Tokens of each piece of a step that runs several."""


class Running(Protocol):
    """What of a sequence decides when it runs."""

    @property
    def family(self) -> Hashable:
        """Sequences of one family can be run in one step: one network, caches of one size."""
        ...

    @property
    def decoding(self) -> bool: ...

    @property
    def room(self) -> bool:
        """There is room for a piece of `SHARED_PIECE` tokens, wherever it begins."""
        ...

    @property
    def since(self) -> int:
        """The turn in which it was taken up, or a piece of its prompt was last run."""
        ...


S = TypeVar("S", bound=Running)


def batches(sequences: Iterable[S]) -> list[list[S]]:
    """Those that decode, in steps of at most the largest batch; all of them are in one."""
    families: defaultdict[Hashable, list[S]] = defaultdict(list)
    for sequence in sequences:
        if sequence.decoding:
            families[sequence.family].append(sequence)
    most = BATCHES[-1]
    return [family[at : at + most] for family in families.values() for at in range(0, len(family), most)]


def next_prompts(sequences: Iterable[S], room: int, upcoming: Callable[[S], Hashable]) -> list[S]:
    """The sequences whose prompts go on in one step of at most ``room`` tokens; none: no prompt is under way.

    The first is the one that has waited for the most turns, of several the one that came first; those after it join.
    Of sequences with the same ``upcoming`` one is taken: what it runs need not be run by the others.
    """
    waiting = sorted((each for each in sequences if not each.decoding), key=lambda each: each.since)
    if len(waiting) < 2 or not waiting[0].room:
        return waiting[:1]
    fitting = {upcoming(each): each for each in reversed(waiting) if each.family == waiting[0].family and each.room}
    chosen = sorted(fitting.values(), key=waiting.index)
    return chosen[: max(size for size in PROMPTS if size == 1 or size <= min(len(chosen), room // SHARED_PIECE))]


def chunk_limit(sequences: Iterable[Running]) -> int:
    """Tokens of prompts to run in this turn."""
    return SHARED_CHUNK if any(each.decoding for each in sequences) else LARGEST_CHUNK


def piece_limit(room: int) -> int:
    """The largest piece, of those that are compiled for, that ``room`` tokens hold; the smallest in any case."""
    return max(SMALLEST_CHUNK, 1 << (room.bit_length() - 1))


def most_fillers(sequences: int) -> int:
    """How many places of a step may have to be filled up at most, where so many sequences run at once."""
    return max(batch_size(count) - count for count in range(1, min(sequences, BATCHES[-1]) + 1))


def batch_size(count: int) -> int:
    """The size of step that ``count`` sequences are run in."""
    return next(size for size in BATCHES if size >= count)
