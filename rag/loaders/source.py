"""What is checked of every file before a loader looks inside: existence, rights, size, magic bytes."""

from __future__ import annotations

import stat
from pathlib import Path

from ..errors import DocumentError

_MAGIC = (
    (b"%PDF-", "a PDF file"),
    (b"PK\x03\x04", "a ZIP archive (perhaps an office document)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old binary or an encrypted Office document"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\x00", "xz data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
    (b"OggS", "Ogg audio"),
    (b"ID3", "MP3 audio"),
    (b"fLaC", "FLAC audio"),
    (b"RIFF", "RIFF audio or video"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"{\\rtf", "an RTF document"),
)


def check(path: Path, max_file_mb: int) -> None:
    """Refuse what cannot be read at all.

    Raises:
        DocumentError: missing, not a regular file, not readable, empty, or larger than ``max_file_mb`` MiB.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise DocumentError("no such file") from error
    except OSError as error:
        raise DocumentError(unreadable(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise DocumentError("not a regular file")
    if status.st_size == 0:
        raise DocumentError("empty: zero bytes")
    if status.st_size > max_file_mb * 2**20:
        size = status.st_size / 2**20
        raise DocumentError(f"too large: {size:,.0f} MiB, the limit rag.max_file_mb is {max_file_mb}")


def head(path: Path, size: int = 4096) -> bytes:
    """The first ``size`` bytes.

    Raises:
        DocumentError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise DocumentError(unreadable(error)) from error


def kind_by_magic(head_bytes: bytes) -> str | None:
    """What the first bytes say the file is, in words; None: nothing known."""
    return next((name for magic, name in _MAGIC if head_bytes.startswith(magic)), None)


def unreadable(error: OSError) -> str:
    """The reason of a failed read, in one line, without the path."""
    if isinstance(error, PermissionError):
        return "not readable: permission denied"
    return f"not readable: {error.strerror or error.__class__.__name__}"
