"""``capibara config show`` and ``capibara config check``."""

from __future__ import annotations

import typer

from .invocation import Invocation, command
from .output import write_line, write_table

app = typer.Typer(help="Show and check the settings.", no_args_is_help=True)


@app.command()
@command
def show(invocation: Invocation) -> None:
    """Print every setting and its origin. Secrets are masked."""
    from ...config import effective

    loaded, data_dir = invocation.settings()
    rows = effective(loaded)
    if invocation.as_json:
        settings = [{"key": row.key, "value": row.value, "origin": str(row.origin)} for row in rows]
        invocation.emit({"file": loaded.file, "data_dir": data_dir, "settings": settings})
        return
    write_table(("setting", "value", "from"), [(row.key, row.text, str(row.origin)) for row in rows])


@app.command()
@command
def check(invocation: Invocation) -> None:
    """Check all settings. Exit code 2 and one line for each mistake."""
    loaded, data_dir = invocation.settings()
    changed = sum(origin.kind != "default" for origin in loaded.origins.values())
    if invocation.as_json:
        invocation.emit({"ok": True, "file": loaded.file, "data_dir": data_dir, "set": changed})
        return
    write_line(f"settings are valid: {changed} set, file {loaded.file or 'none'}, data folder {data_dir}")
