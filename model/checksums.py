"""Checks the files of a folder against its ``SHA256SUMS`` (the format of ``sha256sum``)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from .errors import AdapterError

CHECKSUM_FILE = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def verify_checksums(folder: Path, required: Iterable[str]) -> None:
    """Nothing is asked of a folder without checksums; one that has them must list the ``required`` files.

    Raises:
        AdapterError: a file is not what its checksum says, is missing, or is not listed.
    """
    listing = folder / CHECKSUM_FILE
    if not listing.is_file():
        return
    expected = _read(listing)
    for name in required:
        if name not in expected:
            raise AdapterError(f"{listing}: {name} is not listed: the folder is incomplete; install it again")
    for name, checksum in expected.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise AdapterError(f"{folder / name} is listed in {CHECKSUM_FILE} and cannot be read: {error}") from error
        if found != checksum:
            raise AdapterError(
                f"{folder / name} is damaged: its SHA-256 is {found[:12]}…, {CHECKSUM_FILE} says {checksum[:12]}…; "
                f"install it again, or remove {CHECKSUM_FILE} if you have changed it yourself"
            )


def _read(listing: Path) -> dict[str, str]:
    expected: dict[str, str] = {}
    for number, line in enumerate(listing.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if (found := _LINE.fullmatch(line)) is None:
            raise AdapterError(f"{listing}: line {number} is no checksum and file name: {line[:80]!r}")
        expected[found[2]] = found[1]
    return expected
