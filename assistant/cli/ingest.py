"""``capibara ingest PATH…``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .failures import FAILED, INTERRUPTED
from .interrupt import Interruption
from .invocation import Collection, Invocation, command
from .output import note, plain, write_line
from .progress import IngestBar

if TYPE_CHECKING:
    from ...rag.values import FileOutcome, IngestReport

_STATUSES = ("added", "updated", "unchanged", "removed", "skipped", "failed")


@command
def ingest(
    invocation: Invocation,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files and folders.")],
    collection: Collection = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove documents whose file has vanished.")] = False,
    reindex: Annotated[bool, typer.Option("--reindex", help="Embed everything stored again first.")] = False,
) -> None:
    """Read documents into a collection. What did not change is not read again."""
    with Interruption() as interruption, invocation.open(reindex=reindex) as assistant, IngestBar() as bar:
        report = assistant.ingest(
            paths,
            collection,
            prune=prune,
            progress=bar.show,
            cancel=interruption.cancel,
        )
    if invocation.as_json:
        counts = {status: report.count(status) for status in _STATUSES}
        document = {"files": report.files, "counts": counts, "seconds": report.seconds, "cancelled": report.cancelled}
        invocation.emit(plain(document))
    else:
        _show(report)
    if report.cancelled:
        note("capibara: stopped; everything reported is stored, run the command again for the rest")
        raise typer.Exit(INTERRUPTED)
    if report.count("failed"):
        raise typer.Exit(FAILED)


def _show(report: IngestReport) -> None:
    for outcome in report.files:
        _show_remarks(outcome)
    counted = [f"{report.count(status)} {status}" for status in _STATUSES if report.count(status)]
    chunks = sum(outcome.chunks for outcome in report.files)
    embedded = sum(outcome.embedded for outcome in report.files)
    duplicates = sum(outcome.duplicates for outcome in report.files)
    write_line(
        f"{', '.join(counted) or 'no files'}; {chunks} chunks, {embedded} embedded, {duplicates} duplicates, "
        f"in {report.seconds:.1f} s"
    )


def _show_remarks(outcome: FileOutcome) -> None:
    remarks: Sequence[str] = outcome.warnings
    if outcome.status in ("failed", "skipped"):
        note(f"capibara: {outcome.source}: {outcome.status}: {outcome.reason}")
    for remark in remarks:
        note(f"capibara: {outcome.source}: {remark}")
