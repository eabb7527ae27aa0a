"""The engine: one thread that owns the device, and takes jobs in and lets them go between steps."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import DeadlineExceeded, EngineStopped, Overloaded
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


class _Life:
    """The engine's thread, if it runs, and whether it may go on. Outlives the engine, to end with the program."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.ending = False

    def stop(self) -> None:
        """A thread that is in the midst of a step when Python ends would end it with a crash."""
        self.ending = True
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join()


class Engine:
    """Runs jobs of any networks of one base. Safe to use from several threads.

    The thread lives as long as there is work. ``clock`` gives seconds that never go back.
    """

    def __init__(self, options: EngineOptions | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._options, self._clock = options or EngineOptions(), clock
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._active: list[Sequence] = []
        self._cache: PrefixCache | None = None
        self._fillers: dict[int, list[Progress]] = {}
        self._metrics = EngineMetrics()
        self._turns = 0
        self._life = _Life()
        weakref.finalize(self, self._life.stop)

    def submit(self, job: Job) -> None:
        """Take ``job`` up as soon as there is room.

        Raises:
            Overloaded: as many jobs wait as may.
            EngineStopped: the program is ending.
        """
        with self._lock:
            if self._life.ending:
                raise EngineStopped
            if len(self._waiting) + len(self._active) >= self._options.queue + self._options.sequences:
                self._metrics = dataclasses.replace(self._metrics, refused=self._metrics.refused + 1)
                raise Overloaded(len(self._waiting))
            if self._life.thread is None or not self._life.thread.is_alive():
                self._life.thread = threading.Thread(target=self._run, name="capibara-engine", daemon=True)
                self._waiting.append(_Waiting(job, self._clock()))
                try:
                    self._life.thread.start()
                except RuntimeError:  # there are too many threads
                    self._life.thread = None
                    self._waiting.pop()
                    raise
            else:
                self._waiting.append(_Waiting(job, self._clock()))

    @property
    def metrics(self) -> EngineMetrics:
        """Counts since the beginning, and what waits and runs now."""
        with self._lock:
            return dataclasses.replace(self._metrics, waiting=len(self._waiting), running=len(self._active))

    def _run(self) -> None:
        try:
            while self._admitted():
                self._turn()
        except BaseException as error:  # noqa: BLE001 -- those who asked would wait for ever
            _log.exception("the engine of a language model failed")
            self._give_all_up(error if isinstance(error, Exception) else EngineStopped())

    def _admitted(self) -> bool:
        """Take up waiting jobs; False, and the thread is to end, where there is nothing to do."""
        if self._life.ending:
            self._give_all_up(EngineStopped())
        now = self._clock()
        with self._lock:
            over = [each for each in self._waiting if _over(each.job, now)]
            self._waiting = deque(each for each in self._waiting if each not in over)
            room = self._options.sequences - len(self._active)
            taken = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
            speculate = self._options.speculate
            self._active += [Sequence(each.job, each.asked, now, self._turns, speculate=speculate) for each in taken]
            goes_on = bool(self._active)  # asked here: without the lock, another thread may have begun meanwhile
            if not goes_on:
                self._fillers.clear()
                self._life.thread = None
        self._tell_ends([(each.job, _end_of(each.job, now, each.asked)) for each in over])
        return goes_on

    def _turn(self) -> None:
        """One step of all that decode, pieces of prompts; then let go of what has ended."""
        self._turns += 1
        now = self._clock()
        for sequence in self._active:
            if _over(sequence.job, now):
                end = _end_of(sequence.job, now, now)
                sequence.finish(end.reason, now, end.error)
        self._let_go()
        room = schedule.chunk_limit(self._active)
        for batch in schedule.batches(self._active):
            self._guarded(batch, self._decode)
        while room > 0:
            sequence = schedule.next_prompt([each for each in self._active if each.end is None])
            if sequence is None:
                break
            before = sequence.ran
            self._guarded([sequence], lambda one, room=room: self._prefill(one[0], room))
            room -= max(1, sequence.ran - before)
        self._let_go()

    def _guarded(self, sequences: list[Sequence], step: Callable[[list[Sequence]], None]) -> None:
        """A step that fails takes its own sequences with it, and no others."""
        try:
            step(sequences)
        except Exception as error:  # noqa: BLE001 -- whoever asked gets it
            for sequence in sequences:
                sequence.finish("stop", self._clock(), error)

    def _prefill(self, sequence: Sequence, room: int) -> None:
        job, cache = sequence.job, self._prefixes(sequence)
        sequence.begin(cache, self._clock())
        if sequence.end is not None:
            return
        chunk = sequence.chunk(schedule.piece_limit(room))
        last = chunk.start + chunk.count == len(sequence.tokens)
        allowed = job.rule.allowed() if job.rule is not None and last else None
        sequence.progress, token = job.runner.prefill(sequence.progress, sequence.tokens, chunk, job.choice, allowed)
        newest = int(token)  # waits: what is under way cannot be given up
        sequence.ran += chunk.count
        sequence.since = self._turns
        if last:
            sequence.take(newest, self._clock())
        self._keep_prefix(sequence, cache)

    def _decode(self, batch: list[Sequence]) -> None:
        if len(batch) == 1 and (drafts := self._drafts(batch[0])):
            self._verify(batch[0], drafts)
            return
        masks = {}
        for sequence in batch:
            if (rule := sequence.job.rule) is not None:
                self._guarded([sequence], lambda one, rule=rule: masks.update({one[0]: rule.allowed()}))
        batch = [sequence for sequence in batch if sequence.end is None]
        if not batch:
            return
        slots, wanted = batch[0].slots, schedule.batch_size(len(batch)) - len(batch)
        kept = self._fillers.setdefault(slots, [])
        fillers = [kept.pop() if kept else batch[0].runner.begin(slots) for _ in range(wanted)]
        nobody = [batch[0].job.choice] * wanted
        allowed = [*(masks.get(sequence) for sequence in batch), *(None for _ in fillers)]
        progress, tokens_B = batch[0].runner.advance(
            [*(each.progress for each in batch), *fillers],
            [*(each.ran for each in batch), *(0 for _ in fillers)],
            [*(each.job.choice for each in batch), *nobody],
            allowed if any(mask is not None for mask in allowed) else None,
        )
        chosen = np.asarray(tokens_B)  # a step that failed on the device says so here
        kept += progress[len(batch) :]
        self._count(decode_steps=1, decoded_rows=len(batch))
        for sequence, after, token in zip(batch, progress, chosen, strict=False):
            sequence.progress = after
            sequence.ran += 1
            self._guarded([sequence], lambda one, token=token: one[0].take(int(token), self._clock()))

    def _drafts(self, sequence: Sequence) -> list[int]:
        """Drafts that cannot be made are no reason to fail a generation."""
        try:
            return sequence.propose()
        except Exception:  # noqa: BLE001 -- whatever it is, the generation is whole
            _log.exception("drafts cannot be made: the rest of a generation does without")
            sequence.stop_drafting()
            return []

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

    def _prefixes(self, sequence: Sequence) -> PrefixCache:
        if self._cache is None:
            self._cache = PrefixCache(self._options.prefix_bytes // sequence.runner.block_bytes(BLOCK))
        return self._cache

    def _keep_prefix(self, sequence: Sequence, cache: PrefixCache) -> None:
        """A prefix that cannot be kept is no reason to fail a generation."""
        try:
            sequence.keep_prefix(cache)
        except Exception:  # noqa: BLE001 -- whatever it is, the generation is whole
            _log.exception("the beginning of a prompt could not be kept")

    def _let_go(self) -> None:
        """Ended sequences leave; then those who asked are told."""
        ended = [(each, each.end) for each in self._active if each.end is not None]
        for sequence, end in ended:
            if end.error is None and self._cache is not None and sequence.made:
                self._keep_prefix(sequence, self._cache)
        with self._lock:
            self._active = [each for each in self._active if each.end is None]
        self._tell_ends([(sequence.job, end) for sequence, end in ended])

    def _give_all_up(self, error: Exception) -> None:
        """Nothing more can be run: everybody who waits is told why."""
        now = self._clock()
        with self._lock:
            jobs = [*(each.job for each in self._active), *(each.job for each in self._waiting)]
            self._active, self._life.thread = [], None
            self._waiting.clear()
            self._fillers.clear()
            self._cache = None
        self._tell_ends([(job, _failed(error, now, now)) for job in jobs])

    def _tell_ends(self, ends: list[tuple[Job, End]]) -> None:
        with self._lock:
            for _, end in ends:
                self._metrics = self._metrics.after(end)
        for job, end in ends:
            try:
                job.deliver(end)
            except Exception:  # noqa: BLE001 -- it is a stranger's function
                _log.exception("whoever asked for a generation failed at its end")

    def _count(self, **more: int) -> None:
        with self._lock:
            counts = {name: getattr(self._metrics, name) + count for name, count in more.items()}
            self._metrics = dataclasses.replace(self._metrics, **counts)


def _over(job: Job, now: float) -> bool:
    """Nobody wants more of it, or it is too late."""
    return job.given_up() or (job.deadline is not None and now >= job.deadline)


def _end_of(job: Job, now: float, asked: float) -> End:
    """How a job ends that is over before it was done."""
    return End("cancelled", None if job.given_up() else DeadlineExceeded(), queue_seconds=now - asked)


def _failed(error: Exception, now: float, asked: float) -> End:
    return End("stop", error, queue_seconds=now - asked)
