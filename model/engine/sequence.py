"""One job under way: its tokens, what of them the device has run, and what was told."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Array, Int

from ..chunks import SMALLEST_CHUNK, Chunk, cache_slots, next_chunk
from ..compiled_steps import VERIFIED_ROWS, Progress
from ..errors import NumericalError
from ..protocol import FinishReason
from ..runner import DecoderRunner
from .job import End, Job
from .prefix_cache import BLOCK, PrefixCache
from .schedule import SHARED_PIECE
from .speculation import drafter_for


@dataclass(frozen=True, eq=False, slots=True)
class UnreadStep:
    """A step of the newest tokens of several sequences; the ``tokens`` that it chose have not been read yet."""

    sequences: list[Sequence]
    tokens: Int[Array, " B"]


class Sequence:
    """A job with its caches. Lives in the engine's thread.

    Attributes:
        tokens: the prompt, and what was generated.
        ran: tokens whose keys and values the caches hold, once the steps that were begun are done.
        unread: the newest step that it is in, until its token is told.
        since: the turn in which it was taken up, or a piece of it was last run.
        cached: tokens of the prompt that were not run.
    """

    def __init__(self, job: Job, asked: float, now: float, turn: int, *, speculate: bool) -> None:
        """``asked`` and ``now`` are seconds of the engine's clock: when it was asked for, and taken up."""
        self.job, self.since = job, turn
        self.tokens, self.ran, self.cached = list(job.prompt), 0, 0
        # Forced tokens are run in pieces that may begin anywhere and reach past the end.
        spare = SMALLEST_CHUNK if job.rule is not None else 0
        self.slots = cache_slots(len(job.prompt) + job.most + spare)
        self._drafter = drafter_for(job, self.slots) if speculate and job.rule is None else None
        self._progress: Progress | None = None
        self.unread: UnreadStep | None = None
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
    def room(self) -> bool:
        """There is room for a piece of `SHARED_PIECE` tokens, wherever it begins."""
        return len(self.tokens) + SHARED_PIECE <= self.slots

    @property
    def made(self) -> int:
        """Tokens generated."""
        return len(self.tokens) - len(self.job.prompt)

    @property
    def decoding(self) -> bool:
        """All but the newest token have been run, and the device has that one: it was chosen there, not forced."""
        return self.ran >= len(self.tokens) - 1 and self._chosen == len(self.tokens)

    def goes_on_unread(self, beside: int) -> bool:
        """Once a step of ``beside`` sequences is read there will be another one, most likely, and all it needs is on
        the device: no rule looks at the token first, no draft begins with it, and it is not the last one."""
        drafts = beside == 1 and self._drafter is not None
        return self.job.rule is None and not drafts and self.made + 2 <= self.job.most

    @property
    def progress(self) -> Progress:
        if self._progress is None:
            raise AssertionError("it was not begun")
        return self._progress

    @progress.setter
    def progress(self, after: Progress) -> None:
        self._progress = after

    def begin(self, cache: PrefixCache[Any], now: float) -> None:
        """Set up the caches, with what ``cache`` has of the prompt, before the first piece is run."""
        if self._progress is not None:
            return
        blocks = cache.hold(self.runner, self.job.prompt[:-1])
        try:
            self._progress = self.runner.begin(self.slots, self.job.prompt[: len(blocks) * BLOCK])
            for block in blocks:
                self._progress = self.runner.write_block(self._progress, self.ran, block.value)
                self.ran += BLOCK
        finally:
            cache.release(blocks)
        self.cached = self.ran
        self._follow(now)

    def upcoming(self, cache: PrefixCache[Any]) -> Hashable:
        """Of two sequences for which this is equal, one had better wait for what the other runs next."""
        return cache.upcoming(self.runner, self.job.prompt, self.ran) or self

    def chunk(self, largest: int) -> Chunk:
        """The next piece to run of what has not been run."""
        return next_chunk(self.ran, len(self.tokens), self.slots, largest)

    def shared_chunk(self) -> Chunk:
        """The same, for a step with others."""
        return Chunk(self.ran, min(SHARED_PIECE, len(self.tokens) - self.ran), SHARED_PIECE)

    def propose(self) -> list[int]:
        """Drafts of what comes next; empty where there is nothing to draft, or no room to check it."""
        if self._drafter is None or self.ran + VERIFIED_ROWS > self.slots:
            return []
        return self._drafter.propose(self.tokens, self.job.most - self.made - 1)

    def learn(self, drafted: int, accepted: int) -> None:
        """What became of the drafts."""
        self._drafted += drafted
        self._accepted += accepted
        if self._drafter is not None:
            self._drafter.learn(drafted, accepted)

    def stop_drafting(self) -> None:
        """Nothing is drafted any more."""
        self._drafter = None

    def take(self, token: int, now: float) -> None:
        """The next token was chosen: tell it, then what must follow it, and end where it ends."""
        if token < 0:
            self.finish("stop", now, NumericalError(_NOT_FINITE))
            return
        if self.job.rule is None or self.job.rule.accept(token):
            self._tell(token, now)
            self._chosen = len(self.tokens)
        self._follow(now)

    def _follow(self, now: float) -> None:
        """Take the tokens that must come next, whatever the network says."""
        rule = self.job.rule
        while rule is not None and self.end is None and (forced := list(rule.forced())):
            for token in forced:
                rule.accept(token)
                if self.end is None:
                    self._tell(token, now)

    def _tell(self, token: int, now: float) -> None:
        if token in self.job.ends:
            self.finish("stop", now)
            return
        if self.made == 0:
            self._first = now
        self.tokens.append(token)
        self.job.deliver(token)
        if self.job.rule is not None and self.job.rule.finished:
            self.finish("stop", now)
        elif self.made == self.job.most:
            self.finish("length", now)

    def keep_prefix(self, cache: PrefixCache[Any]) -> None:
        """Keep what has been run, block by block, for whoever begins alike, up to what not all heads remember."""
        known = self.tokens[: self.ran]
        for start in cache.missing(self.runner, known):
            if not self.runner.holds(start, BLOCK, self.ran):
                return
            value = self.runner.read_block(self.progress, start, BLOCK)
            if not cache.add(self.runner, known[: start + BLOCK], value):
                return

    def finish(self, reason: FinishReason, now: float, error: Exception | None = None) -> None:
        """It is over; the engine tells so once it has let go of it."""
        if self.end is not None:
            return
        self.end = End(
            reason,
            error,
            queue_seconds=self._began - self._asked,
            prefill_seconds=(self._first if self.made else now) - self._began,
            decode_seconds=now - self._first if self.made else 0.0,
            prompt_tokens=min(self.ran, len(self.job.prompt)),
            generated_tokens=self.made,
            cached_tokens=self.cached,
            drafted_tokens=self._drafted,
            accepted_tokens=self._accepted,
        )


_NOT_FINITE = "the model's output is not finite: its weights are damaged or too large for this arithmetic"
