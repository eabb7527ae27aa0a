"""``capibara eval DIR``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .invocation import Invocation, command
from .output import write_table
from .progress import LongProgress


@command
def evaluate(
    invocation: Invocation,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds passages.jsonl.gz and questions.jsonl.gz.")],
    sample: Annotated[int | None, typer.Option(min=1, metavar="N", help="Questions to draw; none: all.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="Decides which questions are drawn.")] = 0,
    answers: Annotated[int, typer.Option(min=0, metavar="N", help="Questions to answer end to end.")] = 0,
    stages: Annotated[bool, typer.Option("--stages", help="Measure every stage of the search.")] = False,
) -> None:
    """Measure retrieval and answers. Works in a data folder of its own and leaves yours alone."""
    from ..evaluation import evaluate as run

    loaded, _ = invocation.settings()
    with LongProgress("steps") as bar:
        report = run(
            folder,
            loaded.settings,
            sample=sample,
            seed=seed,
            answers=answers,
            stages=stages,
            progress=bar.update,
        )
    if invocation.as_json:
        invocation.emit(report.as_dict())
        return
    write_table(("measure", "value"), list(_rows(report.as_dict())))


def _rows(measures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in measures.items():
        if isinstance(value, Mapping):
            rows += _rows(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", f"{value:.3f}" if isinstance(value, float) else str(value)))
    return rows
