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

from ..errors import DeadlineExceeded, EngineStopped, Overloaded
from ..memory_gauge import return_freed
from . import schedule
from .job import End, Job, told_error
from .metrics import EngineMetrics
from .options import EngineOptions
from .sequence import Sequence
from .steps import Steps

_RETURNED_AT_ONCE = 512 * 2**20
"""Bytes of caches that are let go of before the system gets them back, which takes some 50 ms a GiB."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
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
        thread = self.thread  # which forgets itself when it ends
        if thread is not None and thread is not threading.current_thread():
            thread.join()


class Engine:
    """Runs jobs of any networks of one base. Safe to use from several threads.

    The thread lives as long as there is work. ``clock`` gives seconds that never go back.
    """

    def __init__(self, options: EngineOptions | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._options, self._clock = options or EngineOptions(), clock
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._active: list[Sequence] = []
        self._steps = Steps(self._options, clock)
        self._metrics = EngineMetrics()
        self._turns = self._freed = 0
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
            return dataclasses.replace(
                self._metrics,
                waiting=len(self._waiting),
                running=len(self._active),
                prefill_steps=self._steps.prefill_steps,
                decode_steps=self._steps.decode_steps,
                decoded_rows=self._steps.decoded_rows,
            )

    def _run(self) -> None:
        try:
            while self._admitted():
                self._turn()
        except BaseException as error:  # noqa: BLE001 -- those who asked would wait for ever
            _log.exception("the engine of a language model failed")
            self._give_all_up(error if isinstance(error, Exception) else None)

    def _admitted(self) -> bool:
        """Take up waiting jobs; False, and the thread is to end, where there is nothing to do."""
        if self._life.ending:
            self._give_all_up()
        now = self._clock()
        with self._lock:
            waiting, self._waiting, over = self._waiting, deque(), []
            for each in waiting:
                (over if _over(each.job, now) else self._waiting).append(each)
            ends = [(each.job, _end_of(each.job, now, each.asked)) for each in over]
            while self._waiting and len(self._active) < self._options.sequences:
                ends += self._take_up(self._waiting.popleft(), now)
            goes_on = bool(self._active)  # asked here: without the lock, another thread may have begun meanwhile
            if not goes_on:
                self._steps.rest()
                self._life.thread = None
        self._tell_ends(ends)
        return goes_on

    def _take_up(self, waiting: _Waiting, now: float) -> list[tuple[Job, End]]:
        """Its end, where nothing can be begun with it."""
        job = waiting.job
        try:
            sequence = Sequence(job, waiting.asked, now, self._turns, speculate=self._options.speculate)
        except Exception as error:  # noqa: BLE001 -- whoever asked gets it
            return [(job, _failed(told_error(error, alone=True), now, waiting.asked))]
        self._active.append(sequence)
        return []

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
            self._steps.guarded(batch, self._steps.decode)
        while room > 0:
            going = [each for each in self._active if each.end is None]
            spent = self._steps.prefill(going, room, self._turns)
            if not spent:
                break
            room -= spent
        self._let_go()
        if not self._active:
            self._steps.wait()
        if self._freed >= _RETURNED_AT_ONCE:
            self._freed = 0
            return_freed()

    def _let_go(self) -> None:
        """Ended sequences leave; then those who asked are told."""
        ended = [(each, each.end) for each in self._active if each.end is not None]
        for sequence, end in ended:
            if end.error is None and sequence.made:
                self._steps.keep_prefix(sequence)
            self._freed += sequence.runner.block_bytes(sequence.slots)
        with self._lock:
            self._active = [each for each in self._active if each.end is None]
        self._tell_ends([(sequence.job, end) for sequence, end in ended])

    def _give_all_up(self, failure: Exception | None = None) -> None:
        """Nothing more can be run, since the program ends or for a ``failure``: everybody who waits is told so."""
        self._steps.wait()
        now = self._clock()
        with self._lock:
            jobs = [*(each.job for each in self._active), *(each.job for each in self._waiting)]
            self._active, self._life.thread = [], None
            self._waiting.clear()
            self._steps.forget()
        errors = [EngineStopped() if failure is None else told_error(failure) for _ in jobs]
        self._tell_ends([(job, _failed(error, now, now)) for job, error in zip(jobs, errors, strict=True)])

    def _tell_ends(self, ends: list[tuple[Job, End]]) -> None:
        with self._lock:
            for _, end in ends:
                self._metrics = self._metrics.after(end)
        for job, end in ends:
            try:
                job.deliver(end)
            except Exception:  # noqa: BLE001 -- it is a stranger's function
                _log.exception("whoever asked for a generation failed at its end")


def _over(job: Job, now: float) -> bool:
    """Nobody wants more of it, or it is too late."""
    return job.given_up() or (job.deadline is not None and now >= job.deadline)


def _end_of(job: Job, now: float, asked: float) -> End:
    """How a job ends that is over before it was done."""
    return End("cancelled", None if job.given_up() else DeadlineExceeded(), queue_seconds=now - asked)


def _failed(error: Exception, now: float, asked: float) -> End:
    return End("stop", error, queue_seconds=now - asked)
