"""Settings from all sources in one snapshot: defaults < TOML file < environment < code arguments and flags."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr, TypeAdapter, ValidationError

from .errors import ConfigError, Problem
from .keys import NAME, Setting, all_settings, dotted, setting_at
from .schema import Settings
from .sources import Entry, Origin, read_arguments, read_environment, read_file, unknown_key


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """A snapshot with the place each value came from; ``origins`` has one entry per effective key."""

    settings: Settings
    origins: Mapping[str, Origin]
    file: Path | None = None


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
    problems: list[Problem] = []
    entries = read_file(file, problems) if file is not None else []
    entries += read_environment(environ, problems)
    entries += read_arguments(overrides or {}, problems)
    values: dict[tuple[str, ...], tuple[Any, Entry]] = {}
    for entry in entries:
        wrong = unknown_key(entry)
        setting = setting_at(entry.path)
        if wrong or setting is None:
            problems += [wrong] if wrong else []
            continue
        try:
            values[entry.path] = (_checked(entry, setting), entry)
        except ValidationError as error:
            problems += _value_problems(entry, setting, error)
    if problems:
        raise ConfigError(problems)
    settings = Settings.model_validate(_nested({path: value for path, (value, _) in values.items()}))
    return LoadedSettings(
        settings, _origins(settings, {path: entry.origin for path, (_, entry) in values.items()}), file
    )


def key_paths(settings: Settings) -> list[tuple[str, ...]]:
    """Every effective key: the schema's, with the names of the collections that are configured."""
    paths = []
    for setting in all_settings():
        if NAME not in setting.path:
            paths.append(setting.path)
            continue
        depth = setting.path.index(NAME)
        for name in value_at(settings, setting.path[:depth]):
            paths.append((*setting.path[:depth], name, *setting.path[depth + 1 :]))
    return paths


def value_at(settings: Settings, path: tuple[str, ...]) -> Any:
    """The value of one key."""
    value: Any = settings
    for part in path:
        value = value[part] if isinstance(value, Mapping) else getattr(value, part)
    return value


def shown(value: Any) -> str:
    """``value`` as it would be written in TOML; a secret is masked, and nothing at all is ``none``."""
    match value:
        case None:
            return "none"
        case SecretStr():
            return '"**********"'
        case bool():
            return str(value).lower()
        case str() | Path():
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        case list() | tuple():
            return "[" + ", ".join(map(shown, value)) + "]"
        case Mapping():
            return "a table"
    return str(value)


def _checked(entry: Entry, setting: Setting) -> Any:
    """The entry's value in the setting's type; text is converted, everything else must have the right type."""
    if setting.optional and entry.value in ("none", None):
        return None
    strict = setting.number_or_flag and not entry.is_text
    value = TypeAdapter(setting.annotation).validate_python(entry.value, strict=strict)
    if isinstance(value, Path):
        value = value.expanduser()
        return entry.folder / value if entry.folder else value
    if setting.file_or_name and value.startswith(("./", "../", "~/")):
        path = Path(value).expanduser()
        return str(entry.folder / path if entry.folder else path)
    return value


def _value_problems(entry: Entry, setting: Setting, error: ValidationError) -> list[Problem]:
    problems = []
    for detail in error.errors(include_url=False):
        element = tuple(part for part in detail["loc"] if isinstance(part, int))
        name = dotted(entry.path) + "".join(f"[{index}]" for index in element)
        if detail["type"] == "literal_error":
            rule = _choice_rule(setting, entry.value)
        else:
            rule = detail["msg"].replace("Input should be", "must be").split(", unable to")[0]
            rule = rule.removeprefix("Value error, ")
            rule += "" if setting.secret else f", not {shown(detail['input'])}"
        problems.append(Problem(entry.place(element), f"{name} {rule}"))
    return problems


def _choice_rule(setting: Setting, given: Any) -> str:
    choices = [str(choice) for choice in get_args(setting.annotation)]
    close = difflib.get_close_matches(str(given), choices, n=1)
    *others, last = map(shown, choices)
    rule = f"must be {', '.join(others)} or {last}, not {shown(given)}"
    return rule + (f"; did you mean {shown(close[0])}?" if close else "")


def _nested(values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        table = tree
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = value
    return tree


def _origins(settings: Settings, given: Mapping[tuple[str, ...], Origin]) -> dict[str, Origin]:
    return {dotted(path): given.get(path, Origin("default")) for path in key_paths(settings)}
