"""Which drafts a sequence gets: looked up in it where that finds something, else made by a second network."""

from __future__ import annotations

from collections.abc import Sequence

from ..compiled_steps import VERIFIED_ROWS
from .draft_network import NetworkDrafts
from .drafts import LONGEST_MATCH, Drafter, DraftLookup
from .job import Job

_MOST = VERIFIED_ROWS - 1


def drafter_for(job: Job, slots: int) -> Drafter:
    """``slots`` are those of the job's caches."""
    if job.draft is None:
        return DraftLookup(_MOST)
    # A network that is good enough to be used beats shorter matches.
    lookup = DraftLookup(_MOST, shortest_match=LONGEST_MATCH)
    return FirstThatDrafts(lookup, NetworkDrafts(job.draft, slots, job.choice))


class FirstThatDrafts:
    """Several drafters in the order in which they are asked; what became of a draft is for the one that made it."""

    def __init__(self, *drafters: Drafter) -> None:
        self._drafters = drafters
        self._last = drafters[0]

    def propose(self, tokens: Sequence[int], most: int) -> list[int]:
        for drafter in self._drafters:
            if drafts := drafter.propose(tokens, most):
                self._last = drafter
                return drafts
        return []

    def learn(self, drafted: int, accepted: int) -> None:
        self._last.learn(drafted, accepted)
