"""Writes each update and each evaluation of a run as one line of JSON, `log.jsonl`."""

from __future__ import annotations

import json
import logging
import math
from itertools import count
from pathlib import Path
from typing import Any, TextIO

from .progress import Evaluation
from .record import RunRecord

_log = logging.getLogger(__name__)


class TrainingLog:
    """`{"step", "loss", "learning_rate"}` for each update, `{"step", "epoch", "evaluation"}` for each evaluation.

    A disk that is full costs lines of the log, never the run.
    """

    def __init__(self, path: Path, record: RunRecord) -> None:
        """Starts ``path`` anew with what a resumed run has already done."""
        self._path = path
        self._file: TextIO | None = None
        self._lost = False
        self._write(self._start, record)

    def update(self, step: int, loss: float, learning_rate: float) -> None:
        self._write(self._line, {"step": step, "loss": loss, "learning_rate": learning_rate})

    def evaluation(self, evaluation: Evaluation) -> None:
        self._write(self._line, _evaluation_line(evaluation))
        self.flush()

    def flush(self) -> None:
        """Hands what was written to the operating system."""
        if self._file is not None:
            self._write(self._file.flush)

    def close(self) -> None:
        if self._file is not None:
            self._write(self._file.close)

    def _start(self, record: RunRecord) -> None:
        partial = self._path.with_suffix(".partial")
        self._file = partial.open("w", encoding="utf-8")
        lines = [(evaluation.step, _evaluation_line(evaluation)) for evaluation in record.evaluations]
        lines += [
            (step, {"step": step, "loss": loss, "learning_rate": rate})
            for step, loss, rate in zip(count(1), record.losses, record.learning_rates, strict=False)
        ]
        for _, line in sorted(lines, key=lambda pair: (pair[0], "evaluation" in pair[1])):
            self._line(line)
        self._file.flush()
        partial.replace(self._path)

    def _line(self, values: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(values) + "\n")

    def _write(self, action: Any, *arguments: Any) -> None:
        try:
            action(*arguments)
        except OSError as error:
            if not self._lost:
                _log.warning("lines of %s are lost (%s): the training goes on; free some space", self._path, error)
            self._lost = True


def _evaluation_line(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "step": evaluation.step,
        "epoch": evaluation.epoch,
        # JSON has no NaN: a figure that could not be computed is null.
        "evaluation": {name: value if math.isfinite(value) else None for name, value in evaluation.figures.items()},
        "best": evaluation.best,
    }
