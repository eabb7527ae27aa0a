"""How errors reach the user: one line, the right exit code, the traceback only on request."""

from __future__ import annotations

import json

import pytest
import typer

from capibara.assistant.cli.failures import as_failure, report
from capibara.assistant.errors import AssistantError, EmptyQuestion
from capibara.config import ConfigError, Problem
from capibara.model.errors import PromptTooLong
from capibara.rag.errors import DataFolderLocked

ERRORS = [
    (ConfigError([Problem("a.toml:1", "bad"), Problem("b", "worse")]), 2, "a.toml:1: bad\nb: worse"),
    (EmptyQuestion("the question is empty"), 2, "the question is empty"),
    (AssistantError("no such document"), 1, "no such document"),
    (DataFolderLocked("in use"), 1, "in use"),
    (PromptTooLong(9, 5), 1, str(PromptTooLong(9, 5))),
    (PermissionError(13, "Permission denied", "/x"), 1, "/x: Permission denied"),
    (KeyError("odd\nkey"), 1, "unexpected KeyError: 'odd\\nkey' (--verbose shows where)"),
]


@pytest.mark.parametrize(("error", "code", "message"), ERRORS, ids=lambda value: type(value).__name__)
def test_every_error_has_its_exit_code_and_words(error, code, message):
    failure = as_failure(error)
    assert (failure.exit_code, failure.message, failure.kind) == (code, message, type(error).__name__)


def raised(error: Exception) -> typer.TyperException:
    try:
        try:
            raise error
        except type(error) as cause:
            raise as_failure(cause) from cause
    except typer.TyperException as failure:
        return failure


@pytest.mark.parametrize("verbose", [False, True])
def test_the_traceback_is_shown_only_on_request(verbose, capsys):
    assert report(raised(KeyError("x")), as_json=False, verbose=verbose) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert ("Traceback" in err) is verbose
    assert err.splitlines()[-1].startswith("capibara: unexpected KeyError")


def test_as_json_the_error_is_the_only_thing_on_standard_output(capsys):
    assert report(raised(DataFolderLocked("in use by “another”")), as_json=True, verbose=True) == 1
    assert json.loads(capsys.readouterr().out) == {
        "error": {"type": "DataFolderLocked", "message": "in use by “another”"}
    }
