"""``capibara train distil``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .failures import INTERRUPTED
from .interrupt import Interruption
from .invocation import Invocation, command
from .output import note, write_line
from .progress import LongProgress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...config import Settings
    from ..training.distil import Teacher

_STOPPING = "capibara: stopping after the question in work; press Ctrl-C again to end at once"
_LONGEST_ANSWER = 48


@command
def distil(
    invocation: Invocation,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Holds passages.jsonl.gz and questions.jsonl.gz.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Gets a data set to train a reader on.")],
    teacher: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="A model, as model.path; repeatable. None: model.path.")
    ] = None,
    temperature: Annotated[
        list[float] | None,
        typer.Option(min=0.0, max=5.0, metavar="X", help="Each teacher answers at each; repeatable. None: 0 and 0.7."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Questions to draw; none: all.")] = None,
    least_agreement: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="X", help="Least share of the teachers' weight, to be kept.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="Of the draw and of the teachers' sampling.")] = 0,
) -> None:
    """Let larger models answer the questions, and keep what they agree on, to train a small reader on it."""
    from ..training.distil import DistilPlan
    from ..training.distil import distil as make

    loaded, _ = invocation.settings()
    settings = loaded.settings
    teachers = _teachers(settings, teacher or [settings.model.path], temperature or [0.0, 0.7], seed)
    plan = DistilPlan(least_agreement, limit=limit, seed=seed)
    with Interruption(_STOPPING) as interruption, LongProgress("questions") as bar:
        made = interruption.run(
            lambda: make(data, out, settings, teachers, plan, progress=bar.update, cancel=interruption.cancel)
        )
    if invocation.as_json:
        invocation.emit({"out": out, "teachers": len(teachers), "result": made})
    else:
        left_out = (
            f"{made.undecided} undecided, {made.divided} divided, {made.unplaced} unplaced, {made.too_long} too long"
        )
        write_line(f"{out}: {made.kept} of {made.asked} questions, {made.not_stated} not stated; left out: {left_out}")
    if made.cancelled:
        note("capibara: stopped; questions that were not asked yet are missing")
        raise typer.Exit(INTERRUPTED)


def _teachers(settings: Settings, paths: Sequence[str], temperatures: Sequence[float], seed: int) -> list[Teacher]:
    """Every model at every temperature, sampling apart; one that has a reader answers with it."""
    from ...model import Sampling, open_model
    from ..reading import READER
    from ..training.distil import Teacher

    models = [open_model(settings.model.model_copy(update={"path": path})) for path in paths]
    return [
        Teacher(
            model,
            Sampling(_LONGEST_ANSWER, heat, seed=seed + number),
            READER if READER in model.adapters else None,
        )
        for number, (model, heat) in enumerate((model, heat) for model in models for heat in temperatures)
    ]
