"""``capibara config init`` and ``capibara config migrate``: the commands that write settings files."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .failures import WRONG_USAGE, Failure
from .invocation import Invocation, command
from .output import note, write_line, write_table

if TYPE_CHECKING:
    from ...config.migrate import Migration

Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


@command
def init(
    invocation: Invocation,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to write; none: capibara.toml in the data folder.")
    ] = None,
    preset: Annotated[str, typer.Option(metavar="NAME", help="What it extends; see `presets`.")] = "default",
    force: Force = False,
) -> None:
    """Write a settings file to begin with. It extends a preset; the rest are comments."""
    from ...config.locate import FILE_NAME, locate
    from ...config.starter import starter

    text = starter(preset)
    data_dir, _ = locate(invocation.data_dir)
    named = file or invocation.config
    target = named.expanduser() if named else data_dir / FILE_NAME
    _refuse_to_overwrite(target, force)
    if named is None:
        data_dir.mkdir(parents=True, exist_ok=True)
    _write(target, text)
    if invocation.as_json:
        invocation.emit({"written": target, "preset": preset})
        return
    write_line(f"wrote {target}, which extends the preset {preset}")
    option = ["--config", str(target)] if named else ["--data-dir", str(data_dir)] if invocation.data_dir else []
    write_line(f"change it in an editor, then run `{shlex.join(['capibara', 'config', 'check', *option])}`")


@command
def migrate(
    invocation: Invocation,
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Settings of an earlier version, TOML or JSON.")],
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write here; none: standard output.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Rewrite OLD; it is kept as OLD.bak.")] = False,
    force: Force = False,
) -> None:
    """Rewrite a settings file for this version. What became of each key is reported."""
    from ...config.migrate import migrate as migrated

    old = old.expanduser()
    target = _target(old, output, in_place)
    backup = old.with_name(f"{old.name}.bak") if in_place else None
    for written in filter(None, (backup or target,)):
        _refuse_to_overwrite(written, force)
    migration = migrated(old, target)
    if backup:
        shutil.copy2(old, backup)
    if target:
        _write(target, migration.text)
    if invocation.as_json:
        invocation.emit(_as_document(migration, target, backup))
        return
    _report(migration)
    if target is None:
        write_line(migration.text.rstrip("\n"))
        return
    note(f"wrote {target}" + (f"; the old file is {backup}" if backup else ""))
    if migration.relative and target.parent.resolve() != old.parent.resolve():
        note(f"paths relative to {target.parent} now: {', '.join(migration.relative)}")


def _target(old: Path, output: Path | None, in_place: bool) -> Path | None:
    if in_place and output is not None:
        raise Failure("--in-place writes OLD: leave --output out", exit_code=WRONG_USAGE, kind="UsageError")
    if in_place and old.suffix.lower() == ".json":
        message = f"{old} is JSON and settings are TOML: use --output FILE"
        raise Failure(message, exit_code=WRONG_USAGE, kind="UsageError")
    return old if in_place else output.expanduser() if output else None


def _refuse_to_overwrite(file: Path, force: bool) -> None:
    if not force and (file.exists() or file.is_symlink()):
        raise Failure(f"{file} exists: --force overwrites it", exit_code=WRONG_USAGE, kind="FileExists")


def _write(file: Path, text: str) -> None:
    from ...config.persist import replace_file

    try:
        replace_file(file, text.encode())
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror or error}") from error


def _report(migration: Migration) -> None:
    rows = [
        (step.old_key, step.old_text, step.fate, f"{step.new_key} = {step.new_text}" if step.path else "", step.why)
        for step in migration.steps
    ]
    with contextlib.redirect_stdout(sys.stderr):  # the file itself may go to standard output
        write_table(("key", "value", "became", "setting", "why"), rows)


def _as_document(migration: Migration, target: Path | None, backup: Path | None) -> dict[str, object]:
    steps = [
        {
            "key": step.old_key,
            "old": step.old_text,
            "became": step.fate,
            "setting": step.new_key or None,
            "new": step.new_text or None,
            "why": step.why,
        }
        for step in migration.steps
    ]
    text = None if target else migration.text
    return {"written": target, "backup": backup, "steps": steps, "text": text}
