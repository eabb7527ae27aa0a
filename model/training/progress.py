"""What a run tells while it goes and when it ends."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from jaxtyping import PyTree

from .update import UpdateFigures

Reason: TypeAlias = Literal["finished", "early stop", "cancelled"]
_WINDOW = 50


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of the weights after ``step`` updates; ``best``: better than all before."""

    step: int
    epoch: int
    figures: Mapping[str, float]
    best: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: updates made, of ``steps``.
        epoch: the epoch of the last of them, from 0; ``epochs`` in all.
        loss: mean over the targets of the last updates (at most 50).
        learning_rate: of the last update.
        gradient_norm: of the last update, before clipping.
        targets_per_second: over the last updates, without evaluations.
        seconds_left: to the end of the plan, evaluations included; `None` while there is nothing to judge by.
        evaluation: set in the report that follows an evaluation.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    learning_rate: float
    gradient_norm: float
    targets_per_second: float
    seconds_left: float | None
    evaluation: Evaluation | None = None


Report: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class History:
    """Loss (mean over targets) and learning rate of each update; update ``i`` stands at place ``i - 1``."""

    losses: tuple[float, ...]
    learning_rates: tuple[float, ...]

    @property
    def steps(self) -> range:
        """The numbers of the updates."""
        return range(1, len(self.losses) + 1)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The end of a run.

    Attributes:
        trainable: the last weights, NumPy float32, in the structure that was given.
        best: the weights after ``best_step`` updates; the last ones where the options keep no best.
        best_step: updates made when they were best.
        reason: why the run ended.
        step: updates made.
        history: loss and rate of each update, those before a resumption included.
        evaluations: in order, likewise.
    """

    trainable: PyTree
    best: PyTree
    best_step: int
    reason: Reason
    step: int
    history: History
    evaluations: tuple[Evaluation, ...]


@dataclass(slots=True)
class Pace:
    """How fast updates go, from the last ones; evaluations are timed apart."""

    clock: Callable[[], float] = time.monotonic
    gradient_norm: float = float("nan")
    _updates: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    _mark: float | None = None
    _evaluation_seconds: float = 0.0

    def start(self) -> None:
        """Time runs from here: the next update starts now."""
        self._mark = self.clock()

    def update(self, figures: UpdateFigures) -> None:
        """An update has come back from the device."""
        now = self.clock()
        seconds = 0.0 if self._mark is None else now - self._mark
        self._updates.append((seconds, figures.weight, figures.loss * figures.weight))
        self.gradient_norm = figures.gradient_norm
        self._mark = now

    def evaluated(self, seconds: float) -> None:
        """An evaluation has taken ``seconds``; it does not count as time of updates."""
        self._evaluation_seconds = seconds
        self.start()

    @property
    def loss(self) -> float:
        """Mean loss over the targets of the last updates."""
        weight = sum(weight for _, weight, _ in self._updates)
        return sum(total for _, _, total in self._updates) / weight if weight else float("nan")

    @property
    def targets_per_second(self) -> float:
        seconds = sum(seconds for seconds, _, _ in self._updates)
        return sum(weight for _, weight, _ in self._updates) / seconds if seconds else 0.0

    def seconds_left(self, updates: int, evaluations: int) -> float | None:
        """Time for so many more updates and evaluations."""
        if not self._updates:
            return None
        each = sum(seconds for seconds, _, _ in self._updates) / len(self._updates)
        return updates * each + evaluations * self._evaluation_seconds
