"""Reads a settings file with everything that belongs to it: what it extends, its ``config.d``, texts it refers to.

Merge rules, lowest first: what ``extends`` names (in its order, each after what it extends itself), the file, then the
files of ``config.d`` beside it in the order of their names. A file that is extended by several ways counts once, where
it comes first, so that a base never wins over what extends it: base, b, c for ``extends = ["./b.toml", "./c.toml"]``
where both extend ``base.toml``. Tables are merged key by key; any other value, a list too, replaces the one before.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import ConfigError, Problem
from .fingerprint import LARGEST_FILE, NOT_REGULAR, toml_entries
from .keys import dotted, setting_at
from .positions import KeyPath, key_lines
from .presets import PRESETS, no_preset, preset_file
from .schema import SCHEMA_VERSION
from .sources import Entry, Origin, leaves

FOLDER_NAME = "config.d"
FILE_KEYS = ("extends", "schema_version")
"""Keys that concern the file itself and are no settings."""
_PATH_MARKS = ("./", "../", "~/", "/")


@dataclass(slots=True)
class FileReader:
    """Collects entries and problems, the paths looked at (also those that are missing), and what they held.

    Each file is read once, by whatever ways and however often it is named, so that no two of its states are mixed.
    """

    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    contents: dict[Path, str] = field(default_factory=dict)
    """SHA-256 of each path's content, empty where there is none; a folder holds the names in it."""
    drafts: Mapping[Path, bytes] = field(default_factory=dict)
    """Read instead of what these paths hold: a file can be checked before it is written."""
    _held: dict[str, bytes | OSError] = field(init=False, repr=False)
    """What was read, or why it could not be, by real path."""
    _applied: set[str] = field(default_factory=set, init=False, repr=False)
    """The real paths of the main file and those it extends that have been entered."""

    def __post_init__(self) -> None:
        self._held = {os.path.realpath(file): content for file, content in self.drafts.items()}

    def read(self, file: Path, *, required: bool) -> None:
        """Read ``file`` with what it extends, then its ``config.d``."""
        if required or file.exists() or file.is_symlink():
            self._chain(file, Origin("file", str(file)), ())
        else:
            self.contents[file] = ""
        self._folder(file.parent / FOLDER_NAME)
        self.entries = [self._with_text(entry) for entry in self.entries]

    def read_texts(self, entries: list[Entry]) -> list[Entry]:
        """``entries`` of another source, with the texts they refer to."""
        return [self._with_text(entry) for entry in entries]

    def _chain(self, file: Path, named_at: Origin, below: tuple[str, ...]) -> None:
        """``below``: the real paths of the files that led here, each extending the next."""
        real = os.path.realpath(file)
        if real in below:
            circle = " extends ".join(Path(path).name for path in (*below[below.index(real) :], real))
            self.problems.append(Problem(str(named_at), f"extends runs in a circle: {circle}"))
            return
        if real in self._applied:
            self._content(file, named_at)  # it may have another name here, which is to be watched too
            return
        document = self._document(file, named_at if below else None)
        found = self._parsed(file, document) if document is not None else None
        if found is None:
            return
        self._applied.add(real)
        tree, lines = found
        for base in self._bases(tree, file, lines):
            where = f"{_shown(file)}:{lines[('extends',)]}"
            if (base_file := _base_file(base, file)) is None:
                message = f"{no_preset(base)}, or write a path such as ./{base}.toml"
                self.problems.append(Problem(where, message))
            else:
                self._chain(base_file, Origin("file", where), (*below, real))
        self.entries += _entries(file, tree, lines)

    def _folder(self, folder: Path) -> None:
        try:
            files = toml_entries(folder)
        except (FileNotFoundError, NotADirectoryError):
            files = []
        except OSError as error:
            self.problems.append(Problem(str(folder), f"cannot be read: {error.strerror or error}"))
            files = []
        self.contents[folder] = "\n".join(path.name for path in files)
        for file in files:
            document = self._document(file, None)
            found = self._parsed(file, document) if document is not None else None
            if found is None:
                continue
            tree, lines = found
            if "extends" in tree:
                where = f"{file}:{lines[('extends',)]}"
                self.problems.append(Problem(where, f"extends belongs into the main file, not into {FOLDER_NAME}"))
            self.entries += _entries(file, tree, lines)

    def _document(self, file: Path, named_at: Origin | None) -> str | None:
        content = self._content(file, named_at)
        if content is None:
            return None
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            self.problems.append(Problem(f"{file}:{line}", "not UTF-8 text; save the file as UTF-8"))
            return None

    def _content(self, file: Path, named_at: Origin | None) -> bytes | None:
        """The bytes of ``file``; a problem is told at ``named_at``, where another file names this one."""
        self.contents[file] = ""
        content = self._read_once(file)
        if isinstance(content, OSError):
            reason = f"cannot be read: {content.strerror or content}"
            self.problems.append(Problem(str(named_at or file), f"{file} {reason}" if named_at else reason))
            return None
        self.contents[file] = hashlib.sha256(content).hexdigest()
        if len(content) > LARGEST_FILE:
            self.problems.append(too_large(file))
            return None
        return content

    def _read_once(self, file: Path) -> bytes | OSError:
        real = os.path.realpath(file)
        if real not in self._held:
            try:
                self._held[real] = file_content(file)
            except OSError as error:
                self._held[real] = error
        return self._held[real]

    def _parsed(self, file: Path, document: str) -> tuple[dict[str, Any], dict[KeyPath, int]] | None:
        """The values, and the lines on which they stand."""
        try:
            tree, lines = parsed(file, document)
        except ConfigError as error:
            self.problems += error.problems
            return None
        version = tree.get("schema_version", SCHEMA_VERSION)
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            message = "schema_version must be a whole number from 1"
        elif version > SCHEMA_VERSION:
            message = f"written for settings of version {version}, this Capibara knows {SCHEMA_VERSION}: update it"
        else:
            return tree, lines
        self.problems.append(Problem(f"{file}:{lines[('schema_version',)]}", message))
        return None

    def _bases(self, tree: dict[str, Any], file: Path, lines: dict[KeyPath, int]) -> list[str]:
        given = tree.get("extends", [])
        bases = [given] if isinstance(given, str) else given
        if isinstance(bases, list) and all(isinstance(base, str) and base for base in bases):
            return bases
        example = 'extends must be a name or a path, or a list of them, such as ["laptop", "./team.toml"]'
        self.problems.append(Problem(f"{file}:{lines[('extends',)]}", example))
        return []

    def _with_text(self, entry: Entry) -> Entry:
        """The entry with the content of the text file it names, if it names one."""
        setting = setting_at(entry.path)
        names = setting is not None and setting.takes == "text or file" and isinstance(entry.value, str)
        if not names or not _is_written_as_path(entry.value):
            return entry
        path = Path(entry.value).expanduser()
        path = entry.folder / path if entry.folder else path
        content = self._content(path, entry.origin)
        if content is None:
            return replace(entry, value="")
        try:
            text = content.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            self.problems.append(Problem(entry.place(), f"{dotted(entry.path)}: {path} is not UTF-8 text"))
            return replace(entry, value="")
        # What comes from a file is text to the last letter, also where it looks like a path itself.
        return replace(entry, value=text)


