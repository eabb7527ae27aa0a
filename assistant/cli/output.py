"""Writes results: rich where a person looks at a terminal, plain text in a pipe, one JSON document on request."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = ("Cc", "Zl", "Zp")


def write_json(document: Any, stream: TextIO) -> None:
    """Write ``document`` as one JSON document; dataclasses become objects, paths text."""
    stream.write(json.dumps(plain(document), ensure_ascii=False, indent=2) + "\n")
    stream.flush()


def plain(value: Any) -> Any:
    """``value`` in the types JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {printable(str(key)): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    return printable(str(value)) if isinstance(value, (str, Path)) else value


def printable(text: str) -> str:
    """``text`` with � for each lone surrogate, as Python has them for the bytes of a file name that is no UTF-8."""
    return _SURROGATE.sub("\ufffd", text)


def name_on_line(name: str) -> str:
    r"""A file name as it may stand in a line: line breaks and other control characters escaped (``\n``)."""
    return "".join(c if unicodedata.category(c) not in _CONTROL else ascii(c)[1:-1] for c in printable(name))


def write_line(text: str = "") -> None:
    """One line of a result, on standard output."""
    sys.stdout.write(printable(text) + "\n")


def note(text: str) -> None:
    """One line that is not part of the result, on standard error."""
    sys.stdout.flush()
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def write_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal; tab-separated lines with a header in a pipe, where nothing is cut or wrapped."""
    if not sys.stdout.isatty():
        for row in [columns, *rows]:
            write_line("\t".join(" ".join(cell.split()) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table)


def size_in_words(size: int) -> str:
    """``size`` in bytes as a person would say it: ``98.4 MB``."""
    amount = float(size)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def one_line(text: str, limit: int | None = None) -> str:
    """``text`` without line breaks, cut at ``limit`` characters."""
    joined = " ".join(text.split())
    return joined if limit is None or len(joined) <= limit else joined[: limit - 1] + "…"
