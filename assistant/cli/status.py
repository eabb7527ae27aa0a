"""``capibara status``."""

from __future__ import annotations

from pathlib import Path

from .invocation import Invocation, command
from .output import plain, size_in_words, write_line


@command
def status(invocation: Invocation) -> None:
    """Show what is there. The data folder, its contents, the models, what was healed."""
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
    names = ", ".join(library.collections) or "none"
    write_line(f"holds         {library.documents} documents, {library.chunks} chunks, {library.aliases} duplicates")
    write_line(f"collections   {names}")
    for model in models:
        state = "present" if model.present else "missing"
        write_line(f"{model.role.removesuffix(' model'):<14}{model.name}, {state}: {model.location}")
    if library.pending:
        write_line(f"pending       {library.pending} changes are not in the indexes yet")
    if library.outdated:
        write_line(f"outdated      {library.outdated} documents await `capibara ingest --reindex`")
    for part in library.healed:
        write_line(f"healed        {part}")


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
