"""``capibara train reader|reranker|extractor|retrieve|distil``."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .distil import distil
from .failures import INTERRUPTED, Failure
from .interrupt import Interruption, Result
from .invocation import Invocation, command
from .output import note, write_line
from .progress import LongProgress

if TYPE_CHECKING:
    from ...config import Settings
    from ...model.training.progress import Progress, TrainingResult
    from ..training.artefacts import Origin

app = typer.Typer(
    help="Train small adapters for the models on your own questions.", no_args_is_help=True, rich_markup_mode=None
)

_STOPPING = "capibara: stopping after the update in work; press Ctrl-C again to end at once"
_STOPPING_SEARCH = "capibara: stopping after the question in work; press Ctrl-C again to end at once"


def _rate(given: float | None) -> float | None:
    """Not by the option's ``min``: that lets 0 and what is no number pass."""
    if given is not None and not (math.isfinite(given) and given > 0):
        raise typer.BadParameter(f"{given} is not a finite number above 0")
    return given


Data = Annotated[Path, typer.Argument(metavar="DATA", help="Holds passages.jsonl.gz and questions.jsonl.gz.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Gets the adapter, its card and its loss curve.")]
Epochs = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Passes over the questions; none: 1, a reranker 3.")
]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Questions to draw; none: all.")]
HeldOut = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Questions kept apart for evaluation; none: 600, a reranker 1,000."),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate",
        metavar="X",
        callback=_rate,
        help="At its peak; none: 6e-4, a reranker 5e-4, an extractor 4e-4.",
    ),
]
Rank = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Rank of the low-rank changes; none: 16, of an encoder 112.")
]
Seed = Annotated[int | None, typer.Option(min=0, metavar="S", help="One seed gives one run; none: 0.")]
Unfit = Annotated[
    Literal["skip", "refuse"], typer.Option(help="What to do with answers that are not in their passage.")
]
ApartFrom = Annotated[
    list[Path] | None,
    typer.Option(
        "--apart-from", metavar="DIR", help="A data set to be measured on: its passages are left out. Repeat."
    ),
]
DataName = Annotated[str | None, typer.Option("--data-name", metavar="TEXT", help="The data's name, for the card.")]
Licence = Annotated[str, typer.Option("--data-licence", metavar="TEXT", help="The data's licence, for the card.")]


@app.command()
@command
def reader(
    invocation: Invocation,
    data: Data,
    out: Out,
    epochs: Epochs = None,
    limit: Limit = None,
    held_out: HeldOut = None,
    learning_rate: Rate = None,
    rank: Rank = None,
    seed: Seed = None,
    unfit: Unfit = "skip",
    start: Annotated[Path | None, typer.Option("--start", metavar="DIR", help="An adapter to go on from.")] = None,
    apart_from: ApartFrom = None,
    data_name: DataName = None,
    data_licence: Licence = "not stated",
) -> None:
    """Train the language model to answer in a few words from retrieved passages, or to say that they do not tell."""
    from ..training.reader import ReaderPlan, train_reader

    plan = _plan(ReaderPlan, epochs, limit, held_out, learning_rate, rank, seed, apart_from, unfit=unfit, start=start)

    def run(settings: Settings, origin: Origin, **how: Any) -> TrainingResult:
        return train_reader(data, out, settings, plan, origin, **how)

    _train(invocation, data, out, plan, data_name, data_licence, run)


@app.command()
@command
def reranker(
    invocation: Invocation,
    data: Data,
    out: Out,
    epochs: Epochs = None,
    limit: Limit = None,
    held_out: HeldOut = None,
    learning_rate: Rate = None,
    rank: Rank = None,
    seed: Seed = None,
    apart_from: ApartFrom = None,
    data_name: DataName = None,
    data_licence: Licence = "not stated",
) -> None:
    """Train the embedding model to put retrieved passages in order, against those that were nearly right."""
    from ..training.reranker import RerankerPlan, train_reranker

    plan = _plan(RerankerPlan, epochs, limit, held_out, learning_rate, rank, seed, apart_from)

    def run(settings: Settings, origin: Origin, **how: Any) -> TrainingResult:
        return train_reranker(data, out, settings, plan, origin, **how)

    _train(invocation, data, out, plan, data_name, data_licence, run)


@app.command()
@command
def extractor(
    invocation: Invocation,
    data: Data,
    out: Out,
    epochs: Epochs = None,
    limit: Limit = None,
    held_out: HeldOut = None,
    learning_rate: Rate = None,
    rank: Rank = None,
    seed: Seed = None,
    unfit: Unfit = "skip",
    start: Annotated[
        Path | None, typer.Option("--start", metavar="DIR", help="An adapter to begin from, such as a reranker's.")
    ] = None,
    apart_from: ApartFrom = None,
    data_name: DataName = None,
    data_licence: Licence = "not stated",
) -> None:
    """Train the embedding model to point at the answer in a retrieved passage, or to say that it is not there."""
    from ..training.extractor import ExtractorPlan, train_extractor

    plan = _plan(
        ExtractorPlan, epochs, limit, held_out, learning_rate, rank, seed, apart_from, unfit=unfit, start=start
    )

    def run(settings: Settings, origin: Origin, **how: Any) -> TrainingResult:
        return train_extractor(data, out, settings, plan, origin, **how)

    _train(invocation, data, out, plan, data_name, data_licence, run)


