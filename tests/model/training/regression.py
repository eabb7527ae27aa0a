"""A tiny real thing to train, a two-layer network on a sine; run as a program, a process that can be killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from capibara.model.training.interruption import cancelled_by
from capibara.model.training.loop import train
from capibara.model.training.options import TrainingOptions
from capibara.model.training.progress import Progress, TrainingResult

INPUTS, HIDDEN, OUTPUTS = 5, 16, 2


class Layer(NamedTuple):
    weight: Any
    bias: Any


def weights(hidden: int = HIDDEN) -> dict[str, Layer]:
    random = np.random.default_rng(7)

    def layer(outputs: int, inputs: int) -> Layer:
        weight = random.normal(size=(outputs, inputs), scale=inputs**-0.5).astype(np.float32)
        return Layer(weight, np.zeros(outputs, np.float32))

    return {"in.0": layer(hidden, INPUTS), "out.0": layer(OUTPUTS, hidden)}


class Regression:
    """Squared error over the rows whose mask is 1, with dropout on the hidden layer."""

    def __init__(self, dropout: float = 0.0) -> None:
        self.dropout = dropout

    def loss(self, trainable, frozen, batch, key):
        first, second = trainable["in.0"], trainable["out.0"]
        hidden = jnp.tanh(batch["x"] @ first.weight.T + first.bias)
        if self.dropout:
            hidden *= jax.random.bernoulli(key, 1 - self.dropout, hidden.shape) / (1 - self.dropout)
        error = hidden @ second.weight.T + second.bias - batch["y"] * frozen
        mask = batch["mask"]
        return jnp.sum(mask[:, None] * error**2), jnp.sum(mask)


SCALE = np.float32(1.0)  # what is frozen


class Sine:
    """Batches of the given sizes, in turn; one row of each is masked."""

    def __init__(self, sizes: tuple[int, ...] = (8, 8, 8, 8, 8), pause: float = 0.0) -> None:
        self.sizes, self.pause = sizes, pause

    def steps(self, number: int) -> int:
        return len(self.sizes)

    def epoch(self, number: int) -> Iterator[dict[str, np.ndarray]]:
        random = np.random.default_rng([3, number])
        for size in self.sizes:
            x = random.normal(size=(size, INPUTS)).astype(np.float32)
            mask = np.ones(size, np.float32)
            mask[-1] = 0
            time.sleep(self.pause)
            yield {"x": x, "y": np.sin(2 * x[:, :OUTPUTS]), "mask": mask}


def error_of(trainable: dict[str, Layer]) -> dict[str, float]:
    """The evaluation: mean squared error on rows that are not trained on."""
    (batch,) = Sine((64,)).epoch(10**6)
    total, count = Regression().loss(trainable, SCALE, batch, None)
    return {"error": float(total / count)}


def run(
    folder: Path,
    options: TrainingOptions | None = None,
    *,
    objective: Regression | None = None,
    trainable: Any = None,
    batches: Any = None,
    **rest: Any,
) -> TrainingResult:
    return train(
        objective or Regression(),
        weights() if trainable is None else trainable,
        SCALE,
        batches or Sine(),
        options or TrainingOptions(epochs=4),
        folder,
        **rest,
    )


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def same(left: Any, right: Any) -> bool:
    """Bit for bit."""
    return all(np.array_equal(a, b) for a, b in zip(leaves(left), leaves(right), strict=True))


def furthest(left: Any, right: Any) -> float:
    return max(float(np.max(np.abs(a - b))) for a, b in zip(leaves(left), leaves(right), strict=True))


LONG = TrainingOptions(
    epochs=6, accumulate=2, learning_rate=0.02, checkpoint_every=2, keep_best=("error", "min"), report_every=1
)


def long_run(folder: Path, *, pause: float = 0.0, report: Callable[[Progress], None] | None = None, **rest: Any):
    """The run that is interrupted: dropout, two shapes, accumulation, 30 updates."""
    batches = Sine((8, 4, 8, 4, 8, 8, 4, 8, 4), pause)
    return run(folder, LONG, objective=Regression(0.2), batches=batches, evaluate=error_of, report=report, **rest)


def _limit_files(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


def _full_disk(progress: Progress) -> None:
    """No file can grow past 500 bytes while updates 6 to 12 are made."""
    if progress.evaluation is None and progress.step == 6:
        _limit_files(500)
    if progress.evaluation is None and progress.step == 12:
        _limit_files(resource.RLIM_INFINITY)


def _full_disk_then_killed(progress: Progress) -> None:
    _full_disk(progress)
    if progress.step == 12:
        os.kill(os.getpid(), signal.SIGKILL)


def _terminate(progress: Progress) -> None:
    if progress.step == 9:
        os.kill(os.getpid(), signal.SIGTERM)


def main(folder: str, what: str) -> None:
    """``plain``, ``slow`` (to be killed), ``full`` and ``full-killed`` (disk), ``terminated`` (by SIGTERM), or ``mesh``
    (8 devices and 1).
    """
    if what == "mesh":
        alone = run(Path(folder) / "1", TrainingOptions(epochs=8, learning_rate=0.02), batches=Sine((16, 8)))
        shared = run(
            Path(folder) / "8", TrainingOptions(epochs=8, learning_rate=0.02, devices=8), batches=Sine((16, 8))
        )
        sys.stdout.write(
            json.dumps({"alone": alone.history.losses, "shared": shared.history.losses, "devices": len(jax.devices())})
        )
        return
    report = {"full": _full_disk, "full-killed": _full_disk_then_killed, "terminated": _terminate}.get(what)
    with cancelled_by() as cancel:
        result = long_run(Path(folder), pause=0.03 if what == "slow" else 0.0, report=report, cancel=cancel)
    sys.stdout.write(json.dumps({"reason": result.reason, "step": result.step, "losses": result.history.losses}))
    np.savez(Path(folder) / "last.npz", *leaves(result.trainable))


if __name__ == "__main__":
    main(*sys.argv[1:])
