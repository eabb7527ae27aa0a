"""Runs steps of several sequences: pieces of their prompts, their newest tokens, and drafts of one of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from ..compiled_steps import Progress
from ..errors import ModelError
from . import schedule
from .job import told_error
from .options import EngineOptions
from .prefix_cache import BLOCK, PrefixCache
from .sequence import Sequence, UnreadStep

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Steps:
    """What steps need beside their sequences: the prefixes of earlier prompts, and sequences to fill batches up with.

    Used from the engine's thread; the counts may be read from others.

    Attributes:
        prefill_steps: that ran pieces of prompts.
        decode_steps: that ran newest tokens, of ``decoded_rows`` sequences in all.
    """

    def __init__(self, options: EngineOptions, clock: Callable[[], float]) -> None:
        self._options, self._clock = options, clock
        self.prefill_steps = self.decode_steps = self.decoded_rows = 0
        self._cache: PrefixCache[Any] | None = None
        self._fillers: dict[int, list[Progress]] = {}
        self._newest: Any = None

    def wait(self) -> None:
        """For a step that was begun for sequences which have ended since."""
        newest, self._newest = self._newest, None
        try:
            np.asarray(newest)
        except Exception:  # noqa: BLE001 -- nobody is waiting for what it would have been
            _log.exception("a step that nobody needs failed")

    def rest(self) -> None:
        """Let go of what is quickly made again."""
        self._fillers.clear()

    def forget(self) -> None:
        """Let go of everything on the device."""
        self.rest()
        self._cache = None

    def guarded(self, sequences: list[Sequence], step: Callable[[list[Sequence]], T]) -> T | None:
        """A step that fails takes its own sequences with it, and no others."""
        try:
            return step(sequences)
        except Exception as error:  # noqa: BLE001 -- whoever asked gets it
            if not isinstance(error, ModelError):
                _log.exception("a step of a language model failed")
            for sequence in sequences:
                sequence.finish("stop", self._clock(), told_error(error, alone=len(sequences) == 1))
        return None

    def prefill(self, sequences: Iterable[Sequence], room: int, turn: int) -> int:
        """Run a piece of one prompt, or of several, of ``room`` tokens in all if that is possible.

        Gives how many these were, with those that filled them up; 0: no prompt is under way.
        """
        batch = schedule.next_prompts(sequences, room, lambda each: each.upcoming(self._prefixes(each)))
        if not batch:
            return 0
        return self.guarded(batch, lambda batch: self._run_pieces(batch, room, turn)) or 1

    def decode(self, batch: list[Sequence]) -> None:
        """The next token of each, or several of a lone one for which there are drafts.

        Where the next step needs nothing but this one's tokens, which the device has, it is begun before they are read:
        the device works while they are told.
        """
        batch = self._settled_unless_same(batch)
        if not batch:
            return
        step = batch[0].unread
        if step is None and len(batch) == 1 and (drafts := _drafts(batch[0])):
            self._verify(batch[0], drafts)
            return
        step = step or self._begin_step(batch)
        if step is not None and all(sequence.goes_on_unread(len(batch)) for sequence in batch):
            self._begin_step(batch)
        if step is not None:
            self._settle(step)

    def _settled_unless_same(self, batch: list[Sequence]) -> list[Sequence]:
        """Those of ``batch`` that go on: all in one step that has no others, or in none that was begun."""
        batch = [sequence for sequence in batch if sequence.end is None]
        steps = {sequence.unread for sequence in batch}
        if len(steps) > 1 or any(step is not None and step.sequences != batch for step in steps):
            for step in filter(None, steps):
                self.guarded(step.sequences, lambda _, step=step: self._settle(step))
        return [sequence for sequence in batch if sequence.end is None]

    def _begin_step(self, batch: list[Sequence]) -> UnreadStep | None:
        """None: rules have ended all of them."""
        masks = self._masks(batch)
        batch = [sequence for sequence in batch if sequence.end is None]
        if not batch:
            return None
        slots, wanted = batch[0].slots, schedule.batch_size(len(batch)) - len(batch)
        kept = self._fillers.setdefault(slots, [])
        fillers = [kept.pop() if kept else batch[0].runner.begin(slots) for _ in range(wanted)]
        progress, tokens_B = batch[0].runner.advance(
            [*(each.progress for each in batch), *fillers],
            [*(each.ran for each in batch), *(0 for _ in fillers)],
            [*(each.job.choice for each in batch), *(batch[0].job.choice for _ in fillers)],
            [*(masks.get(each) for each in batch), *(None for _ in fillers)],
        )
        kept += progress[len(batch) :]
        self._newest = tokens_B
        step = UnreadStep(batch, tokens_B)
        for sequence, after in zip(batch, progress, strict=False):
            sequence.progress, sequence.unread = after, step
            sequence.ran += 1
        return step

    def _settle(self, step: UnreadStep) -> None:
        """Read the tokens of a step, and tell them."""
        chosen = np.asarray(step.tokens)  # a step that failed on the device says so here
        self._count(len(step.sequences))
        for sequence, token in zip(step.sequences, chosen, strict=False):
            if sequence.unread is step:
                sequence.unread = None
            if sequence.end is None:
                self._take(sequence, token)

    def keep_prefix(self, sequence: Sequence) -> None:
        """A prefix that cannot be kept is no reason to fail a generation."""
        try:
            sequence.keep_prefix(self._prefixes(sequence))
        except Exception:  # noqa: BLE001 -- whatever it is, the generation is whole
            _log.exception("the beginning of a prompt could not be kept")

    def _run_pieces(self, batch: list[Sequence], room: int, turn: int) -> int:
        batch = self._begun(batch)
        if len(batch) > 1:
            chunks = [sequence.shared_chunk() for sequence in batch]
        else:
            chunks = [sequence.chunk(schedule.piece_limit(room)) for sequence in batch]
        through = [each for each, chunk in zip(batch, chunks, strict=True) if chunk.end == len(each.tokens)]
        masks = self._masks(through)
        if all(sequence.end is not None for sequence in batch):
            return 0
        progress, tokens_B = batch[0].runner.prefill_together(
            [each.progress for each in batch],
            [each.tokens for each in batch],
            chunks,
            [each.job.choice for each in batch],
            [masks.get(each) for each in batch],
        )
        newest = np.asarray(tokens_B)  # waits: what is under way cannot be given up
        self.prefill_steps += 1
        for sequence, after, chunk, token in zip(batch, progress, chunks, newest, strict=True):
            sequence.progress = after
            sequence.ran += chunk.count
            sequence.since = turn
            if sequence in through and sequence.end is None:
                self._take(sequence, token)
            self.keep_prefix(sequence)
        return sum(chunk.size for chunk in chunks)

    def _begun(self, batch: list[Sequence]) -> list[Sequence]:
        """Those of ``batch``, as many as a step takes, that could set up their caches."""
        for sequence in batch:
            self.guarded([sequence], lambda one: one[0].begin(self._prefixes(one[0]), self._clock()))
        batch = [sequence for sequence in batch if sequence.end is None]
        return batch if len(batch) in schedule.PROMPTS else batch[:1]

    def _verify(self, sequence: Sequence, drafts: list[int]) -> None:
        job = sequence.job
        sequence.progress, verified = job.runner.verify(sequence.progress, drafts, sequence.ran, job.choice)
        accepted, chosen, now = int(verified.accepted), np.asarray(verified.tokens), self._clock()
        self._count(1)
        sequence.ran += accepted + 1
        sequence.learn(len(drafts), accepted)
        for token in chosen[: accepted + 1]:
            if sequence.end is None:
                sequence.take(int(token), now)

    def _count(self, rows: int) -> None:
        self.decode_steps += 1
        self.decoded_rows += rows

    def _masks(self, sequences: Iterable[Sequence]) -> dict[Sequence, np.ndarray | None]:
        """The tokens that rules allow next; a rule that fails ends its own sequence."""
        masks: dict[Sequence, np.ndarray | None] = {}
        for sequence in sequences:
            if (rule := sequence.job.rule) is not None:
                self.guarded([sequence], lambda one, rule=rule: masks.update({one[0]: rule.allowed()}))
        return masks

    def _take(self, sequence: Sequence, token: np.int32) -> None:
        self.guarded([sequence], lambda one: one[0].take(int(token), self._clock()))

    def _prefixes(self, sequence: Sequence) -> PrefixCache[Any]:
        if self._cache is None:
            self._cache = PrefixCache(self._options.prefix_bytes // sequence.runner.block_bytes(BLOCK))
        return self._cache


def _drafts(sequence: Sequence) -> list[int]:
    """Drafts that cannot be made are no reason to fail a generation."""
    try:
        return sequence.propose()
    except Exception:  # noqa: BLE001 -- whatever it is, the generation is whole
        _log.exception("drafts cannot be made: the rest of a generation does without")
        sequence.stop_drafting()
        return []
