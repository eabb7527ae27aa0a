"""Settings as their sources give them, each value with the place it came from: the environment and code arguments."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .errors import Problem
from .keys import NAME, all_settings, dotted, is_section, nearest, setting_at
from .migrations import moved_to
from .positions import KeyPath

PREFIX = "CAPIBARA_"
RESERVED = ("CAPIBARA_DATA_DIR", "CAPIBARA_CACHE_DIR")
"""Variables that say where things are kept and are read before any setting; ``CAPIBARA_TEST_*`` is reserved too."""

OriginKind = Literal["default", "preset", "file", "environment", "argument", "runtime"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from; ``where`` is ``file:line``, a variable's name, an argument's, or why it was set."""

    kind: OriginKind
    where: str = ""

    def __str__(self) -> str:
        return self.where or self.kind


@dataclass(frozen=True, slots=True)
class TextValue:
    """A code argument given as text, such as a command-line flag: read as a variable of the environment is."""

    text: str = field(repr=False)
    where: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One value as a source gave it. ``folder`` is what relative paths start from, when not the working directory."""

    path: tuple[str, ...]
    value: Any = field(repr=False)  # may be a secret
    origin: Origin
    is_text: bool = False
    folder: Path | None = None
    element_places: Mapping[KeyPath, str] = field(default_factory=dict)

    def place(self, element: Sequence[str | int] = ()) -> str:
        """Where the value stands, or one element of it where that is known."""
        return self.element_places.get(tuple(element), str(self.origin))


def read_environment(environ: Mapping[str, str], problems: list[Problem]) -> list[Entry]:
    """The entries of all ``CAPIBARA_*`` variables: ``CAPIBARA_RAG__TOP_K=5`` sets ``rag.top_k``."""
    entries = []
    for variable, text in sorted(environ.items()):
        if not variable.upper().startswith(PREFIX) or variable in RESERVED or variable.startswith("CAPIBARA_TEST_"):
            continue
        path = _path_of_variable(variable)
        entries += _text_entries(path, text, Origin("environment", variable), problems)
    return entries


def read_arguments(
    overrides: Mapping[str, Any], problems: list[Problem], kind: Literal["argument", "runtime"] = "argument"
) -> list[Entry]:
    """The entries of code arguments: dotted keys, nested mappings, or both; values may be `TextValue`."""
    entries = []
    for key, value in overrides.items():
        try:
            path = split_key(key)
        except ValueError as error:
            problems.append(Problem(value.where if isinstance(value, TextValue) else f"{kind} {key}", str(error)))
            continue
        if isinstance(value, TextValue):
            entries += _text_entries(path, value.text, Origin(kind, value.where), problems)
        else:
            for leaf, given in leaves(value, path):
                entries.append(Entry(leaf, given, Origin(kind, f"{kind} {dotted(leaf)}")))
    return entries


def split_key(key: str) -> tuple[str, ...]:
    """``rag.collections."my notes".alpha`` as its parts.

    Raises:
        ValueError: ``key`` is not written as a TOML key.
    """
    try:
        tree: Any = tomllib.loads(f"{key} = 0") if "\n" not in key else {}
    except tomllib.TOMLDecodeError:
        tree = {}
    path: tuple[str, ...] = ()
    while isinstance(tree, dict):
        if len(tree) != 1:
            raise ValueError(f"{key!r} is not a key; write it like rag.top_k")
        [(name, tree)] = tree.items()
        path += (name,)
    return path


def variable_of(path: Sequence[str]) -> str:
    """The environment variable that sets the key ``path``."""
    return PREFIX + "__".join(part if part == NAME else part.upper() for part in path)


def unknown_key(entry: Entry) -> Problem | None:
    """What to say when no setting has the entry's key; None when one has."""
    if setting_at(entry.path):
        return None
    name = dotted(entry.path)
    if (moved := moved_to(name)) is not None:
        return Problem(entry.place(), f"{name} is called {moved} now; `capibara config migrate FILE` rewrites a file")
    if is_section(entry.path):
        return Problem(entry.place(), f"{name} is a group of settings and needs a table, not a single value")
    meant = nearest(entry.path)
    if meant and entry.origin.kind == "environment":
        meant = variable_of(split_key(meant.replace(NAME, "name")))
    kind = "section" if isinstance(entry.value, Mapping) else "key"
    return Problem(entry.place(), f"unknown {kind} {name}" + (f"; did you mean {meant}?" if meant else ""))


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values of a nested mapping, as deep as the schema knows groups."""
    if isinstance(tree, Mapping) and (not path or is_section(path)):
        for name, value in tree.items():
            yield from leaves(value, (*path, str(name)))
    else:
        yield path, tree


def _path_of_variable(variable: str) -> tuple[str, ...]:
    parts = variable[len(PREFIX) :].split("__")
    path = tuple(part.lower() for part in parts)
    for setting in all_settings():
        if setting.names(path):
            # A name the user chose keeps its capitals where it has some lower-case letter too.
            kept = (
                part if known == NAME and not part.isupper() else part.lower()
                for known, part in zip(setting.path, parts, strict=True)
            )
            return tuple(kept)
    return path


def _text_entries(path: tuple[str, ...], text: str, origin: Origin, problems: list[Problem]) -> Iterator[Entry]:
    setting = setting_at(path)
    if not is_section(path) and not (setting and setting.structured):
        yield Entry(path, text, origin, is_text=True)
        return
    try:
        value = _structured(text)
    except ValueError:
        example = 'a list such as ["one", "two"]' if setting else "a table such as {alpha = 0.5}"
        problems.append(Problem(origin.where, f"{dotted(path)} must be {example}, in TOML or JSON"))
        return
    for leaf, given in leaves(value, path):
        yield Entry(leaf, given, origin)


def _structured(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text.strip()}")
    except tomllib.TOMLDecodeError:
        return json.loads(text)
    if document.keys() != {"value"} or not isinstance(document["value"], (list, dict)):
        raise ValueError(text)
    return document["value"]
