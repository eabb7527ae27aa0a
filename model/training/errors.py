"""What can go wrong in training; every message is one line that names the thing, the value and the way out."""

from __future__ import annotations

from typing import Any

from ..errors import ModelError


class TrainingError(ModelError):
    """Base of the errors of training."""


class InvalidOption(TrainingError, ValueError):
    """An option of training has a value it cannot have, or two contradict each other."""


class BadBatches(TrainingError):
    """The batches are missing, fewer or more than promised, or of a shape that cannot be computed."""


class EvaluationMissing(TrainingError):
    """The evaluation does not return the figure that the options name."""


class CheckpointMismatch(TrainingError):
    """The folder holds another run: other options, other data, or other weights."""


class CheckpointDamaged(TrainingError):
    """No checkpoint of the folder can be read."""


class FolderBusy(TrainingError):
    """Another process trains in the folder."""


class TrainingDiverged(TrainingError):
    """An update was not finite, and was not applied.

    Attributes:
        step: the update that failed, counted from 1.
        trainable: the weights after the last good update, as NumPy arrays.
    """

    def __init__(self, message: str, *, step: int, trainable: Any) -> None:
        self.step = step
        self.trainable = trainable
        super().__init__(message)
