"""What goes wrong while one file is read is that file's failure, never the run's."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DocumentError
from .values import Block

_LOG = logging.getLogger(__name__)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn every error met while ``path`` is read into a `DocumentError` of one line."""
    try:
        yield
    except DocumentError as error:
        raise DocumentError(_one_line(str(error))) from error
    except PermissionError as error:
        raise DocumentError("not readable: permission denied") from error
    except OSError as error:
        raise DocumentError(_one_line(error.strerror or str(error))) from error
    except Exception as error:  # a loader is third-party code fed with hostile bytes
        _LOG.debug("%s cannot be read", shown(path), exc_info=True)
        said = _one_line(str(error))
        raise DocumentError(f"damaged or not understood: {type(error).__name__}{said and f': {said}'}") from error


def read_through(path: Path, blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks of ``path``; an error of its loader is a `DocumentError`, one of the taker passes by."""
    with reading(path):
        yield from blocks


def shown(path: Path) -> str:
    """``path`` as text that can be stored and printed: bytes that are not UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _one_line(text: str) -> str:
    return " ".join(text.split())
