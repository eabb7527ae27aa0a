"""Sends rows of tokens through an engine: rows of like length together, several batches side by side.

Axes: B rows of a batch, T tokens (padded), D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int

from .engines import Engine

TOKENS_PER_BATCH = 1024
"""Padded tokens of one forward pass at most: beyond this, activations fall out of the CPU's cache."""
_BATCHES_AHEAD = 16
"""Results that may wait in memory at once: 16 × 1,024 tokens × 384 dimensions × 4 bytes are 25 MB."""


def encoded(
    engine: Engine, tokens: Sequence[Sequence[int]], padding: int, most: int
) -> Iterator[tuple[list[int], Float[np.ndarray, "B D"], Float[np.ndarray, "B T D"]]]:
    """What ``engine`` makes of all of ``tokens``, batch by batch: the places of its rows, pooled and hidden states.

    ``padding`` fills short rows; a batch has ``most`` rows at most. As many batches at once as the engine runs side
    by side.
    """
    batches = _batches(tokens, most)

    def run(rows: list[int]) -> tuple[Float[np.ndarray, "B D"], Float[np.ndarray, "B T D"]]:
        return engine.encode(*_padded([tokens[row] for row in rows], padding))

    if len(batches) <= 1 or engine.parallel == 1:
        for rows in batches:
            yield rows, *run(rows)
        return
    with ThreadPoolExecutor(engine.parallel, thread_name_prefix="encode") as pool:
        for begin in range(0, len(batches), _BATCHES_AHEAD):
            ahead = batches[begin : begin + _BATCHES_AHEAD]
            for rows, (pooled_BD, hidden_BTD) in zip(ahead, pool.map(run, ahead), strict=True):
                yield rows, pooled_BD, hidden_BTD


def _batches(tokens: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """Rows of like length together, so that little is computed on padding; the longest first."""
    order = sorted(range(len(tokens)), key=lambda row: -len(tokens[row]))
    batches = []
    begin = 0
    while begin < len(order):
        size = max(1, min(most, TOKENS_PER_BATCH // max(1, len(tokens[order[begin]]))))
        batches.append(order[begin : begin + size])
        begin += size
    return batches


def _padded(rows: Sequence[Sequence[int]], padding: int) -> tuple[Int[np.ndarray, "B T"], Int[np.ndarray, "B T"]]:
    ids_BT = np.full((len(rows), max(len(row) for row in rows)), padding, dtype=np.int64)
    mask_BT = np.zeros_like(ids_BT)
    for place, row in enumerate(rows):
        ids_BT[place, : len(row)] = row
        mask_BT[place, : len(row)] = 1
    return ids_BT, mask_BT
