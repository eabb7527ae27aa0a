"""Settings from all sources in one snapshot: defaults < TOML files < environment < code arguments < set at runtime."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .errors import ConfigError, Problem
from .files import FileReader
from .keys import NAME, all_settings, dotted, setting_at, within_variant
from .schema import Settings
from .sources import Entry, Origin, leaves, read_arguments, read_environment, unknown_key
from .values import checked, value_problems

Values = dict[tuple[str, ...], Any]


@dataclass(frozen=True, slots=True)
class Sources:
    """All that settings are made of, as it was at one moment. ``entries``: a later one wins.

    ``contents`` has the digest of every path that was looked at, those that are missing too.
    """

    entries: tuple[Entry, ...] = field(default=(), repr=False)
    problems: tuple[Problem, ...] = ()
    contents: Mapping[Path, str] = field(default_factory=dict)
    file: Path | None = None

    @property
    def digest(self) -> str:
        """Differs when a file, a variable or an argument differs."""
        given = [f"{path}={digest}" for path, digest in sorted(self.contents.items())]
        given += [f"{entry.origin}={entry.path}={entry.value!r}" for entry in self.entries]
        return hashlib.sha256("\0".join(given).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """A snapshot with the place each value came from; ``origins`` has one entry per effective key.

    ``variants`` are the snapshots of the settings' variants, by name. ``file`` is None where no file was read.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    file: Path | None = None
    variants: Mapping[str, Settings] = field(default_factory=dict)
    sources: Sources = field(default_factory=Sources, repr=False)

    def place(self, key: str) -> str:
        """Where ``key`` was set, as problems name it."""
        return str(self.origins.get(key, Origin("default")))


def load_settings(
    file: Path | None,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> LoadedSettings:
    """Read and check every source; a later one wins: defaults, ``file``, ``environ``, ``overrides``.

    ``overrides`` holds dotted keys (``{"rag.top_k": 5}``), nested mappings or both. Paths in ``file`` are
    relative to its folder, all others to the working directory.

    Raises:
        ConfigError: unknown keys or bad values in any source, all reported together, even where a later
            source would have replaced them.
    """
    return resolve(read_sources(file, environ=environ, overrides=overrides))


def read_sources(
    file: Path | None,
    *,
    required: bool = True,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Sources:
    """Read every source, each once. What is wrong is told by `resolve`; a missing ``file`` may not be ``required``."""
    reader = FileReader()
    if file is not None:
        reader.read(file, required=required)
    found = file is not None and bool(reader.contents.get(file))
    given = read_environment(environ, reader.problems) + read_arguments(overrides or {}, reader.problems)
    entries = (*reader.entries, *reader.read_texts(given))
    return Sources(entries, tuple(reader.problems), reader.contents, file if found else None)


def runtime_entries(values: Mapping[str, Any]) -> Sources:
    """Values set while the program runs, as sources of their own; see `with_runtime`."""
    reader = FileReader()
    entries = reader.read_texts(read_arguments(values, reader.problems, "runtime"))
    return Sources(tuple(entries), tuple(reader.problems), reader.contents)


def with_runtime(base: Sources, runtime: Sources) -> Sources:
    """``base`` under what was set at runtime."""
    return Sources(
        base.entries + runtime.entries,
        base.problems + runtime.problems,
        {**base.contents, **runtime.contents},
        base.file,
    )


def resolve(sources: Sources) -> LoadedSettings:
    """The snapshot that ``sources`` lead to.

    Raises:
        ConfigError: everything that is wrong with them.
    """
    problems = list(sources.problems)
    values: Values = {}
    given: dict[tuple[str, ...], Entry] = {}
    for entry in sources.entries:
        setting = setting_at(entry.path)
        if setting is None:
            problems += [wrong] if (wrong := unknown_key(entry)) else []
            continue
        try:
            values[entry.path] = checked(entry, setting)
            given[entry.path] = entry
        except ValidationError as error:
            problems += value_problems(entry, setting, error)
    problems += _misplaced(given.values())
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    settings = Settings.model_validate(_nested(values))
    origins = {path: entry.origin for path, entry in given.items()}
    return LoadedSettings(settings, _origins(settings, origins), sources.file, _variants(settings, values), sources)


def key_paths(settings: Settings) -> list[tuple[str, ...]]:
    """Every effective key: the schema's, with the names that the user chose, and what each variant sets."""
    paths = []
    for setting in all_settings():
        if NAME not in setting.path:
            paths.append(setting.path)
            continue
        depth = setting.path.index(NAME)
        for name in value_at(settings, setting.path[:depth]):
            paths.append((*setting.path[:depth], name, *setting.path[depth + 1 :]))
    for name, variant in settings.variants.items():
        prefix = ("variants", name, "set")
        paths += [path for path, _ in leaves(variant.set, prefix)]
    return paths


def value_at(settings: Settings, path: tuple[str, ...]) -> Any:
    """The value of one key."""
    value: Any = settings
    for part in path:
        value = value[part] if isinstance(value, Mapping) else getattr(value, part)
    return value


def may_differ(path: tuple[str, ...]) -> bool:
    """Whether a variant may set what ``path`` names: what belongs to the process or to documents it may not."""
    setting = setting_at(path)
    of_all = ("restart", "at once", "next document")
    shared = path[0] in ("variants", "keys", "limits") or (setting and setting.applies in of_all)
    return not shared


def _variants(settings: Settings, values: Values) -> dict[str, Settings]:
    found = {}
    for name in settings.variants:
        own = {
            inner: value for path, value in values.items() if path[1:2] == (name,) and (inner := within_variant(path))
        }
        found[name] = Settings.model_validate(_nested(values | own))
    return found


def _misplaced(entries: Iterable[Entry]) -> list[Problem]:
    """Settings of a variant that all variants share."""
    problems = []
    for entry in entries:
        inner = within_variant(entry.path)
        if inner and not may_differ(inner):
            problems.append(Problem(entry.place(), f"{dotted(inner)} is the same for all variants: set it outside"))
    return problems


def _nested(values: Values) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        table = tree
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = value
    return tree


def _origins(settings: Settings, given: Mapping[tuple[str, ...], Origin]) -> dict[str, Origin]:
    return {dotted(path): given.get(path, Origin("default")) for path in key_paths(settings)}
