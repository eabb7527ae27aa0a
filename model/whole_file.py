"""Files that no reader ever meets by halves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """A path beside ``file`` to write to, in a folder that is made if need be: what is written moves to ``file`` in the
    end, and goes where an error comes before that.

    Of several programs that write at once, one wins.

    Raises:
        OSError: the folder cannot be made, or the file not be moved.
    """
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
