"""The engine: one thread that owns the device, and takes jobs in and lets them go between steps."""

from __future__ import annotations

import atexit
import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import DeadlineExceeded, Overloaded
from ..runner import Progress
from . import schedule
from .job import End, Job
from .metrics import EngineMetrics
from .options import EngineOptions
from .prefix_cache import BLOCK, PrefixCache
from .sequence import Sequence

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    job: Job
    asked: float


class Engine:
    """Runs jobs of any networks of one base. Safe to use from several threads.

    The thread lives as long as there is work. ``clock`` gives seconds that never go back.
    """

    def __init__(self, options: EngineOptions | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._options, self._clock = options or EngineOptions(), clock
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._thread: threading.Thread | None = None
        self._active: list[Sequence] = []
        self._cache: PrefixCache | None = None
        self._fillers: dict[int, list[Progress]] = {}
        self._metrics = EngineMetrics()
        self._stopping = False

    def submit(self, job: Job) -> None:
        """Take ``job`` up as soon as there is room.

        Raises:
            Overloaded: as many jobs wait as may.
        """
        with self._lock:
            if len(self._waiting) >= self._options.queue:
                self._metrics = dataclasses.replace(self._metrics, refused=self._metrics.refused + 1)
                raise Overloaded(len(self._waiting))
            self._waiting.append(_Waiting(job, self._clock()))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="capibara-engine", daemon=True)
                atexit.register(self._stop, self._thread)
                self._thread.start()

    @property
    def metrics(self) -> EngineMetrics:
        """Counts since the beginning, and what waits and runs now."""
        with self._lock:
            return dataclasses.replace(self._metrics, waiting=len(self._waiting), running=len(self._active))

    def _stop(self, thread: threading.Thread) -> None:
        """The program ends: a thread that is in the midst of a step would end it with a crash."""
        self._stopping = True
        thread.join()

    def _run(self) -> None:
        while self._admitted():
            self._turn()
        atexit.unregister(self._stop)

    def _admitted(self) -> bool:
        """Take up waiting jobs; False, and the thread is to end, where there is nothing to do."""
        while True:
            with self._lock:
                if self._stopping or not (self._waiting or self._active):
                    self._fillers.clear()
                    self._thread = None
                    return False
                if not self._waiting or len(self._active) >= self._options.sequences:
                    return True
                waiting = self._waiting.popleft()
            self._admit(waiting)

    def _admit(self, waiting: _Waiting) -> None:
        job, now = waiting.job, self._clock()
        try:
            if _given_up(job, now):
                self._refuse(job, End("cancelled", queue_seconds=now - waiting.asked))
                return
            if self._cache is None:
                self._cache = PrefixCache(self._options.prefix_bytes // job.runner.block_bytes(BLOCK))
            speculate = self._options.speculate
            sequence = Sequence(job, waiting.asked, now, self._cache, speculate=speculate)
        except Exception as error:  # noqa: BLE001 -- whoever asked gets it
            self._refuse(job, End("stop", error))
            return
        with self._lock:
            self._active.append(sequence)

    def _turn(self) -> None:
        """One step of all that decode, one piece of one prompt; then let go of what has ended."""
        now = self._clock()
        for sequence in self._active:
            try:
                if _given_up(sequence.job, now):
                    sequence.finish("cancelled", now)
            except DeadlineExceeded as error:
                sequence.finish("cancelled", now, error)
        self._let_go()
        for batch in schedule.batches(self._active):
            self._guarded(self._decode, batch)
        prompt = schedule.next_prompt([each for each in self._active if each.end is None])
        if prompt is not None:
            self._guarded(self._prefill, [prompt])
        self._let_go()

    def _guarded(self, step: Callable[[list[Sequence]], None], sequences: list[Sequence]) -> None:
        """A step that fails takes its own sequences with it, and no others."""
        try:
            step(sequences)
        except Exception as error:  # noqa: BLE001 -- whoever asked gets it
            for sequence in sequences:
                sequence.finish("stop", self._clock(), error)

    def _prefill(self, sequences: list[Sequence]) -> None:
        (sequence,) = sequences
        others = [each for each in self._active if each is not sequence]
        chunk, job = sequence.chunk(schedule.chunk_limit(others)), sequence.job
        last = chunk.start + chunk.count == len(sequence.tokens)
        allowed = job.rule.allowed() if job.rule is not None and last else None
        sequence.progress, token = job.runner.prefill(sequence.progress, sequence.tokens, chunk, job.choice, allowed)
        sequence.ran += chunk.count
        sequence.pieces += 1
        if not last:
            token.block_until_ready()  # else the next step is not known to be under way, and cannot be given up
            return
        sequence.take(int(token), self._clock())
        if sequence.made <= 1:
            sequence.keep_prefix()

    def _decode(self, batch: list[Sequence]) -> None:
        if len(batch) == 1 and (drafts := batch[0].propose()):
            self._verify(batch[0], drafts)
            return
        runner, jobs = batch[0].runner, [each.job for each in batch]
        fillers = self._fill(batch)
        masks = [job.rule.allowed() if job.rule is not None else None for job in jobs]
        progress, tokens_B = runner.advance(
            [*(each.progress for each in batch), *fillers],
            [*(each.ran for each in batch), *(0 for _ in fillers)],
            [*(job.choice for job in jobs), *(jobs[0].choice for _ in fillers)],
            [*masks, *(None for _ in fillers)] if any(mask is not None for mask in masks) else None,
        )
        self._fillers[batch[0].slots] = progress[len(batch) :] or self._fillers.get(batch[0].slots, [])
        for sequence, after in zip(batch, progress, strict=False):
            sequence.progress = after
            sequence.ran += 1
        chosen, now = np.asarray(tokens_B), self._clock()
        self._count(decode_steps=1, decoded_rows=len(batch))
        for sequence, token in zip(batch, chosen, strict=False):
            sequence.take(int(token), now)

    def _fill(self, batch: list[Sequence]) -> list[Progress]:
        """Sequences of nobody, which fill a batch up to a size that steps are compiled for."""
        slots, wanted = batch[0].slots, schedule.batch_size(len(batch)) - len(batch)
        kept = self._fillers.pop(slots, [])
        kept += [batch[0].runner.begin(slots) for _ in range(wanted - len(kept))]
        fillers, rest = kept[:wanted], kept[wanted:]
        if rest:
            self._fillers[slots] = rest
        return fillers

    def _verify(self, sequence: Sequence, drafts: list[int]) -> None:
        job = sequence.job
        sequence.progress, verified = job.runner.verify(sequence.progress, drafts, sequence.ran, job.choice)
        accepted, chosen, now = int(verified.accepted), np.asarray(verified.tokens), self._clock()
        self._count(decode_steps=1, decoded_rows=1)
        sequence.ran += accepted + 1
        sequence.learn(len(drafts), accepted)
        for token in chosen[: accepted + 1]:
            if sequence.end is None:
                sequence.take(int(token), now)

    def _let_go(self) -> None:
        """Ended sequences leave; then those who asked are told."""
        ended = [(each, each.end) for each in self._active if each.end is not None]
        for sequence, end in ended:
            if end.error is None:
                sequence.keep_prefix()
        with self._lock:
            self._active = [each for each in self._active if each.end is None]
            for sequence, end in ended:
                self._metrics = self._metrics.after(end, len(sequence.job.prompt), sequence.made)
        for sequence, end in ended:
            _tell(sequence.job, end)

    def _refuse(self, job: Job, end: End) -> None:
        """It ends before it has begun."""
        with self._lock:
            self._metrics = self._metrics.after(end, len(job.prompt), 0)
        _tell(job, end)

    def _count(self, **more: int) -> None:
        with self._lock:
            counts = {name: getattr(self._metrics, name) + count for name, count in more.items()}
            self._metrics = dataclasses.replace(self._metrics, **counts)


def _tell(job: Job, end: End) -> None:
    try:
        job.deliver(end)
    except Exception:
        _log.exception("whoever asked for a generation failed at its end")


def _given_up(job: Job, now: float) -> bool:
    """Nobody wants more of it.

    Raises:
        DeadlineExceeded: it should be done by now.
    """
    if job.deadline is not None and now >= job.deadline:
        raise DeadlineExceeded
    return job.given_up()
