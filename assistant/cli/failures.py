"""How a command fails: one line on standard error or one JSON document, and an exit code that says what kind."""

from __future__ import annotations

import json
import sys
import traceback

import typer

from .output import printable

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130


class Failure(typer.TyperException):
    """A command ends with ``message``; ``kind`` names what happened for those who read JSON."""

    def __init__(self, message: str, *, exit_code: int = FAILED, kind: str = "Failed") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.kind = kind


def as_failure(error: Exception) -> Failure:
    """What to tell the user of ``error``: its own words where it was written for them."""
    from ...config import ConfigError
    from ...rag.errors import RagError
    from ..errors import AssistantError, EmptyQuestion

    kind = type(error).__name__
    if isinstance(error, Failure):
        return error
    if isinstance(error, (ConfigError, EmptyQuestion)):
        return Failure(str(error), exit_code=WRONG_USAGE, kind=kind)
    if isinstance(error, (AssistantError, RagError)) or type(error).__module__.startswith("capibara."):
        return Failure(str(error), kind=kind)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return Failure(f"{name}{error.strerror or error}", kind=kind)
    return Failure(f"unexpected {kind}: {error} (--verbose shows where)".replace("\n", " "), kind=kind)


def report(error: typer.TyperException, *, as_json: bool, verbose: bool) -> int:
    """Say what went wrong and return the exit code. The traceback is shown only with ``verbose``."""
    message = printable(error.format_message())
    if verbose and error.__cause__ is not None:
        sys.stderr.write("".join(traceback.format_exception(error.__cause__)))
    if as_json:
        kind = error.kind if isinstance(error, Failure) else "UsageError"
        sys.stdout.write(json.dumps({"error": {"type": kind, "message": message}}, ensure_ascii=False) + "\n")
    elif message.startswith("Usage: "):
        sys.stderr.write(message + "\n")
    else:
        for line in message.splitlines():
            sys.stderr.write(f"capibara: {line}\n")
    return error.exit_code