def parsed(file: Path, document: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """The values of a TOML ``document``, and the line of each key.

    Raises:
        ConfigError: it is none.
    """
    try:
        return tomllib.loads(document), key_lines(document)
    except RecursionError as error:
        raise ConfigError([Problem(str(file), "not valid TOML: nested too deeply")]) from error
    except ValueError as error:  # tomllib's own, and Python's for a number of thousands of digits
        raise ConfigError([_syntax_problem(file, document, error)]) from error


def file_content(file: Path) -> bytes:
    """All of ``file``, or enough to see that it is too large.

    Raises:
        OSError: it cannot be read, or is a pipe or a device: opening one may wait for ever.
    """
    mode = file.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, f"{NOT_REGULAR}; copy what it gives into one")
    with file.open("rb") as stream:
        return stream.read(LARGEST_FILE + 1)


def too_large(file: Path) -> Problem:
    """What to say of a file of more than `LARGEST_FILE` bytes."""
    return Problem(str(file), f"larger than {LARGEST_FILE // 2**20} MiB; that is no settings file")


def _entries(file: Path, tree: dict[str, Any], lines: dict[KeyPath, int]) -> list[Entry]:
    preset = file.parent == PRESETS
    shown, kind = _shown(file), "preset" if preset else "file"
    entries = []
    for path, value in leaves({key: value for key, value in tree.items() if key not in FILE_KEYS}):
        places = {
            key[len(path) :]: f"{shown}:{line}"
            for key, line in lines.items()
            if key[: len(path)] == path and key != path
        }
        origin = Origin(kind, f"{shown}:{lines[path]}")
        entries.append(Entry(path, value, origin, folder=file.parent, element_places=places))
    return entries


def _shown(file: Path) -> str:
    return f"preset {file.stem}" if file.parent == PRESETS else str(file)


def _base_file(base: str, file: Path) -> Path | None:
    """A preset's file for a bare name, else a path relative to ``file``; None: there is no such preset."""
    if not _is_written_as_path(base) and not base.endswith(".toml"):
        return preset_file(base)
    return file.parent / Path(base).expanduser()


def _is_written_as_path(text: str) -> bool:
    return text.startswith(_PATH_MARKS) or Path(text).is_absolute()  # on Windows it begins with a drive


def _syntax_problem(file: Path, document: str, error: ValueError) -> Problem:
    message = str(error)
    position = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    if position is None:
        return Problem(str(file), f"not valid TOML: {message}")
    line = int(position[1]) if position[1] else document.count("\n") + 1
    column = f" at column {position[2]}" if position[2] else " at the end"
    return Problem(f"{file}:{line}", f"not valid TOML: {message[: position.start()]}{column}")
