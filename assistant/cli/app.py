"""The tree of commands, and the one place where a command's failure becomes an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from . import ask, bench, chat, documents, evaluate, ingest, models, search, settings, status, talk, train, transcribe
from .failures import INTERRUPTED, report
from .output import write_line

app = typer.Typer(
    name="capibara",
    help="Ask your own documents, offline.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        write_line(f"capibara {version('capibara')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Ask your own documents, offline."""


app.command()(ingest.ingest)
app.command()(ask.ask)
app.command()(chat.chat)
app.command()(search.search)
app.command()(talk.talk)
app.command()(transcribe.transcribe)
app.add_typer(documents.app, name="documents")
app.command()(status.status)
app.add_typer(models.app, name="models")
app.add_typer(settings.app, name="config")
app.command("eval")(evaluate.evaluate)
app.add_typer(train.app, name="train")
app.add_typer(bench.app, name="bench")


def run(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` name and return the exit code."""
    try:
        code = get_command(app).main(list(arguments), prog_name="capibara", standalone_mode=False)
    except typer.TyperException as error:
        return report(error, as_json="--json" in arguments, verbose="--verbose" in arguments)
    except typer.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else 0
