"""ZIP archives of XML parts, opened without trusting them: sizes are checked before and while unpacking."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import DocumentError
from .source import head, kind_by_magic, unreadable

_DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, IndexError,
    RuntimeError, NotImplementedError,
)  # fmt: skip
_RATIO_LIMIT = 250
_RATIO_FROM_BYTES = 16 * 2**20


class Archive:
    """An open archive whose parts may unpack to ``max_unpacked_mb`` MiB in all."""

    def __init__(self, archive: zipfile.ZipFile, max_unpacked_mb: int) -> None:
        self._archive = archive
        self._left = max_unpacked_mb * 2**20
        self._limit_mb = max_unpacked_mb

    @property
    def names(self) -> list[str]:
        return self._archive.namelist()

    @contextmanager
    def part(self, name: str) -> Iterator[IO[bytes]]:
        """A part to read from.

        Raises:
            DocumentError: the part is damaged or encrypted, or unpacks to more than it declared.
        """
        with _unpacking(name):
            file = self._archive.open(name)
        with file:
            yield _Counted(file, self, name)  # type: ignore[misc]

    def spend(self, size: int) -> None:
        """Count unpacked bytes."""
        self._left -= size
        if self._left < 0:
            raise DocumentError(_too_large(self._limit_mb))


class _Counted:
    """A file whose reads are counted."""

    def __init__(self, file: IO[bytes], archive: Archive, name: str) -> None:
        self._file = file
        self._archive = archive
        self._name = name

    def read(self, size: int = -1) -> bytes:
        data = self._counted(size if size >= 0 else 1 << 20)
        while size < 0 and (more := self._counted(1 << 20)):
            data += more
        return data

    def _counted(self, size: int) -> bytes:
        with _unpacking(self._name):
            data = self._file.read(size)
        self._archive.spend(len(data))
        return data


@contextmanager
def _unpacking(name: str) -> Iterator[None]:
    """The errors of the unpackers in the room's words."""
    try:
        yield
    except _DAMAGE as error:
        raise DocumentError(f"damaged: its part {name} cannot be unpacked") from error


@contextmanager
def open_archive(path: Path, max_unpacked_mb: int, *, what: str) -> Iterator[Archive]:
    """Open the archive ``path``, which should be ``what`` (in words, for messages).

    Raises:
        DocumentError: not a ZIP archive, damaged, encrypted, or one that unpacks to too much.
    """
    start = head(path)
    if not start.startswith(b"PK"):
        kind = kind_by_magic(start)
        raise DocumentError(f"not {what}: its content is {kind or 'no ZIP archive'}")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DocumentError(f"damaged or truncated: not a complete ZIP archive ({what} is one)") from error
    except OSError as error:
        raise DocumentError(unreadable(error)) from error
    with archive:
        _check(archive, max_unpacked_mb)
        yield Archive(archive, max_unpacked_mb)


def _check(archive: zipfile.ZipFile, max_unpacked_mb: int) -> None:
    parts = archive.infolist()
    unpacked = sum(part.file_size for part in parts)
    packed = sum(part.compress_size for part in parts)
    if unpacked > max_unpacked_mb * 2**20:
        raise DocumentError(_too_large(max_unpacked_mb))
    if unpacked > _RATIO_FROM_BYTES and unpacked > _RATIO_LIMIT * max(1, packed):
        raise DocumentError(f"suspected zip bomb: it unpacks to {unpacked / max(1, packed):,.0f} times its size")
    if any(part.flag_bits & 1 for part in parts):
        raise DocumentError("encrypted: save it without a password")


def _too_large(limit_mb: int) -> str:
    return f"suspected zip bomb: it unpacks to more than rag.max_unpacked_mb, {limit_mb} MiB"
