"""What `Assistant` returns and raises can be imported by name."""

from __future__ import annotations

import builtins
import inspect
import re

import pytest

import capibara.assistant
import capibara.config
import capibara.rag
import capibara.voice
from capibara.assistant import Assistant

ROOMS = (capibara.assistant, capibara.config, capibara.rag, capibara.voice)
METHODS = [
    name
    for name, member in inspect.getmembers(Assistant)
    if not name.startswith("_") and (inspect.isfunction(member) or inspect.ismethod(member))
]


def raised(name: str) -> list[str]:
    """The errors that the docstring of the method tells of."""
    _, _, errors = (inspect.getdoc(getattr(Assistant, name)) or "").partition("Raises:")
    return re.findall(r"^ +(\w+): ", errors, re.MULTILINE)


def test_every_public_name_is_there():
    assert [name for name in capibara.assistant.__all__ if not hasattr(capibara.assistant, name)] == []


@pytest.mark.parametrize("name", METHODS)
def test_errors_that_a_method_raises_are_public(name):
    public = {error for room in ROOMS for error in room.__all__} | set(dir(builtins))
    assert [error for error in raised(name) if error not in public] == []


@pytest.mark.parametrize("name", ["Change", "GenerationRecord", "ReloadResult", "VariantReport", "WatchState"])
def test_what_tells_of_settings_is_public(name):
    assert name in capibara.assistant.__all__
    assert getattr(capibara.assistant, name).__name__ == name
