"""Which files an ingest run reads: folders walked in a stable order, links and hidden files kept out."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .loaders.registry import SUPPORTED_SUFFIXES

_ODD_NAME = "its name is not valid UTF-8: rename it"


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found. Paths are absolute.

    ``files`` is sorted, each file once. ``skipped`` are things met on the walk and left out; ``failed`` are things
    that were named and cannot be read, or whose name cannot be stored; both with the reason. ``folders`` are the
    folders that were named, spelled as in the paths of the files below them.
    """

    files: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)


def discover(paths: Sequence[Path], *, follow_symlinks: bool) -> Discovery:
    """Find the files of ``paths``: files as named, folders with all that is below them.

    On a walk, hidden entries (a leading dot), unsupported suffixes, things that are no files, and symbolic links are
    skipped. With ``follow_symlinks``, links are followed as long as they stay inside the named folder and close no
    loop. A named file may be a link and may be hidden. Reading stops at no error: an unreadable folder is skipped.
    """
    found = Discovery()
    seen: set[Path] = set()
    for path in paths:
        try:
            _add_named(_absolute(path), follow_symlinks, found, seen)
        except (OSError, RuntimeError) as error:  # RuntimeError: a link loop, before Python 3.13
            found.failed.append((path, _reason(error)))
    found.files.sort()
    return found


def _absolute(path: Path) -> Path:
    """The one spelling of a named path: its folder's real path, its own name kept even if it is a link."""
    return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name


def _add_named(path: Path, follow_symlinks: bool, found: Discovery, seen: set[Path]) -> None:
    status = path.stat()
    if not _is_storable(path):
        found.failed.append((path, _ODD_NAME))
    elif stat.S_ISDIR(status.st_mode):
        found.folders.append(path)
        _Walk(path.resolve(strict=True), follow_symlinks, found, seen).visit(path, ())
    elif not stat.S_ISREG(status.st_mode):
        found.failed.append((path, "not a regular file"))
    elif path.suffix.lower() not in SUPPORTED_SUFFIXES:
        found.failed.append((path, _unsupported(path)))
    else:
        _add(path, found, seen)


def _add(path: Path, found: Discovery, seen: set[Path]) -> None:
    real = path.resolve(strict=True)
    if real not in seen:
        seen.add(real)
        found.files.append(path)


class _Walk:
    """One named folder: the walk below it, which never leaves its real path."""

    def __init__(self, root: Path, follow_symlinks: bool, found: Discovery, seen: set[Path]) -> None:
        self._root = root
        self._follow = follow_symlinks
        self._found = found
        self._seen = seen

    def visit(self, folder: Path, above: tuple[Path, ...]) -> None:
        """Add the files below ``folder``; ``above`` are the real paths of the folders that led here."""
        here = folder.resolve(strict=True)
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            self._skip(folder, _reason(error))
            return
        for name in names:
            path = folder / name
            if name.startswith("."):
                self._skip(path, "hidden")
                continue
            try:
                self._entry(path, (*above, here))
            except (OSError, RuntimeError) as error:
                self._skip(path, _reason(error))

    def _entry(self, path: Path, above: tuple[Path, ...]) -> None:
        if path.is_symlink():
            reason = self._refused_link(path, above)
            if reason:
                self._skip(path, reason)
                return
        status = path.stat()
        if not _is_storable(path):
            self._found.failed.append((path, _ODD_NAME))
        elif stat.S_ISDIR(status.st_mode):
            self.visit(path, above)
        elif not stat.S_ISREG(status.st_mode):
            self._skip(path, "not a regular file")
        elif path.suffix.lower() not in SUPPORTED_SUFFIXES:
            self._skip(path, _unsupported(path))
        else:
            _add(path, self._found, self._seen)

    def _refused_link(self, path: Path, above: tuple[Path, ...]) -> str | None:
        """Why a symbolic link is not followed; None if it may be."""
        try:
            target = path.resolve(strict=True)
        except FileNotFoundError:
            return "symbolic link to nothing"
        except (OSError, RuntimeError):
            return "symbolic link loop"
        if not target.is_relative_to(self._root):
            return "symbolic link out of the folder"
        if target.is_dir() and target in above:
            return "symbolic link loop"
        return None if self._follow else "symbolic link (rag.follow_symlinks is off)"

    def _skip(self, path: Path, reason: str) -> None:
        self._found.skipped.append((path, reason))


def _is_storable(path: Path) -> bool:
    """Whether the path is text: Python shows bytes of a name that are not UTF-8 as lone surrogates."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _unsupported(path: Path) -> str:
    suffix = path.suffix.lower()
    return f"format {suffix or 'without suffix'} is not supported (supported: {', '.join(SUPPORTED_SUFFIXES)})"


def _reason(error: OSError | RuntimeError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file or folder"
    if isinstance(error, PermissionError):
        return "not readable: permission denied"
    if isinstance(error, OSError) and error.strerror:
        return f"not readable: {error.strerror}"
    return "symbolic link loop"
