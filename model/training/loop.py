"""Trains weights on batches: updates, evaluations, checkpoints, and the ways in which a run ends."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Array, Float, PyTree

from .checkpoints import Checkpoints, Snapshot
from .errors import CheckpointMismatch, FolderBusy, InvalidOption, TrainingDiverged
from .objective import Batch, BatchSource, Evaluate, Objective
from .optimiser import learning_rate_schedule, make_optimiser
from .options import TrainingOptions
from .plan import Plan
from .progress import Evaluation, Pace, Progress, Reason, Report, TrainingResult
from .record import RunRecord
from .training_log import TrainingLog
from .update import CompiledUpdate, Placement, TrainState, UpdateFigures, float32_masters, on_host, read_figures

__all__ = ["Batch", "BatchSource", "Evaluate", "Objective", "train"]

_AHEAD = 4
"""Updates that the device has waiting while the host prepares the next: it never idles, and a failure is seen soon."""


def train(
    objective: Objective,
    trainable: PyTree,
    frozen: PyTree,
    batches: BatchSource,
    options: TrainingOptions,
    folder: Path,
    *,
    evaluate: Evaluate | None = None,
    report: Report | None = None,
    cancel: threading.Event | None = None,
    fingerprint: Mapping[str, str] | None = None,
    resume: bool = True,
) -> TrainingResult:
    """Minimises ``objective`` over ``trainable`` with ``frozen`` held fixed.

    The loss of an update is the sum of the losses of its batches over the sum of their weights, however many batches
    it accumulates and however many devices share them. ``trainable`` is a tree of floating-point arrays, of which the
    run makes a float32 copy; ``frozen`` is any tree of arrays, kept as it is. ``folder`` gets `checkpoints/` and
    `log.jsonl`; a run found there is resumed where its last checkpoint stands, and goes the same way as if it had not
    been interrupted.

    Args:
        evaluate: called after each epoch, and as the options say; its time does not count as training time.
        report: called every ``report_every`` updates, after each evaluation, and at the end.
        cancel: once set (see `interruption.cancelled_by`), the run writes a checkpoint after the update and returns.
        fingerprint: names what the numbers of the run depend on besides the options (data, base model, objective), by
            part; a run with other values is not resumed.
        resume: `False` refuses a folder that holds a run.

    Raises:
        TrainingDiverged: an update was not finite or had no targets. It was not applied: the last good weights are in
            the error and in the last checkpoint.
        CheckpointMismatch: the folder holds another run.
        CheckpointDamaged: none of its checkpoints can be read.
        FolderBusy: another process trains there.
        BadBatches: an epoch yields none, fewer or more than it promises, or they do not divide among the devices.
        EvaluationMissing: ``evaluate`` does not return the figure that ``keep_best`` names.
        InvalidOption: the options contradict the data, the devices or the arguments.
    """
    if options.best is not None and evaluate is None:
        raise InvalidOption(f"keep_best names {options.best.name!r}, but there is no evaluation: pass evaluate")
    plan = Plan.of(options, batches)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout as error:
        raise FolderBusy(f"another process trains in {folder}: wait for it, or name another folder") from error
    with lock, Checkpoints(folder / "checkpoints") as checkpoints:
        run = _Run(objective, trainable, frozen, options, plan, checkpoints, fingerprint or {}, evaluate, report)
        run.resume(allowed=resume)
        log = TrainingLog(folder / "log.jsonl", run.record)
        try:
            return run.go(batches, log, cancel or threading.Event())
        finally:
            log.close()


class _Run:
    """The state of one call of `train`."""

    def __init__(
        self,
        objective: Objective,
        trainable: PyTree,
        frozen: PyTree,
        options: TrainingOptions,
        plan: Plan,
        checkpoints: Checkpoints,
        fingerprint: Mapping[str, str],
        evaluate: Evaluate | None,
        report: Report | None,
    ) -> None:
        self._options, self._plan, self._checkpoints = options, plan, checkpoints
        self._evaluate, self._report = evaluate, report
        self._identity = {
            "options": {**options.deciding(), "updates per epoch": list(plan.updates)},
            "fingerprint": dict(fingerprint),
        }
        schedule = learning_rate_schedule(options, plan.steps)
        self._placement = Placement(options.devices)
        self._update = CompiledUpdate(
            objective, make_optimiser(options, schedule), schedule, self._placement, options.seed
        )
        masters = float32_masters(trainable)
        self._state: TrainState = self._update.first_state(masters)
        self._sums = self._update.no_sums(masters)
        self._frozen = self._placement.weights(frozen)
        self._step = 0
        self._pending: deque[Float[Array, " figures"]] = deque()
        self._best: PyTree | None = None
        self._pace = Pace()
        self._told = -1
        self._saved_at = time.monotonic()
        self.record = RunRecord()

    def resume(self, *, allowed: bool) -> None:
        """Takes up the last checkpoint, if there is one."""
        found = self._checkpoints.latest(self._state, self._refuse_another if allowed else None)
        if found is None:
            return
        if not allowed:
            raise CheckpointMismatch(
                f"{self._checkpoints.folder} holds a run that has made {found.step} updates: resume it, or name "
                "another folder"
            )
        self._state = self._placement.own(found.arrays)
        self._step = found.step
        self.record = RunRecord.from_json(found.record)
        at_best = self._at_best(found)
        if at_best is not None:
            self._checkpoints.keep(at_best.step)
            self._best = at_best.arrays.trainable

    def _at_best(self, found: Snapshot) -> Snapshot | None:
        """The checkpoint with the best weights of which one can be read; the record forgets those that are lost."""
        while (best := self.record.forget_bests(self._checkpoints.steps())) is not None:
            if best.step == found.step:
                return found
            if at_best := self._checkpoints.read_or_set_aside(best.step, self._state):
                return at_best
        return None

    def _refuse_another(self, record: Mapping[str, Any]) -> None:
        there = record["identity"]
        for kind, here in self._identity.items():
            for name in sorted({*there[kind], *here}):
                before, now = there[kind].get(name), here.get(name)
                if before != now:
                    raise CheckpointMismatch(
                        f"{self._checkpoints.folder} holds a run with {name} = {before!r}, this one has {now!r}: "
                        "name another folder, or delete that one"
                    )

    def go(self, batches: BatchSource, log: TrainingLog, cancel: threading.Event) -> TrainingResult:
        """From where the state stands to the end."""
        if self._options.evaluate_first and not self._step and self._evaluate_now(log).best:
            self._save()
        reason = self._reason(cancel)
        groups = self._plan.groups(batches, self._step)
        self._pace.start()
        while reason is None:
            self._dispatch(next(groups))
            self._settle(log, _AHEAD)
            self._after_update(log)
            reason = self._reason(cancel)
        self._settle(log, 0)
        self._save()
        self._tell()
        return self._result(reason)

    def _dispatch(self, group: Iterator[Batch]) -> None:
        """Hands one update to the device, without waiting for it."""
        step = np.int32(self._step)
        for batch in group:
            placed = self._placement.batch(batch)
            self._sums = self._update.add(self._sums, self._state.trainable, step, self._frozen, placed)
        self._state, self._sums, figures = self._update.apply(self._state, self._sums)
        self._pending.append(figures)
        self._step += 1

    def _settle(self, log: TrainingLog, ahead: int) -> None:
        """Reads the figures of all but the last ``ahead`` updates."""
        while len(self._pending) > ahead:
            figures = read_figures(self._pending.popleft())
            if not figures.healthy:
                self._diverged(figures)
            step = self.record.update(figures.loss, figures.learning_rate)
            self._pace.update(figures)
            log.update(step, figures.loss, figures.learning_rate)
            if step % self._options.report_every == 0:
                log.flush()
                self._tell()

    def _diverged(self, figures: UpdateFigures) -> None:
        """The device has changed nothing since the last healthy update: what it holds are the last good weights."""
        self._step = len(self.record.losses)
        self._state = self._state._replace(healthy=np.bool_(True))  # type: ignore[arg-type]
        self._save()
        kept = f"the weights after update {self._step} are kept in the last checkpoint"
        if figures.weight == 0:
            what = f"update {self._step + 1} has no targets, all of its examples are masked"
            way_out = "leave such examples out"
        else:
            what = f"update {self._step + 1} is not finite (loss {figures.loss}, gradient {figures.gradient_norm})"
            way_out = "lower learning_rate or clip_norm, or look at the data of this update"
        raise TrainingDiverged(
            f"{what}; {kept}: {way_out}", step=self._step + 1, trainable=on_host(self._state.trainable)
        )

    def _after_update(self, log: TrainingLog) -> None:
        ends_epoch, every = self._plan.ends_epoch(self._step), self._options.evaluate_every
        new_best = False
        if self._evaluate is not None and (ends_epoch or (every and self._step % every == 0)):
            self._settle(log, 0)
            new_best = self._evaluate_now(log).best
        if ends_epoch or new_best or self._checkpoint_due():
            self._settle(log, 0)
            self._save()

    def _checkpoint_due(self) -> bool:
        every, seconds = self._options.checkpoint_every, self._options.checkpoint_seconds
        by_step = every is not None and self._step % every == 0
        return by_step or (seconds is not None and time.monotonic() - self._saved_at >= seconds)

    def _reason(self, cancel: threading.Event) -> Reason | None:
        if self._step >= self._plan.steps:
            return "finished"
        if self._options.patience is not None and self.record.evaluations_since_best >= self._options.patience:
            return "early stop"
        return "cancelled" if cancel.is_set() else None

    def _evaluate_now(self, log: TrainingLog) -> Evaluation:
        assert self._evaluate is not None
        started = time.monotonic()
        figures = {name: float(value) for name, value in self._evaluate(self._state.trainable).items()}
        evaluation = self.record.evaluation(self._step, self._plan.last_epoch(self._step), figures, self._options.best)
        if evaluation.best:
            self._best = on_host(self._state.trainable)
        log.evaluation(evaluation)
        self._pace.evaluated(time.monotonic() - started)
        self._tell(evaluation)
        return evaluation

    def _save(self) -> None:
        """Starts a checkpoint of the state, of which all updates have been settled."""
        epoch, updates = self._plan.epoch_of(self._step)
        position = {"epoch": epoch, "updates of the epoch": updates, "seed": self._options.seed}
        record = {"identity": self._identity, "position": position, **self.record.to_json()}
        best = self.record.best
        self._checkpoints.save(
            Snapshot(self._step, on_host(self._state), record), best=None if best is None else best.step
        )
        self._saved_at = time.monotonic()

    def _tell(self, evaluation: Evaluation | None = None) -> None:
        done = len(self.record.losses)
        if self._report is None or (evaluation is None and done == self._told):
            return
        self._told = done
        evaluations = 0 if self._evaluate is None else self._plan.evaluations_after(done, self._options.evaluate_every)
        self._report(
            Progress(
                step=done,
                steps=self._plan.steps,
                epoch=self._plan.last_epoch(done),
                epochs=len(self._plan.updates),
                loss=self._pace.loss,
                learning_rate=self.record.learning_rates[-1] if done else float("nan"),
                gradient_norm=self._pace.gradient_norm,
                targets_per_second=self._pace.targets_per_second,
                seconds_left=self._pace.seconds_left(self._plan.steps - done, evaluations),
                evaluation=evaluation,
            )
        )

    def _result(self, reason: Reason) -> TrainingResult:
        last, best = on_host(self._state.trainable), self.record.best
        return TrainingResult(
            trainable=last,
            best=last if best is None else self._best,
            best_step=self._step if best is None else best.step,
            reason=reason,
            step=self._step,
            history=self.record.history,
            evaluations=tuple(self.record.evaluations),
        )
