"""``capibara config``: what the settings are, whether they hold, and how two sets of them differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .failures import WRONG_USAGE, Failure
from .invocation import Invocation, command
from .output import note, one_line, write_json, write_line, write_table
from .settings_files import init, migrate

if TYPE_CHECKING:
    from ...config import EffectiveSetting, LoadedSettings, Problem
    from ...config.load import Sources

_WIDEST = 100

app = typer.Typer(help="Show, check, compare and write settings.", no_args_is_help=True)


@app.command()
@command
def show(
    invocation: Invocation,
    origin: Annotated[
        bool, typer.Option("--origin", help="Where each value comes from, and what it wins over.")
    ] = False,
) -> None:
    """Print every setting and its value. Secrets are masked."""
    from ...config import effective

    loaded, data_dir = invocation.settings()
    rows = effective(loaded)
    overridden = _overridden(loaded)
    if invocation.as_json:
        settings = [
            {"key": row.key, "value": row.value, "origin": str(row.origin), "overridden": overridden.get(row.key, [])}
            for row in rows
        ]
        invocation.emit({"file": loaded.file, "data_dir": data_dir, "settings": settings})
    elif origin:
        sources = (", over ".join([str(row.origin), *overridden.get(row.key, [])]) for row in rows)
        table = [(row.key, _brief(row), source) for row, source in zip(rows, sources, strict=True)]
        write_table(("setting", "value", "from"), table)
    else:
        write_table(("setting", "value"), [(row.key, _brief(row)) for row in rows])


@app.command()
@command
def schema(invocation: Invocation) -> None:
    """Print the JSON Schema of a settings file, with which editors complete and check it."""
    from ...config.json_schema import json_schema

    write_json(json_schema(), invocation.stdout)


@app.command()
@command
def check(
    invocation: Invocation,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="This file alone, without the environment.")
    ] = None,
) -> None:
    """Check all settings, or one file. Exit code 2 and one line for each mistake."""
    from ...config import ConfigError
    from ...config.load import read_sources, resolve

    if file is None:
        loaded, data_dir = invocation.settings()
    else:
        loaded, data_dir = resolve(read_sources(file, environ={}, overrides=invocation.overrides())), None
    if problems := _problems(loaded.sources):
        raise ConfigError(problems)
    changed = sum(origin.kind != "default" for origin in loaded.origins.values())
    if invocation.as_json:
        invocation.emit({"ok": True, "file": loaded.file, "data_dir": data_dir, "set": changed})
        return
    folder = f", data folder {data_dir}" if data_dir else ""
    write_line(f"settings are valid: {changed} set, file {loaded.file or 'none'}{folder}")


_SIDE = "Settings file, data folder or preset."


@app.command()
@command
def diff(
    invocation: Invocation,
    one: Annotated[str, typer.Argument(metavar="A", help=_SIDE)],
    other: Annotated[str, typer.Argument(metavar="B", help=_SIDE)],
) -> None:
    """Print the settings in which A and B differ. The environment is left out."""
    from ...config import effective
    from ...config.generation import difference

    before, after = _side(one), _side(other)
    old, new = ({row.key: row for row in effective(loaded)} for loaded in (before, after))
    keys = [change.key for change in difference(before, after)]
    if invocation.as_json:
        changes = [{"key": key, "a": _told(old.get(key)), "b": _told(new.get(key))} for key in keys]
        invocation.emit({"a": one, "b": other, "differences": changes})
        return
    if not keys:
        note(f"{one} and {other} lead to the same settings")
        return
    write_table(("setting", one, other), [(key, _brief(old.get(key)), _brief(new.get(key))) for key in keys])


@app.command()
@command
def presets(invocation: Invocation) -> None:
    """List the presets that a settings file may extend."""
    from ...config.presets import presets

    listed = presets()
    if invocation.as_json:
        invocation.emit({"presets": listed})
        return
    write_table(("preset", "for"), [(preset.name, preset.about) for preset in listed])


app.command()(init)
app.command()(migrate)


def _problems(sources: Sources) -> tuple[Problem, ...]:
    """All that speaks against running with ``sources``."""
    from ...config import ConfigError
    from ...config.transaction import Transaction
    from ..hardware import Machine

    transaction = Transaction((Machine(),), lambda _: None)
    try:
        transaction.check(transaction.resolve(sources))
    except ConfigError as error:
        return error.problems
    return ()


def _overridden(loaded: LoadedSettings) -> dict[str, list[str]]:
    """The sources whose value another replaces, by key, the strongest first."""
    from ...config.keys import dotted

    given: dict[str, list[str]] = {}
    for entry in reversed(loaded.sources.entries):
        given.setdefault(dotted(entry.path), []).append(str(entry.origin))
    return {key: losers for key, (_, *losers) in given.items()}


def _side(name: str) -> LoadedSettings:
    """The settings that ``name`` leads to; a preset's name is one, whatever else is called so."""
    from ...config.load import load_settings, read_sources, resolve
    from ...config.locate import FILE_NAME
    from ...config.presets import preset_file, preset_names

    if (file := preset_file(name)) is not None:
        return load_settings(file, environ={})
    path = Path(name).expanduser()
    if path.is_dir():
        return resolve(read_sources(path / FILE_NAME, required=False, environ={}))
    if not path.exists() and path.suffix != ".toml":
        message = f"{name} is no file, no folder and no preset ({', '.join(preset_names())})"
        raise Failure(message, exit_code=WRONG_USAGE, kind="UsageError")
    return load_settings(path, environ={})


def _told(row: EffectiveSetting | None) -> dict[str, object] | None:
    return {"value": row.value, "origin": str(row.origin)} if row else None


def _brief(row: EffectiveSetting | None) -> str:
    """The value as TOML would have it; a long text is cut, nothing else is."""
    if row is None:
        return "-"
    from ...config.keys import setting_at
    from ...config.sources import split_key

    setting = setting_at(split_key(row.key))
    is_text = setting is not None and setting.takes == "text or file"
    return one_line(row.text, _WIDEST) if is_text else row.text
