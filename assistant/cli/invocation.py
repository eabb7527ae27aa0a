"""What every command shares: its options, the settings they lead to, and the way it ends."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from .failures import INTERRUPTED, WRONG_USAGE, Failure, as_failure
from .hangup import reload_at_hangup, tell_of_changes
from .output import write_json

if TYPE_CHECKING:
    from ...config import LoadedSettings
    from ..assistant import Assistant

Collection = Annotated[
    str | None, typer.Option("--collection", metavar="NAME", help="Collection; none: assistant.collection.")
]

_SHARED = {
    "config": (Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings file (TOML).")], None),
    "data_dir": (Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="Data folder.")], None),
    "assignments": (
        Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one setting; repeatable.")],
        None,
    ),
    "as_json": (Annotated[bool, typer.Option("--json", help="Print one JSON document.")], False),
    "verbose": (Annotated[bool, typer.Option("--verbose", help="Log in detail; show tracebacks.")], False),
}


@dataclass(frozen=True)
class Invocation:
    """One run of one command."""

    config: Path | None
    data_dir: Path | None
    assignments: tuple[str, ...]
    as_json: bool
    verbose: bool
    stdout: TextIO = field(default_factory=lambda: sys.stdout)

    def overrides(self) -> dict[str, Any]:
        """The settings given as flags.

        Raises:
            Failure: a ``--set`` without an equals sign.
        """
        from ...config import TextValue

        given: dict[str, Any] = {"data_dir": self.data_dir} if self.data_dir else {}
        if self.verbose:
            given["logging.level"] = TextValue("debug", "--verbose")
        for assignment in self.assignments:
            key, equals, value = assignment.partition("=")
            if not equals:
                raise Failure(f"--set {assignment}: write KEY=VALUE", exit_code=WRONG_USAGE, kind="UsageError")
            given[key.strip()] = TextValue(value.strip(), f"--set {key.strip()}")
        return given

    @property
    def path(self) -> Path | None:
        """What the user named: a settings file, a data folder, or nothing."""
        return self.config or self.data_dir

    def settings(self) -> tuple[LoadedSettings, Path]:
        """The settings and the data folder, with logging set up as they say."""
        from ...config import open_settings

        for option, given, wrong in (
            ("--config", self.config, Path.is_dir),
            ("--data-dir", self.data_dir, Path.is_file),
        ):
            if given is not None and wrong(given.expanduser()):
                is_a, needs = ("folder", "file") if option == "--config" else ("file", "folder")
                raise Failure(
                    f"{given} is a {is_a}: {option} needs a {needs}", exit_code=WRONG_USAGE, kind="UsageError"
                )
        loaded, data_dir = open_settings(self.path, overrides=self.overrides())
        logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
        logging.getLogger("capibara").setLevel(loaded.settings.logging.level.upper())
        return loaded, data_dir

    def open(self, *, watch: bool = False) -> Assistant:
        """The assistant for these options, to be used as a context manager.

        With ``watch`` it takes up changed settings: files when they are saved, everything at SIGHUP.
        """
        from ..assistant import Assistant

        self.settings()
        assistant = Assistant.open(self.path, watch, overrides=self.overrides())
        if watch:
            tell_of_changes(assistant)
            reload_at_hangup(assistant)
        return assistant

    def open_filled(self, collection: str | None, *, watch: bool = False) -> Assistant:
        """As `open`, for a command that needs documents: none are looked for, and no model is loaded, without any.

        Raises:
            Failure: the collection, or the whole data folder, holds no documents.
        """
        assistant = self.open(watch=watch)
        name = collection or assistant.settings.assistant.collection
        held = assistant.library.store.collections()
        if name in held:
            return assistant
        assistant.close()
        if not held:
            message = f"there are no documents in {assistant.data_dir}: run `capibara ingest PATH`"
        else:
            message = (
                f"there are no documents in collection {name} of {assistant.data_dir} (it has {', '.join(held)}): "
                f"run `capibara ingest PATH --collection {name}`"
            )
        raise Failure(message, kind="NoDocuments")

    def emit(self, document: Any) -> None:
        """Print the command's one JSON document."""
        write_json(document, self.stdout)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Give ``function(invocation, …)`` the shared options, and turn its errors into a `Failure`."""
    signature = inspect.signature(function, eval_str=True)
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name != "invocation"
    ]
    for name, (annotation, default) in _SHARED.items():
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )

    @functools.wraps(function)
    def run(**arguments: Any) -> None:
        shared = {name: arguments.pop(name) for name in _SHARED}
        shared["assignments"] = tuple(shared["assignments"] or ())
        invocation = Invocation(**shared)
        # Whatever a library prints must not stand between the caller and the JSON document.
        quiet = contextlib.redirect_stdout(sys.stderr) if invocation.as_json else contextlib.nullcontext()
        with quiet:
            try:
                function(invocation, **arguments)
            except (typer.TyperException, typer.Exit, typer.Abort, BrokenPipeError):
                raise
            except KeyboardInterrupt as interrupt:
                raise Failure("interrupted", exit_code=INTERRUPTED, kind="Interrupted") from interrupt
            except Exception as error:
                raise as_failure(error) from error

    run.__dict__["__signature__"] = signature.replace(parameters=parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
