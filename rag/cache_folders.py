"""Derived folders in the cache: made whole or not at all, by whichever process comes first."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """A fresh folder that gets the name ``folder`` once the block has filled it, and vanishes if the block fails.

    Another process may have been first; then its copy stays.

    Raises:
        OSError: the cache folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        yield fresh
        try:
            os.rename(fresh, folder)  # noqa: PTH104 -- Path.rename reads the same; os names the system call meant
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
