"""How many updates a run makes, and where in its epochs each of them lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice

from .errors import BadBatches
from .objective import Batch, BatchSource
from .options import TrainingOptions


@dataclass(frozen=True, slots=True)
class Plan:
    """The updates of each epoch; the last epoch may be cut short by ``max_steps``."""

    updates: tuple[int, ...]
    accumulate: int

    @classmethod
    def of(cls, options: TrainingOptions, batches: BatchSource) -> Plan:
        """The plan of ``options`` over ``batches``.

        Raises:
            BadBatches: an epoch has no batch.
        """
        updates: list[int] = []
        left = options.max_steps
        while left != 0 and (options.epochs is None or len(updates) < options.epochs):
            promised = batches.steps(len(updates))
            if promised < 1:
                raise BadBatches(f"epoch {len(updates)} has {promised} batches: give at least one")
            whole = -(-promised // options.accumulate)
            updates.append(whole if left is None else min(whole, left))
            left = None if left is None else left - updates[-1]
        return cls(tuple(updates), options.accumulate)

    @property
    def steps(self) -> int:
        """Updates in all."""
        return sum(self.updates)

    def epoch_of(self, step: int) -> tuple[int, int]:
        """The epoch in which update ``step`` (from 0) lies, and how many updates of the epoch come before it."""
        for epoch, updates in enumerate(self.updates):
            if step < updates:
                return epoch, step
            step -= updates
        return len(self.updates), step

    def last_epoch(self, done: int) -> int:
        """The epoch of the last of ``done`` updates; 0 before the first."""
        return self.epoch_of(max(done - 1, 0))[0]

    def evaluations_after(self, done: int, every: int | None) -> int:
        """Evaluations due after more than ``done`` updates, at ends of epochs and each ``every`` updates."""
        ends = list(accumulate(self.updates))
        due = {*ends, *(range(every, self.steps + 1, every) if every else ())}
        return sum(1 for step in due if step > done)

    def ends_epoch(self, done: int) -> bool:
        """Whether the last of ``done`` updates ends an epoch, or the run."""
        return done > 0 and self.epoch_of(done)[1] == 0

    def groups(self, batches: BatchSource, start: int) -> Iterator[Iterator[Batch]]:
        """The batches of each update from update ``start`` on.

        Raises:
            BadBatches: an epoch yields another number of batches than it promised.
        """
        first, skipped = self.epoch_of(start)
        for epoch in range(first, len(self.updates)):
            promised = batches.steps(epoch)
            source = batches.epoch(epoch)
            taken = sum(1 for _ in islice(source, skipped * self.accumulate))
            for _ in range(skipped, self.updates[epoch]):
                size = min(self.accumulate, promised - taken)
                taken += size
                yield _exactly(source, size, epoch, promised, last=taken == promised)
            skipped = 0


def _exactly(source: Iterator[Batch], size: int, epoch: int, promised: int, *, last: bool) -> Iterator[Batch]:
    wrong = f"batches than the {promised} that steps({epoch}) promises"
    for _ in range(size):
        batch = next(source, None)
        if batch is None:
            raise BadBatches(f"epoch {epoch} yields fewer {wrong}")
        yield batch
    if last and next(source, None) is not None:
        raise BadBatches(f"epoch {epoch} yields more {wrong}")
