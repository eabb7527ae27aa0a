"""Drafts the tokens that may come next by a second, smaller network with the same tokens.

Speculative decoding (Leviathan et al., 2211.17192), with one difference: a draft is right if it is the very token that
the large network draws. The small one draws with the same random numbers, which makes the two agree more often than
independent draws (coupled drafts: Daliri et al., 2408.07978), and with any drafts the output stays that of the large
one alone, token for token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Array

from ..chunks import SMALLEST_CHUNK, Chunk, cache_slots, next_chunk
from ..compiled_steps import VERIFIED_ROWS, Progress, StepShape
from ..runner import DecoderRunner
from ..sampling import Choice
from .drafts import DraftLength

_FEW = 2
"""Tokens that it is usually behind: the one that the large network chose, and the draft before, if that was right."""


def drafting_steps(slots: int) -> list[StepShape]:
    """What the small network runs for each draft."""
    return [StepShape(_FEW, slots), StepShape(1, slots)]


class NetworkDrafts:
    """The `Drafter` that asks a network, with caches of its own for the one sequence; ``choice`` is that of its job.

    The caches hold what the network has run of the sequence, and after it drafts. Those that were not taken are written
    over: nothing sees what stands behind its own position. Where a layer has a window, they may have taken the places
    of the few tokens at its far end, and where repeating is penalised they count as said: the drafts are then a little
    worse, and what is made of them stays the same.
    """

    def __init__(self, runner: DecoderRunner, slots: int, choice: Choice) -> None:
        """``slots`` are those of the large network's caches."""
        self._runner, self._choice = runner, choice
        self._slots = min(slots, cache_slots(runner.config.context_tokens))
        self._length = DraftLength(VERIFIED_ROWS - 1)
        self._progress: Progress | None = None
        self._ran = 0
        self._drafted: list[int] = []  # those that the caches hold, from `_ran` on

    def propose(self, tokens: Sequence[int], most: int) -> list[int]:
        """While it is far behind, as after a long prompt, a piece of what it has not read is run each time instead."""
        if len(tokens) + VERIFIED_ROWS > min(self._slots, self._runner.config.context_tokens):
            return []
        wanted = min(most, self._length.now())
        if wanted < 1:
            return []
        self._keep_what_was_taken(tokens)
        if len(tokens) - self._ran > _FEW and self._ran + SMALLEST_CHUNK > self._slots:
            return []  # no piece that is compiled for has room
        if (first := self._next(tokens)) is None:
            return []
        made = [first]
        for position in range(len(tokens), len(tokens) + wanted - 1):
            (self._progress,), token_B = self._runner.advance([self._held], [position], [self._choice])
            made.append(token_B)
        drafts = [int(np.asarray(token).item()) for token in made]  # waits once all are on their way
        self._drafted = drafts[:-1]
        return drafts

    def learn(self, drafted: int, accepted: int) -> None:
        self._length.learn(drafted, accepted)

    @property
    def _held(self) -> Progress:
        if self._progress is None:
            self._progress = self._runner.begin(self._slots)
        return self._progress

    def _keep_what_was_taken(self, tokens: Sequence[int]) -> None:
        for draft, token in zip(self._drafted, tokens[self._ran :], strict=False):
            if draft != token:
                break
            self._ran += 1
        self._drafted = []

    def _next(self, tokens: Sequence[int]) -> Array | None:
        """Run what it has not run: the token that follows, or None where that was one piece of several."""
        behind = len(tokens) - self._ran
        few = Chunk(self._ran, behind, _FEW)
        chunk = few if behind <= _FEW else next_chunk(self._ran, len(tokens), self._slots)
        self._progress, token = self._runner.prefill(self._held, tokens, chunk, self._choice)
        self._ran += chunk.count
        return token if self._ran == len(tokens) else None
