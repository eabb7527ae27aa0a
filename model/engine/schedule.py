"""Who runs next: pure decisions over the sequences that are under way.

All that decode take a step each turn, together where they can; then pieces of prompts are run, in turn, up to a number
of tokens. A long prompt so holds nobody up for longer than that, and short prompts are not held up by long ones
(Sarathi: Agrawal et al., 2403.02310).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Protocol, TypeVar

from ..chunks import LARGEST_CHUNK, SMALLEST_CHUNK

BATCHES = (1, 2, 4, 8)
"""Sequences that one step is compiled for; it is filled up to the next of these."""
SHARED_CHUNK = 128
"""Tokens of prompts that are run in a turn while others decode."""


class Running(Protocol):
    """What of a sequence decides when it runs."""

    @property
    def family(self) -> Hashable:
        """Sequences of one family can be run in one step: one network, caches of one size."""
        ...

    @property
    def decoding(self) -> bool: ...

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


def next_prompt(sequences: Sequence[S]) -> S | None:
    """The sequence whose prompt goes on: the one that has waited for the most turns; of several, the first."""
    return min((each for each in sequences if not each.decoding), key=lambda each: each.since, default=None)


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
