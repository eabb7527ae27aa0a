"""Checksums of an index's files, by which damage done to them between two runs is noticed."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def seal(path: Path, before: str | None = None) -> str:
    """Name, size, time and BLAKE2b digest of each file at or below ``path``, as JSON.

    Files that ``before`` (an earlier seal) has with the same size and time keep their digest unread.
    """
    known = json.loads(before) if before else {}
    found = {}
    for file in _files(path):
        status = file.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        name = file.relative_to(path.parent).as_posix()
        old = known.get(name)
        found[name] = old if old and old[:2] == stamp else [*stamp, _digest(file)]
    return json.dumps(found)


def is_intact(path: Path, sealed: str) -> bool:
    """Whether the files at or below ``path`` are, byte for byte, those that were sealed."""
    known = json.loads(sealed)
    files = {file.relative_to(path.parent).as_posix(): file for file in _files(path)}
    if files.keys() != known.keys() or any(file.stat().st_size != known[name][0] for name, file in files.items()):
        return False
    with ThreadPoolExecutor(2) as pool:
        return all(pool.map(lambda name: _digest(files[name]) == known[name][2], files))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path] if path.is_file() else []


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
