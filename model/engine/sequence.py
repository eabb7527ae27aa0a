"""One job under way: its tokens, what of them the device has run, and what was told."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ..chunks import SMALLEST_CHUNK, Chunk, cache_slots, next_chunk
from ..errors import NumericalError
from ..protocol import FinishReason
from ..runner import VERIFIED_ROWS, DecoderRunner, Progress
from .drafts import DraftLookup
from .job import End, Job
from .prefix_cache import BLOCK, Block, PrefixCache


class Sequence:
    """A job with its caches. Lives in the engine's thread."""

    def __init__(self, job: Job, asked: float, now: float, cache: PrefixCache[Any], *, speculate: bool) -> None:
        """``asked`` and ``now`` are seconds of the engine's clock: when it was asked for, and taken up."""
        self.job, self._cache = job, cache
        self.tokens = list(job.prompt)
        self.ran = 0
        """Tokens whose keys and values the caches hold."""
        self.pieces = 0
        self.drafts = DraftLookup(VERIFIED_ROWS - 1) if speculate and job.rule is None else None
        if self.drafts is not None:
            self.drafts.extend(self.tokens)
        # Forced tokens are run in pieces that may begin anywhere and reach past the end.
        spare = SMALLEST_CHUNK if job.rule is not None else 0
        self.slots = cache_slots(len(job.prompt) + job.most + spare)
        self._held: list[Block[Any]] = cache.hold(job.runner, job.prompt[:-1])
        self.cached = len(self._held) * BLOCK
        self.progress: Progress = job.runner.begin(self.slots, job.prompt[: self.cached])
        for block in self._held:
            self.progress = job.runner.write_block(self.progress, self.ran, block.value)
            self.ran += BLOCK
        self._chosen = 0
        self._asked, self._began, self._first = asked, now, now
        self._drafted = self._accepted = 0
        self.end: End | None = None

    @property
    def runner(self) -> DecoderRunner:
        return self.job.runner

    @property
    def family(self) -> Hashable:
        return self.runner, self.slots

    @property
    def made(self) -> int:
        """Tokens generated."""
        return len(self.tokens) - len(self.job.prompt)

    @property
    def decoding(self) -> bool:
        """All but the newest token have been run, and the device has that one: it was chosen there, not forced."""
        return self.ran == len(self.tokens) - 1 and self._chosen == len(self.tokens)

    def chunk(self, largest: int) -> Chunk:
        """The next piece to run of what has not been run."""
        return next_chunk(self.ran, len(self.tokens), self.slots, largest)

    def propose(self) -> list[int]:
        """Drafts of what comes next; empty where there is nothing to draft, or no room to check it."""
        if self.drafts is None or self.ran + VERIFIED_ROWS > self.slots:
            return []
        return self.drafts.propose()[: self.job.most - self.made - 1]

    def learn(self, drafted: int, accepted: int) -> None:
        """What became of the drafts."""
        self._drafted += drafted
        self._accepted += accepted
        if self.drafts is not None:
            self.drafts.learn(drafted, accepted)

    def take(self, token: int, now: float) -> None:
        """The next token was chosen: tell it, then what must follow it, and end where it ends."""
        if self.made == 0:
            self._first = now
        if token < 0:
            self.finish("stop", now, NumericalError(_NOT_FINITE))
            return
        rule = self.job.rule
        if rule is None or rule.accept(token):
            self._tell(token, now)
            self._chosen = len(self.tokens)
        while rule is not None and self.end is None and (forced := list(rule.forced())):
            for each in forced:
                rule.accept(each)
                if self.end is None:
                    self._tell(each, now)

    def _tell(self, token: int, now: float) -> None:
        if token in self.job.ends:
            self.finish("stop", now)
            return
        self.tokens.append(token)
        if self.drafts is not None:
            self.drafts.extend([token])
        self.job.deliver(token)
        if self.job.rule is not None and self.job.rule.finished:
            self.finish("stop", now)
        elif self.made == self.job.most:
            self.finish("length", now)

    def keep_prefix(self) -> None:
        """Keep what has been run, block by block, for whoever begins alike."""
        known = self.tokens[: self.ran]
        for start in self._cache.missing(self.runner, known):
            value = self.runner.read_block(self.progress, start, BLOCK)
            if not self._cache.add(self.runner, known[: start + BLOCK], value):
                return

    def finish(self, reason: FinishReason, now: float, error: Exception | None = None) -> None:
        """It is over; `tell_end` tells so, once the engine has let go of it."""
        if self.end is not None:
            return
        self._cache.release(self._held)
        self.end = End(
            reason,
            error,
            queue_seconds=self._began - self._asked,
            prefill_seconds=(self._first if self.made else now) - self._began,
            decode_seconds=now - self._first if self.made else 0.0,
            cached_tokens=self.cached,
            drafted_tokens=self._drafted,
            accepted_tokens=self._accepted,
        )


_NOT_FINITE = "the model's output is not finite: its weights are damaged or too large for this arithmetic"