@app.command()
@command
def retrieve(
    invocation: Invocation,
    data: Data,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Gets what was found for each question.")],
) -> None:
    """Search for every question's passages beforehand, for training on a machine without an index.

    Put the file into the data folder as retrieved.jsonl.
    """
    from ..dataset import read_passages, read_questions
    from ..training.retrieved import retrieved, write_retrieved

    loaded, _ = invocation.settings()
    passages, questions = read_passages(data), read_questions(data)
    with Interruption(_STOPPING_SEARCH) as interruption, LongProgress("questions") as bar:
        found = _run(
            interruption,
            lambda: retrieved(data, passages, questions, loaded.settings, bar.update, interruption.cancel),
        )
    write_retrieved(out, found)
    if invocation.as_json:
        invocation.emit({"questions": len(found), "file": str(out)})
    else:
        write_line(f"{len(found)} questions: {out}")


app.command()(distil)


def _plan(
    kind: type[Any],
    epochs: int | None,
    limit: int | None,
    held_out: int | None,
    learning_rate: float | None,
    rank: int | None,
    seed: int | None,
    apart_from: list[Path] | None,
    **others: Any,
) -> Any:
    """The plan's own values, where no option says otherwise; the changes of another rank keep their strength."""
    given: dict[str, Any] = {
        "epochs": epochs,
        "limit": limit,
        "held_out": held_out,
        "learning_rate": learning_rate,
        "rank": rank,
        "seed": seed,
        "apart_from": tuple(apart_from or ()),
    }
    if rank is not None:
        given["alpha"] = 2.0 * rank
    return kind(**{name: value for name, value in given.items() if value is not None}, **others)


def _train(
    invocation: Invocation,
    data: Path,
    out: Path,
    plan: Any,
    name: str | None,
    licence: str,
    run: Callable[..., TrainingResult],
) -> None:
    from ...model.training.curve import require_plotting
    from ..training.artefacts import Origin

    require_plotting()  # now, not after hours
    loaded, _ = invocation.settings()
    folders = {data, out, getattr(plan, "start", None), *plan.apart_from}
    origin = Origin(name or data.resolve().name, licence, _as_told(sys.argv[1:], folders))
    with Interruption(_STOPPING) as interruption, LongProgress("steps") as bar:

        def report(progress: Progress) -> None:
            loss = f", loss {progress.loss:.3f}" if math.isfinite(progress.loss) else ""  # none yet
            bar.update(f"epoch {progress.epoch + 1} of {progress.epochs}{loss}", progress.step, progress.steps)
            if progress.evaluation is not None:
                note(f"capibara: update {progress.step} of {progress.steps}: {_figures(progress.evaluation.figures)}")

        bar.update("preparing", 0, None)
        result = _run(
            interruption,
            lambda: run(loaded.settings, origin, report=report, progress=bar.update, cancel=interruption.cancel),
        )
    if invocation.as_json:
        invocation.emit(
            {
                "out": str(out),
                "reason": result.reason,
                "updates": result.step,
                "best_update": result.best_step,
                "evaluations": [asdict(evaluation) for evaluation in result.evaluations],
            }
        )
    else:
        best = [one for one in result.evaluations if one.step == result.best_step]
        write_line(f"{out}: {_figures(best[0].figures) if best else 'not evaluated'} after update {result.best_step}")
    if result.reason == "cancelled":
        note("capibara: stopped; the same command goes on from here")
        raise typer.Exit(INTERRUPTED)


def _as_told(words: Sequence[str], folders: Collection[Path | None]) -> str:
    """The command for the card: to be pasted into a shell, and without where ``folders`` lie on this machine."""

    def told(word: str) -> str:
        option, equals, value = word.rpartition("=")
        whole = Path(value)
        return f"{option}{equals}{whole.name}" if whole.is_absolute() or whole in folders else word

    return shlex.join(("capibara", *map(told, words)))


def _run(interruption: Interruption, work: Callable[[], Result]) -> Result:
    """The result of ``work``, which Ctrl-C stops.

    Raises:
        Failure: it was stopped before it had a result.
    """
    from ..dataset import WorkStopped

    try:
        return interruption.run(work)
    except WorkStopped as stopped:
        raise Failure(str(stopped), exit_code=INTERRUPTED, kind="Interrupted") from stopped


def _figures(figures: Any) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
