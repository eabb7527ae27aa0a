"""The ways in which editors and tools save a file; for `reload.py` and the tests."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

Save = Callable[[Path, str], None]


def in_place(file: Path, text: str) -> None:
    """Truncate and write at once."""
    file.write_text(text)


def replace(file: Path, text: str) -> None:
    """Write beside it and move there, as most programs do."""
    beside = file.with_name(f".{file.name}.tmp")
    beside.write_text(text)
    beside.replace(file)


def vim(file: Path, text: str) -> None:
    """Move the old file away, write a new one, delete the old one."""
    backup = file.with_name(f"{file.name}~")
    file.rename(backup)
    file.write_text(text)
    backup.unlink()


def slowly(file: Path, text: str) -> None:
    """Truncate, then write piece by piece."""
    with file.open("w") as stream:
        for at in range(0, len(text), 9):
            time.sleep(0.01)
            stream.write(text[at : at + 9])
            stream.flush()


def delete_and_recreate(file: Path, text: str) -> None:
    """The file is gone for a moment."""
    file.unlink()
    time.sleep(0.03)
    file.write_text(text)


def mount(file: Path, text: str) -> None:
    """A Kubernetes ConfigMap: the file links to ``..data/file``, and ``..data`` is swapped for another folder."""
    folder, data = file.parent, file.parent / "..data"
    new = folder / f"..{time.monotonic_ns()}"
    new.mkdir()
    (new / file.name).write_text(text)
    old = data.resolve() if data.is_symlink() else None
    link = folder / "..data_tmp"
    link.symlink_to(new.name)
    os.replace(link, data)  # noqa: PTH105 -- the link itself is moved, and Path.replace would say no more
    if not file.is_symlink():
        file.unlink(missing_ok=True)
        file.symlink_to(Path("..data") / file.name)
    if old is not None:
        shutil.rmtree(old)


STYLES: dict[str, Save] = {
    "in place": in_place,
    "os.replace": replace,
    "vim": vim,
    "slow truncate + write": slowly,
    "..data swap": mount,
    "delete + recreate": delete_and_recreate,
}
