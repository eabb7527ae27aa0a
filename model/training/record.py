"""What a run has done so far: the loss and the learning rate of each update, and its evaluations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from .errors import EvaluationMissing
from .options import KeepBest
from .progress import Evaluation, History


@dataclass(slots=True)
class RunRecord:
    """Grows with the run, and is written into each of its checkpoints."""

    losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)

    def update(self, loss: float, learning_rate: float) -> int:
        """Adds an update, and returns its number."""
        self.losses.append(loss)
        self.learning_rates.append(learning_rate)
        return len(self.losses)

    def evaluation(self, step: int, epoch: int, figures: Mapping[str, float], keep: KeepBest | None) -> Evaluation:
        """Adds an evaluation, compared with those before by ``keep``.

        Raises:
            EvaluationMissing: the figure that ``keep`` names is not among ``figures``.
        """
        if keep is not None and keep.name not in figures:
            raise EvaluationMissing(
                f"keep_best names {keep.name!r}, but the evaluation returns {sorted(figures)}: name one of them"
            )
        before = self.best
        is_best = keep is not None and keep.better(
            figures[keep.name], None if before is None else before.figures[keep.name]
        )
        self.evaluations.append(Evaluation(step, epoch, dict(figures), is_best))
        return self.evaluations[-1]

    @property
    def history(self) -> History:
        return History(tuple(self.losses), tuple(self.learning_rates))

    @property
    def best(self) -> Evaluation | None:
        """The evaluation that was better than all before it, and than all since."""
        return next((evaluation for evaluation in reversed(self.evaluations) if evaluation.best), None)

    @property
    def evaluations_since_best(self) -> int:
        best = self.best
        return sum(1 for evaluation in self.evaluations if best is None or evaluation.step > best.step)

    def forget_bests(self, kept: Collection[int]) -> Evaluation | None:
        """The last best whose weights are among ``kept`` (updates made); later ones are bests no more."""
        best = max((e.step for e in self.evaluations if e.best and e.step in kept), default=-1)
        self.evaluations = [e if e.step <= best else replace(e, best=False) for e in self.evaluations]
        return self.best

    def to_json(self) -> dict[str, Any]:
        return {
            "losses": list(self.losses),
            "learning_rates": list(self.learning_rates),
            "evaluations": [
                {"step": e.step, "epoch": e.epoch, "figures": dict(e.figures), "best": e.best} for e in self.evaluations
            ],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        evaluations = [Evaluation(**evaluation) for evaluation in values["evaluations"]]
        return cls(list(values["losses"]), list(values["learning_rates"]), evaluations)
