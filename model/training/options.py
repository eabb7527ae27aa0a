"""The options of one training run, checked when they are made."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

from .errors import InvalidOption

OptimiserName = Literal["adamw", "sgd"]
ScheduleName = Literal["constant", "linear", "cosine", "polynomial"]


class KeepBest(NamedTuple):
    """Which figure of the evaluation decides, and whether less or more of it is better."""

    name: str
    direction: Literal["min", "max"]

    def better(self, new: float, old: float | None) -> bool:
        """Whether ``new`` beats ``old`` (`None`: nothing yet). A figure that is not finite beats nothing."""
        if not math.isfinite(new):
            return False
        return old is None or (new < old if self.direction == "min" else new > old)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """What decides a run, besides its data and its objective.

    An *update* (or step) is one change of the weights, made from ``accumulate`` batches; the last update of an epoch
    takes what batches are left. A run ends after ``epochs`` or after ``max_steps`` updates, whichever comes first.

    Attributes:
        epochs: passes over the data; `None` leaves the end to ``max_steps``.
        max_steps: updates at most.
        accumulate: batches per update.
        optimiser: ``adamw`` (Loshchilov & Hutter, 1711.05101) or ``sgd`` (with ``momentum``).
        learning_rate: its peak, after the warm-up.
        schedule: how the rate falls from the peak to ``final_rate`` × peak over the updates after the warm-up.
        power: exponent of the polynomial schedule.
        warmup_steps: updates of linear warm-up, or give
        warmup_fraction: the same as a part of all updates.
        clip_norm: largest global norm of an update's gradient; `None` leaves gradients as they are.
        weight_decay: decoupled for AdamW, added to the gradient for SGD; vectors (biases, norms) are not decayed.
        seed: of every random choice of the loop; one seed gives one run.
        evaluate_every: updates between evaluations, besides those after each epoch.
        evaluate_first: whether to evaluate before the first update as well.
        keep_best: the figure that says which weights are best, e.g. ``("f1", "max")``.
        patience: evaluations in a row without a new best after which the run stops early.
        checkpoint_every: updates between checkpoints, besides those after each epoch and each new best.
        checkpoint_seconds: the same in seconds.
        report_every: updates between reports of progress.
        devices: devices that share each batch (data parallel); `None` is one.

    Raises:
        InvalidOption: a value cannot be; the message names the option.
    """

    epochs: int | None = 1
    max_steps: int | None = None
    accumulate: int = 1
    optimiser: OptimiserName = "adamw"
    learning_rate: float = 1e-3
    schedule: ScheduleName = "linear"
    final_rate: float = 0.0
    power: float = 2.0
    warmup_steps: int = 0
    warmup_fraction: float = 0.0
    clip_norm: float | None = 1.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    momentum: float = 0.0
    seed: int = 0
    evaluate_every: int | None = None
    evaluate_first: bool = False
    keep_best: KeepBest | tuple[str, Literal["min", "max"]] | None = None
    patience: int | None = None
    checkpoint_every: int | None = None
    checkpoint_seconds: float | None = 600.0
    report_every: int = 10
    devices: int | None = None

    def __post_init__(self) -> None:
        if self.epochs is None and self.max_steps is None:
            raise InvalidOption("neither epochs nor max_steps is given: name at least one, or the run has no end")
        for name in ("epochs", "max_steps", "evaluate_every", "patience", "checkpoint_every", "devices"):
            if getattr(self, name) is not None:
                _require(name, getattr(self, name), ">= 1", getattr(self, name) >= 1)
        for name in ("accumulate", "report_every"):
            _require(name, getattr(self, name), ">= 1", getattr(self, name) >= 1)
        for name in ("learning_rate", "power", "epsilon", "clip_norm", "checkpoint_seconds"):
            value = getattr(self, name)
            if value is not None:
                _require(name, value, "a finite number > 0", math.isfinite(value) and value > 0)
        for name in ("final_rate", "warmup_fraction", "momentum"):
            _require(name, getattr(self, name), "in [0, 1)", 0 <= getattr(self, name) < 1)
        _require(
            "betas", self.betas, "two numbers in [0, 1)", len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas)
        )
        _require("weight_decay", self.weight_decay, ">= 0", math.isfinite(self.weight_decay) and self.weight_decay >= 0)
        _require("warmup_steps", self.warmup_steps, ">= 0", self.warmup_steps >= 0)
        _require("seed", self.seed, "in [0, 2**32)", 0 <= self.seed < 2**32)
        _require(
            "optimiser", self.optimiser, f"one of {get_args(OptimiserName)}", self.optimiser in get_args(OptimiserName)
        )
        _require("schedule", self.schedule, f"one of {get_args(ScheduleName)}", self.schedule in get_args(ScheduleName))
        if self.warmup_steps and self.warmup_fraction:
            raise InvalidOption("warmup_steps and warmup_fraction are both given: name one of them")
        self._check_best()

    def _check_best(self) -> None:
        if self.keep_best is None:
            if self.patience is not None:
                raise InvalidOption("patience needs keep_best, which names the figure that has to get better")
            return
        best = KeepBest(*self.keep_best)
        _require("keep_best", tuple(best), "a name with 'min' or 'max'", best.direction in ("min", "max"))
        object.__setattr__(self, "keep_best", best)

    @property
    def best(self) -> KeepBest | None:
        """``keep_best`` by its fields."""
        return None if self.keep_best is None else KeepBest(*self.keep_best)

    def deciding(self) -> dict[str, Any]:
        """The options that decide the numbers of a run, for JSON: what a resumed run must have in common."""
        record = asdict(self)
        for name in ("checkpoint_every", "checkpoint_seconds", "report_every", "devices"):
            del record[name]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in record.items()}


def _require(name: str, value: object, wanted: str, holds: bool) -> None:
    if not holds:
        raise InvalidOption(f"{name} is {value!r}, but must be {wanted}")
