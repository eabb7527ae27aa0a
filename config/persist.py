"""Writes settings into a TOML file as a person would: what stands there, comments and order too, stays.

A write has two steps, so that a caller can be sure of it before changing anything else: `planned` makes the new file
beside the old one and checks it, `PlannedWrite.commit` puts it in place.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .checks import cross_checks
from .drafts import resolve_draft
from .errors import ConfigError, Problem
from .files import FOLDER_NAME, file_content, parsed, too_large
from .fingerprint import LARGEST_FILE
from .keys import setting_at
from .load import resolve, runtime_entries
from .sources import split_key
from .toml_edit import Unplaceable, with_value

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlannedWrite:
    """Settings that can be written into ``file``; end it with `commit` or `discard`."""

    file: Path
    _values: Mapping[str, Any] = field(repr=False)
    _before: bytes | None = field(repr=False)
    """What the file held when this was planned; None: there was none."""
    _draft: _Draft = field(repr=False)

    def commit(self) -> None:
        """Replace the file as a whole, or make it. Where somebody has saved it since, the values go into that.

        Raises:
            ConfigError: it cannot be written any more, or not in this state; it is as it was.
        """
        try:
            if _content(self.file) != self._before:
                write_settings(self.file, self._values)
            else:
                with _told(self.file):
                    self._draft.put_in_place()
        finally:
            self.discard()

    def discard(self) -> None:
        """Leave the file as it is."""
        self._draft.discard()


def planned(file: Path | None, values: Mapping[str, Any]) -> PlannedWrite:
    """Make ready to set dotted keys in ``file``, which is made if it is missing.

    Relative paths among ``values`` start from the working directory, and are written absolute.

    Raises:
        ConfigError: a value is wrong, there is no file to write to, it is not valid TOML, it cannot be written, or it
            would not load afterwards.
    """
    if file is None:
        raise ConfigError([Problem("persist", "these settings come from no file: name the one to write to")])
    placed = {key: _as_in_file(key, value) for key, value in values.items()}
    resolve(runtime_entries(placed))  # what is wrong with the values themselves is told without the file
    before = _content(file)
    text = _edited(file, _text(file, before), placed)
    _must_load(file, text, before)
    with _told(file):
        return PlannedWrite(file, placed, before, _Draft.of(file, text.encode()))


def write_settings(file: Path | None, values: Mapping[str, Any]) -> None:
    """Set dotted keys in ``file`` at once.

    Raises:
        ConfigError: as `planned`.
    """
    planned(file, values).commit()


def replace_file(file: Path, content: bytes) -> None:
    """Write ``file`` as a whole or not at all; its mode stays, and a link stays a link.

    Raises:
        OSError: it cannot be written.
    """
    draft = _Draft.of(file, content)
    try:
        draft.put_in_place()
    finally:
        draft.discard()


@dataclass(frozen=True, slots=True)
class _Draft:
    """The new content of ``target`` in a file beside it."""

    target: Path
    temporary: Path

    @classmethod
    def of(cls, file: Path, content: bytes) -> _Draft:
        target = Path(os.path.realpath(file))
        mode = target.stat().st_mode & 0o777 if target.exists() else None
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as stream:
            draft = cls(target, Path(stream.name))
            try:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
                if mode is not None:
                    draft.temporary.chmod(mode)
            except BaseException:
                stream.close()  # Windows can neither remove nor rename an open file
                draft.discard()
                raise
        return draft

    def put_in_place(self) -> None:
        self.temporary.replace(self.target)
        _sync_folder(self.target.parent)

    def discard(self) -> None:
        self.temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Without this the old file may be back after a power failure."""
    if os.name == "nt":
        return  # a folder cannot be opened there
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:  # the new file is in place all the same
        _LOG.warning("%s: whether a power failure leaves what was written is uncertain: %s", folder, error.strerror)


@contextlib.contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError([Problem(str(file), f"cannot be written: {error.strerror or error}")]) from error


def _content(file: Path) -> bytes | None:
    """What ``file`` holds; None: it is missing."""
    try:
        content = file_content(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"cannot be read, so nothing is written to it: {error.strerror or error}"
        raise ConfigError([Problem(str(file), message)]) from error
    if len(content) > LARGEST_FILE:
        raise ConfigError([too_large(file)])
    return content


def _text(file: Path, content: bytes | None) -> str:
    try:
        text = (content or b"").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = "not UTF-8 text, so nothing is written to it; save the file as UTF-8"
        raise ConfigError([Problem(str(file), message)]) from error
    try:
        parsed(file, text)
    except ConfigError as error:
        raise ConfigError(_refused(problem) for problem in error.problems) from error
    return text


def _edited(file: Path, text: str, values: Mapping[str, Any]) -> str:
    try:
        for key, value in values.items():
            text = with_value(text, split_key(key), value)
        text.encode()
    except UnicodeError as error:
        message = "a value is no Unicode text, so nothing is written to it"
        raise ConfigError([Problem(str(file), message)]) from error
    except Unplaceable as error:
        raise ConfigError([Problem(str(file), f"{error}, so nothing is written to it")]) from error
    return text


def _as_in_file(key: str, value: Any) -> Any:
    """``value`` as it has to stand in a file, where relative paths start from the file's folder."""
    try:
        setting = setting_at(split_key(key))
    except ValueError as error:
        raise ConfigError([Problem(f"runtime {key}", str(error))]) from error
    if setting is None or not isinstance(value, str | Path) or (setting.optional and value == "none"):
        return value
    may_be_path = setting.takes != "value" and str(value).startswith(("./", "../", "~/"))
    if not (setting.is_path or may_be_path):
        return value
    try:
        return str(Path(value).expanduser().absolute())
    except RuntimeError as error:  # there is no such user
        raise ConfigError([Problem(f"runtime {key}", f"{value} leads nowhere: {error}")]) from error


def _must_load(file: Path, text: str, before: bytes | None) -> None:
    if not (problems := _draft_problems(file, text)):
        return
    # The lines are those of the draft; what was wrong before is told where the user finds it.
    stood = {problem.message: problem for problem in _draft_problems(file, _text(file, before))}
    inside = f"{file}:"
    raise ConfigError(
        _refused(stood[problem.message])
        if problem.message in stood
        else Problem(problem.where, f"as it would be written: {problem.message}")
        if problem.where.startswith(inside)
        else problem
        for problem in problems
    )


def _draft_problems(file: Path, text: str) -> tuple[Problem, ...]:
    try:
        loaded = resolve_draft(file, text)
    except ConfigError as error:
        return error.problems
    # A part of the settings, which goes with another one, need not be consistent alone.
    return () if file.parent.name == FOLDER_NAME else tuple(cross_checks(loaded))


def _refused(problem: Problem) -> Problem:
    return Problem(problem.where, f"{problem.message}; nothing is written before that is put right")
