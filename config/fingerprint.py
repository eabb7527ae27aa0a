"""What watched files hold, and which folders tell of a change: contents decide, events only say when to look."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LARGEST_FILE = 1 << 20
"""Bytes: what is larger is no settings file, and is not read."""

EMPTY = hashlib.sha256(b"").hexdigest()
"""The fingerprint of a file of 0 bytes."""

NOT_REGULAR = "not a regular file"

FOLDER = "folder"
"""What stands for a folder itself in `contents`."""

_MOST_LINKS = 40  # as Linux allows on the way to one file

Signature = tuple[int, ...]


def contents(path: Path) -> dict[Path, str | None]:
    """The fingerprint of ``path``; for a folder ``FOLDER``, and those of its `toml_entries`.

    It is the SHA-256 of a file's bytes, and None where there is no file. One of more than `LARGEST_FILE` is not read,
    its size and time stand for it. One that cannot be read has a fingerprint that says so.
    """
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return {path: _held_by(path)}
        entries = toml_entries(path)
    except OSError as error:
        return {path: _failure(error)}
    return {path: FOLDER, **{entry: _held_by(entry) for entry in entries}}


def signatures(path: Path) -> dict[Path, Signature | None]:
    """As `contents`, from the file system's records alone: cheap, and differs wherever contents may differ."""
    try:
        members = [path, *(toml_entries(path) if path.is_dir() else ())]
    except OSError:
        members = [path]
    return {member: _signature(member) for member in members}


def written_at(paths: Iterable[Path]) -> list[float]:
    """When each file among ``paths``, or within a folder among them, was written last, in seconds since the epoch."""
    found = []
    for path in paths:
        for member in signatures(path):
            with contextlib.suppress(OSError):
                status = member.stat()
                if stat.S_ISREG(status.st_mode):
                    found.append(status.st_mtime)
    return found


def toml_entries(folder: Path) -> list[Path]:
    """The ``*.toml`` entries of a folder, sorted; names that start with a dot (editors' lock files) do not count.

    Raises:
        OSError: the folder cannot be listed.
    """
    return sorted(entry for entry in folder.iterdir() if is_toml(entry.name))


def is_toml(name: str) -> bool:
    """Whether an entry of a folder with this name is a settings file."""
    return name.endswith(".toml") and not name.startswith(".")


@dataclass(frozen=True, slots=True)
class Trail:
    """The directory entries whose change can change what watched paths lead to; all folders are real ones."""

    entries: frozenset[Path] = frozenset()
    listed: frozenset[Path] = frozenset()
    """Folders that are watched themselves: every TOML entry counts, those yet to come too."""

    @property
    def folders(self) -> frozenset[Path]:
        """Where all these entries lie: the folders in which a change can change what the paths hold."""
        return self.listed | {entry.parent for entry in self.entries}

    def leads_over(self, path: Path) -> bool:
        """Whether a change of the entry ``path`` matters."""
        return path in self.entries or path in self.listed or (path.parent in self.listed and is_toml(path.name))


def trail(paths: Iterable[Path]) -> Trail:
    """The trail to all ``paths``, as the file system is now."""
    entries: set[Path] = set()
    listed: set[Path] = set()
    for path in paths:
        entries |= _waypoints(path)
        try:
            if path.is_dir():
                listed.add(Path(os.path.realpath(path)))
                for entry in toml_entries(path):
                    entries |= _waypoints(entry)
        except OSError:
            continue  # its parents tell when it can be listed
    return Trail(frozenset(entries), frozenset(listed))


def _waypoints(path: Path) -> set[Path]:
    """Every symbolic link on the way to ``path``, and its end or the first part that is missing."""
    anchor, *parts = path.absolute().parts
    folder, ahead, found, links = Path(anchor), parts[::-1], set[Path](), 0
    while ahead:
        part = ahead.pop()
        entry = folder.parent if part == ".." else folder / part
        try:
            target = entry.readlink() if entry.is_symlink() else None
            passable = target is not None or entry.is_dir()
        except OSError:
            target, passable = None, False
        if target is not None:
            links += 1
            folder = Path(target.anchor) if target.is_absolute() else folder
            ahead += [part for part in reversed(target.parts) if part != target.anchor]
        if target is not None or not ahead or not passable:
            found.add(entry)
        if not passable or links > _MOST_LINKS:
            break
        folder = entry if target is None else folder
    return found


def _held_by(file: Path) -> str | None:
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            return NOT_REGULAR  # and a pipe is never opened: that would wait for its writer
        if status.st_size > LARGEST_FILE:
            return f"{status.st_size} bytes of {status.st_mtime_ns}"
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        return _failure(error)


def _failure(error: OSError) -> str | None:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return None
    return f"unreadable: {errno.errorcode.get(error.errno or 0, type(error).__name__)}"


def _signature(path: Path) -> Signature | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
