"""``capibara status``."""

from __future__ import annotations

from pathlib import Path

from .invocation import Invocation, command
from .output import plain, size_in_words, write_line


@command
def status(invocation: Invocation) -> None:
    """Show the data folder, what it holds, the models, and what was healed at this start."""
    from ..models import list_models

    with invocation.open() as assistant:
        library = assistant.status()
        models = list_models(assistant.settings)
        data_dir = assistant.data_dir
        file = assistant.loaded.file
    sizes = {entry.name: _size(entry) for entry in sorted(data_dir.iterdir())}
    if invocation.as_json:
        invocation.emit(
            {"data_dir": data_dir, "file": file, "library": plain(library), "models": models, "bytes": sizes}
        )
        return
    write_line(f"data folder   {data_dir} ({size_in_words(sum(sizes.values()))})")
    write_line(f"settings      {file or 'no file'}")


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
