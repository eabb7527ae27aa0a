"""Divides the rows of an epoch into batches of rows of like length, and plans each epoch once.

Axes: R rows, L lengths to which rows are padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Int

Planned = TypeVar("Planned")


class Buckets:
    """Rows are padded to the least of ``lengths`` that holds them, or else to ``longest``."""

    def __init__(self, lengths: Sequence[int], longest: int) -> None:
        self._ends_L = np.array(sorted({length for length in lengths if length < longest} | {longest}))

    def batches(
        self, lengths_R: Int[np.ndarray, " R"], size: Callable[[int], int], rng: np.random.Generator
    ) -> list[tuple[int, Int[np.ndarray, " _"]]]:
        """Padded length and rows of each batch, in any order; of rows padded to N tokens ``size(N)`` make a batch."""
        bucket_R = np.searchsorted(self._ends_L, lengths_R)
        batches = []
        for bucket, length in enumerate(self._ends_L.tolist()):
            rows, most = rng.permutation(np.flatnonzero(bucket_R == bucket)), size(length)
            batches += [(length, rows[begin : begin + most]) for begin in range(0, len(rows), most)]
        return [batches[place] for place in rng.permutation(len(batches))]


class PlannedOnce(Generic[Planned]):
    """What ``plan`` makes of an epoch's number; kept for the epoch asked for last, for its steps and its batches."""

    def __init__(self, plan: Callable[[int], Planned]) -> None:
        self._plan = plan
        self._kept: tuple[int, Planned] | None = None

    def __call__(self, number: int) -> Planned:
        if self._kept is None or self._kept[0] != number:
            self._kept = number, self._plan(number)
        return self._kept[1]
