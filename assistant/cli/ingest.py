"""``capibara ingest PATH…``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failures import FAILED, INTERRUPTED, WRONG_USAGE, Failure
from .interrupt import Interruption
from .invocation import Collection, Invocation, command
from .output import name_on_line, note, plain, write_line
from .progress import IngestBar

if TYPE_CHECKING:
    from ...rag.values import FileOutcome, IngestReport

_STATUSES = ("added", "updated", "unchanged", "removed", "skipped", "failed")
_STOPPING = "capibara: stopping after the batch in work; press Ctrl-C again to end at once"


@command
def ingest(
    invocation: Invocation,
    paths: Annotated[list[Path] | None, typer.Argument(metavar="PATH", help="Files and folders.")] = None,
    collection: Collection = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove documents whose file has vanished.")] = False,
    reindex: Annotated[bool, typer.Option("--reindex", help="Cut and embed all that is stored again first.")] = False,
) -> None:
    """Read documents into a collection. What did not change is not read again."""
    if not paths and not reindex:
        message = "Missing argument 'PATH': name files or folders (only --reindex needs none)"
        raise Failure(message, exit_code=WRONG_USAGE, kind="UsageError")
    from ...rag.values import IngestReport

    again, report = None, IngestReport((), 0.0)
    with Interruption(_STOPPING) as interruption, invocation.open() as assistant, IngestBar() as bar:
        options = {"progress": bar.show, "cancel": interruption.cancel}
        if reindex:
            rag = assistant.settings.rag
            again = interruption.run(lambda: assistant.library.reindex(rag, **options))
        if paths and not (again and again.cancelled):
            report = interruption.run(lambda: assistant.ingest(paths, collection, prune=prune, **options))
    if invocation.as_json:
        reindexed = {} if again is None else {"reindexed": _document(again)}
        invocation.emit({**_document(report), **reindexed})
    else:
        if again is not None:
            _show(again, "re-indexed: ")
        if paths and not (again and again.cancelled):
            _show(report)
    if report.cancelled or (again and again.cancelled):
        note("capibara: stopped; everything reported is stored, run the command again for the rest")
        raise typer.Exit(INTERRUPTED)
    if report.count("failed"):
        raise typer.Exit(FAILED)


def _document(report: IngestReport) -> dict[str, Any]:
    counts = {status: report.count(status) for status in _STATUSES}
    return plain({"files": report.files, "counts": counts, "seconds": report.seconds, "cancelled": report.cancelled})


def _show(report: IngestReport, heading: str = "") -> None:
    for outcome in report.files:
        _show_remarks(outcome)
    counted = [f"{report.count(status)} {status}" for status in _STATUSES if report.count(status)]
    chunks = sum(outcome.chunks for outcome in report.files)
    embedded = sum(outcome.embedded for outcome in report.files)
    duplicates = sum(outcome.duplicates for outcome in report.files)
    write_line(
        f"{heading}{', '.join(counted) or 'no files'}; {chunks} chunks, {embedded} embedded, {duplicates} duplicates, "
        f"in {report.seconds:.1f} s"
    )


def _show_remarks(outcome: FileOutcome) -> None:
    name = name_on_line(outcome.source)
    if outcome.status in ("failed", "skipped"):
        note(f"capibara: {name}: {outcome.status}: {outcome.reason}")
    for remark in outcome.warnings:
        note(f"capibara: {name}: {remark}")
