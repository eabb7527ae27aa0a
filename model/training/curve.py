"""Draws the loss of a run, and the figures of its evaluations, as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .errors import TrainingError
from .progress import Evaluation, History

_SMOOTHING = 0.02


class PlottingUnavailable(TrainingError):
    """matplotlib is not installed."""

    def __init__(self) -> None:
        super().__init__("the loss curve needs matplotlib, which is not installed: pip install matplotlib")


def require_plotting() -> None:
    """Find out before a long run whether its curve can be drawn.

    Raises:
        PlottingUnavailable: matplotlib is missing.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise PlottingUnavailable from error


def write_curve(path: Path, history: History, evaluations: Sequence[Evaluation] = (), *, title: str = "") -> None:
    """Writes the curve to ``path`` (PNG): the loss of each update, its running mean, and below them the evaluations.

    Raises:
        PlottingUnavailable: matplotlib is missing.
        OSError: ``path`` cannot be written.
    """
    require_plotting()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = sorted({name for evaluation in evaluations for name in evaluation.figures})
    # Not pyplot: it keeps every figure in the module and picks a window system.
    figure = Figure(figsize=(8, 4.5 if not names else 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 if names else 1, 1, squeeze=False, sharex=True)[:, 0]
    axes[0].plot(history.steps, history.losses, color="#9ab", linewidth=0.6, label="each update")
    axes[0].plot(history.steps, _running_mean(history.losses), color="#135", linewidth=1.6, label="running mean")
    axes[0].set(ylabel="loss per target", title=title)
    axes[0].legend(frameon=False)
    for name in names:
        points = [
            (evaluation.step, evaluation.figures[name]) for evaluation in evaluations if name in evaluation.figures
        ]
        axes[1].plot(*zip(*points, strict=True), marker="o", label=name)
    if names:
        axes[1].set(ylabel="evaluation")
        axes[1].legend(frameon=False)
    axes[-1].set(xlabel="update")
    figure.savefig(path, format="png", dpi=120)


def _running_mean(losses: Sequence[float]) -> list[float]:
    """Exponential mean without the start's bias."""
    means, total, weight = [], 0.0, 0.0
    for loss in losses:
        total = total * (1 - _SMOOTHING) + loss * _SMOOTHING
        weight = weight * (1 - _SMOOTHING) + _SMOOTHING
        means.append(total / weight)
    return means
